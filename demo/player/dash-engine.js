/** Plays with dash.js; its requests go through `Delivery`. */

import { DELIVERY_BASE } from "./delivery.js";
import { BUFFER_AHEAD_S, BUFFER_BEHIND_S, EngineFailed } from "./engine.js";
import dashjs from "./vendor/dash.js";

/** @returns {import("./engine.js").Engine} */
export function createDashEngine(video, delivery, manifestKey, onFatal) {
  if (!("MediaSource" in window || "ManagedMediaSource" in window)) {
    throw new EngineFailed("This browser has no Media Source Extensions, which dash.js needs.");
  }
  const player = dashjs.MediaPlayer().create();
  // The one place where dash.js touches the network; `true` keeps the class and replaces its methods.
  player.extend("XHRLoader", () => deliveryLoader(delivery), true);
  player.updateSettings({
    debug: { logLevel: dashjs.Debug.LOG_LEVEL_ERROR },
    streaming: {
      abr: { initialBitrate: { video: 5_000 } }, // kb/s before the first measurement: an appliance is near
      buffer: {
        bufferTimeDefault: BUFFER_AHEAD_S,
        bufferTimeAtTopQuality: BUFFER_AHEAD_S,
        bufferTimeAtTopQualityLongForm: BUFFER_AHEAD_S,
        bufferToKeep: BUFFER_BEHIND_S,
      },
      // An appliance in the same house answers as fast as a cache; its speed counts all the same.
      cacheLoadThresholds: { video: 0, audio: 0 },
      // Delivery retries by itself and reports nothing until all candidates have failed several times.
      fragmentRequestTimeout: 60_000,
      retryAttempts: { MPD: 0, MediaSegment: 0, InitializationSegment: 0, IndexSegment: 0 },
    },
  });
  player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => {
    onFatal(error.data?.response?.statusText || error.message || `dash.js gave up (code ${error.code}).`);
  });
  player.initialize(video, DELIVERY_BASE + manifestKey, true);
  return {
    version: `dash.js ${player.getVersion()}`,
    rendition() {
      const current = player.isReady() ? player.getCurrentRepresentationForType("video") : null;
      return current ? { bitrateBps: current.bandwidth, height: current.height } : null;
    },
    destroy: () => player.destroy(),
  };
}

/** What dash.js expects of its XHRLoader: fill the response in, then call `onloadend`. */
function deliveryLoader(delivery) {
  const underWay = new Set();

  function load(request, response) {
    const abort = new AbortController();
    const { customData } = request;
    underWay.add(abort);
    customData.abort = () => {
      abort.abort();
      customData.onabort?.();
    };
    fill(request, response, abort.signal)
      .catch((error) => {
        response.status = 0;
        response.statusText = error.message;
      })
      .finally(() => {
        underWay.delete(abort);
        if (!abort.signal.aborted) customData.onloadend?.();
      });
    return true;
  }

  async function fill(request, response, signal) {
    const [, start, end] = /^bytes=(\d+)-(\d*)$/.exec(request.headers?.Range ?? "") ?? [];
    const { data, headers, status } = await delivery.get(request.url, {
      ...(start !== undefined ? { start: Number(start) } : {}),
      ...(end ? { end: Number(end) } : {}),
      signal,
      onProgress: (loaded, total) => {
        request.customData.onprogress?.({ loaded, total, lengthComputable: true });
      },
    });
    response.url = request.url;
    response.status = status;
    response.headers = Object.fromEntries(headers);
    response.data = request.responseType === "arraybuffer" ? data : new TextDecoder().decode(data);
  }

  function abort() {
    for (const controller of underWay) controller.abort();
  }

  return { load, abort, reset: abort, resetInitialSettings: abort, getXhr: () => null };
}
