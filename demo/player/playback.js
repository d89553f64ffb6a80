/** Asks the playback service; it alone speaks with steering, and holds the key for that. */

const TIMEOUT_MS = 8_000;

/** The service answered with an error, or not at all; the message is for the viewer. */
export class PlaybackRefused extends Error {}

/** Candidates in order, and the manifests' keys. With `session`, for a playback that is under way. */
export async function askForPlayback(title, session) {
  return ask("api/playback", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(session ? { title, session } : { title }),
  });
}

export async function askForTitles() {
  return (await ask("api/titles", {})).titles;
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  } catch {
    throw new PlaybackRefused("The playback service does not answer. Is the demo still running?");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new PlaybackRefused(answer?.detail ?? answer?.title ?? `The playback service answered ${response.status}.`);
}
