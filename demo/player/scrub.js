/** A bar to seek by: while it is dragged, the thumbnail of that moment; when it is let go, the moment itself. */

/**
 * @typedef {{url: string, x: number, y: number, width: number, height: number}} Thumbnail  a part of a picture
 * @param {(timeS: number) => Promise<Thumbnail | null>} thumbnailAt
 */
export function scrub(video, bar, canvas, thumbnailAt) {
  const sheets = new Map();
  let asked = 0;

  async function show(timeS) {
    const mine = ++asked;
    const found = await thumbnailAt(timeS);
    if (found === null) return;
    const sheet = await picture(found.url);
    // Dragged on meanwhile: what comes late is not drawn over what was asked for later.
    if (mine !== asked) return;
    Object.assign(canvas, { width: found.width, height: found.height, hidden: false });
    const { x, y, width, height } = found;
    canvas.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, width, height);
    canvas.dataset.time = timeS;
  }

  /** Fetched, and not an <img>: the page's policy takes pictures from its own server alone. */
  function picture(url) {
    if (!sheets.has(url)) sheets.set(url, fetch(url).then(async (answer) => createImageBitmap(await answer.blob())));
    return sheets.get(url);
  }

  video.addEventListener("durationchange", () => (bar.max = video.duration || 0));
  video.addEventListener("timeupdate", () => {
    if (canvas.hidden) bar.value = video.currentTime;
  });
  bar.addEventListener("input", () => void show(bar.valueAsNumber).catch(() => (canvas.hidden = true)));
  bar.addEventListener("change", () => {
    asked += 1;
    video.currentTime = bar.valueAsNumber;
  });
  video.addEventListener("seeked", () => (canvas.hidden = true));
}

/** What `thumbnails.vtt` beside a manifest says: cues whose text is a file and, after #xywh=, a part of it. */
export function thumbnailsOf(manifestUrl) {
  const index = new URL("thumbnails/thumbnails.vtt", manifestUrl);
  const cues = fetch(index).then(async (answer) => (answer.ok ? read(await answer.text(), index) : []));
  return async (timeS) => (await cues).find((cue) => cue.startS <= timeS && timeS < cue.endS) ?? null;
}

function read(text, index) {
  const cue = /^([\d:.]+) --> ([\d:.]+).*\n(.+)#xywh=(\d+),(\d+),(\d+),(\d+)$/gm;
  return [...text.matchAll(cue)].map(([, start, end, file, ...place]) => {
    const [x, y, width, height] = place.map(Number);
    return { startS: seconds(start), endS: seconds(end), url: new URL(file, index).href, x, y, width, height };
  });
}

function seconds(stamp) {
  return stamp.split(":").reduce((whole, part) => 60 * whole + Number(part), 0);
}
