/** A standard player on one URL: content steering moves it. What it asked is left in `window.nearcast`. */

import { scrub, thumbnailsOf } from "./scrub.js";
import dashjs from "./vendor/dash.js";
import Hls from "./vendor/hls.mjs";

const query = new URLSearchParams(location.search);
const video = document.querySelector("#video");
const message = document.querySelector("#message");
/** `hosts`: of the media that came, each once for as long as it is asked without a pause. */
const known = (window.nearcast = { hosts: [], error: null, stalls: 0 });

function came(url) {
  const { host } = new URL(url);
  if (known.hosts.at(-1) !== host) known.hosts.push(host);
  message.textContent = `From ${known.hosts.join(", then ")}.`;
}

function failed(why) {
  known.error = why;
  message.textContent = why;
}

function playHls(url, thumbnails) {
  // In the query: header fields of their own would cost a preflight for each request.
  const cmcd = { useHeaders: false };
  const hls = new Hls({ enableWorker: false, maxBufferLength: 8, maxMaxBufferLength: 8, cmcd });
  hls.on(Hls.Events.FRAG_LOADED, (_, { frag }) => came(frag.url));
  hls.on(Hls.Events.ERROR, (_, data) => data.fatal && failed(data.details));
  hls.loadSource(url);
  hls.attachMedia(video);
  // hls.js reads no image playlist: what the page knows is WebVTT, as most players' seek bars do.
  return thumbnailsOf(thumbnails);
}

function playDash(url) {
  const player = dashjs.MediaPlayer().create();
  player.updateSettings({
    streaming: {
      buffer: { bufferTimeDefault: 8, bufferTimeAtTopQuality: 8 },
      cmcd: { enabled: true, mode: "query" },
    },
  });
  player.on(dashjs.MediaPlayer.events.FRAGMENT_LOADING_COMPLETED, ({ request }) => {
    if (request?.type === "MediaSegment") came(request.url);
  });
  player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => failed(error.message));
  player.initialize(video, url, true);
  return (timeS) => new Promise((told) => player.provideThumbnail(timeS, told));
}

try {
  const answer = await fetch("api/playback", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ title: query.get("title") ?? "tt0001" }),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail ?? said.title);
  const thumbnailAt =
    query.get("engine") === "dash"
      ? playDash(said.steered_dash)
      : playHls(said.steered_hls, said.candidates[0].base_url + said.hls);
  scrub(video, document.querySelector("#bar"), document.querySelector("#thumbnail"), thumbnailAt);
} catch (error) {
  failed(error.message);
}
