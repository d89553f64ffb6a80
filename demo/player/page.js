/** The page: opens a playback, hands it to an engine, and shows what happens. */

import { Delivery } from "./delivery.js";
import { Meter, bufferAhead } from "./meter.js";
import { askForTitles } from "./playback.js";
import { View } from "./view.js";

// Each brings a library of several hundred kB: only the one that plays is loaded.
const ENGINES = {
  hls: async () => (await import("./hls-engine.js")).createHlsEngine,
  dash: async () => (await import("./dash-engine.js")).createDashEngine,
};
const SHOW_EVERY_MS = 250;
/** Of the segments shown and kept for `window.nearcast`: an evening of playback must not fill memory. */
const KEEP_SEGMENTS = 500;

const video = document.getElementById("video");
const view = new View();
const wanted = new URLSearchParams(location.search);
const engineName = Object.hasOwn(ENGINES, wanted.get("engine")) ? wanted.get("engine") : "hls";

/** What tests (and the curious, in the console) read. Holds no token. */
const state = {
  engine: engineName,
  engineVersion: null,
  title: null,
  session: null,
  appliance: null,
  candidates: [],
  segments: [],
  moves: 0,
  failures: [],
  error: null,
  get currentTime() {
    return video.currentTime;
  },
  get paused() {
    return video.paused;
  },
  get ended() {
    return video.ended;
  },
  get bufferSeconds() {
    return bufferAhead(video);
  },
  get droppedFrames() {
    return video.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0;
  },
  get height() {
    return engine?.rendition()?.height ?? null;
  },
  get bitrateBps() {
    return engine?.rendition()?.bitrateBps ?? null;
  },
  get startSeconds() {
    return meter.startSeconds;
  },
  get stalls() {
    return meter.stalls;
  },
  get stallSeconds() {
    return meter.stallSeconds;
  },
  get longestStallSeconds() {
    return meter.longestStallSeconds;
  },
};
window.nearcast = state;

const meter = new Meter(video);
let engine = null;

async function main() {
  const titles = await askForTitles();
  state.title = wanted.get("title") ?? titles[0]?.title ?? null;
  if (state.title === null) throw new Error("The playback service has no title to play.");
  view.switches(Object.keys(ENGINES), engineName, titles, state.title);

  const delivery = new Delivery(state.title);
  listen(delivery);
  const answer = await delivery.open();
  state.session = answer.session;
  const createEngine = await ENGINES[engineName]();
  engine = createEngine(video, delivery, answer[engineName], fail);
  state.engineVersion = engine.version;
  view.say(`Playing ${state.title} with ${engine.version}.`);
  setInterval(() => {
    state.candidates = delivery.describe();
    view.candidates(state.candidates);
    view.quality(state);
  }, SHOW_EVERY_MS);
}

function listen(delivery) {
  delivery.addEventListener("candidates", () => {
    state.candidates = delivery.describe();
    view.candidates(state.candidates);
  });
  delivery.addEventListener("delivered", ({ detail }) => {
    if (detail.moved) {
      state.moves += 1;
      view.say(`Moved from ${state.appliance} to ${detail.appliance}.`);
    }
    state.appliance = detail.appliance;
    state.segments.push(detail);
    if (state.segments.length > KEEP_SEGMENTS) state.segments.shift();
    view.segment(detail);
  });
  delivery.addEventListener("failed", ({ detail }) => {
    state.failures.push(detail);
    view.say(`${detail.appliance} ${detail.why}: trying the next.`);
  });
  delivery.addEventListener("refresh-failed", ({ detail }) => {
    view.say(`No new candidates: ${detail.why} Playing on with those in hand.`);
  });
}

function fail(message) {
  state.error = message;
  view.fail(message);
}

async function play() {
  try {
    await video.play();
  } catch (error) {
    // The browser wants a gesture first; the controls are there for it.
    if (error.name === "NotAllowedError") view.say("Press play: this browser does not start video by itself.");
  }
}

video.addEventListener("canplay", play, { once: true });
// The sample is a minute long, and killing appliances is worth more time than that.
video.addEventListener("ended", () => {
  // Not before it is there: dash.js pauses a video that has ended.
  video.addEventListener("seeked", play, { once: true });
  video.currentTime = 0;
});
view.onUnmute(video);
view.onAgain(() => location.reload());

main().catch((error) => fail(error.message || String(error)));
