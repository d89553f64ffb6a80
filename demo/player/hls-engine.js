/** Plays with hls.js; its requests go through `Delivery`. */

import { DELIVERY_BASE } from "./delivery.js";
import { BUFFER_AHEAD_S, BUFFER_BEHIND_S, EngineFailed } from "./engine.js";
import Hls, { LoadStats } from "./vendor/hls.mjs";

/** @returns {import("./engine.js").Engine} */
export function createHlsEngine(video, delivery, manifestKey, onFatal) {
  if (!Hls.isSupported()) throw new EngineFailed("This browser has no Media Source Extensions, which hls.js needs.");
  const hls = new Hls({
    loader: loaderFor(delivery),
    enableWorker: false, // its worker comes from a blob, which the page's policy forbids
    maxBufferLength: BUFFER_AHEAD_S,
    maxMaxBufferLength: BUFFER_AHEAD_S,
    backBufferLength: BUFFER_BEHIND_S,
    abrEwmaDefaultEstimate: 5_000_000, // before the first measurement: an appliance is near
    // Delivery retries by itself and reports nothing until all candidates have failed several times.
    manifestLoadPolicy: POLICY,
    playlistLoadPolicy: POLICY,
    fragLoadPolicy: POLICY,
  });
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) return;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR) hls.recoverMediaError();
    else onFatal(data.response?.text || `hls.js gave up: ${data.details}.`);
  });
  hls.loadSource(DELIVERY_BASE + manifestKey);
  hls.attachMedia(video);
  return {
    version: `hls.js ${Hls.version}`,
    rendition() {
      const level = hls.levels?.[hls.currentLevel];
      return level ? { bitrateBps: level.bitrate, height: level.height } : null;
    },
    destroy: () => hls.destroy(),
  };
}

const POLICY = {
  default: { maxTimeToFirstByteMs: 60_000, maxLoadTimeMs: 60_000, timeoutRetry: null, errorRetry: null },
};

/** The class that hls.js makes one object of per request (its `Loader` interface). */
function loaderFor(delivery) {
  return class DeliveryLoader {
    context = null;
    stats = new LoadStats();
    #abort = new AbortController();
    #callbacks = null;
    #headers = null;

    destroy() {
      this.#abort.abort();
      this.#callbacks = this.context = null;
    }

    abort() {
      this.stats.aborted = true;
      this.#abort.abort();
      this.#callbacks?.onAbort?.(this.stats, this.context, null);
    }

    load(context, _, callbacks) {
      this.context = context;
      this.#callbacks = callbacks;
      this.stats.loading.start = performance.now();
      this.#load(context, callbacks).catch((error) => {
        if (this.#abort.signal.aborted) return;
        callbacks.onError({ code: 0, text: error.message }, context, null, this.stats);
      });
    }

    async #load(context, callbacks) {
      const { stats } = this;
      const { data, headers, status } = await delivery.get(context.url, {
        // hls.js counts a range's end as one past its last byte.
        ...(context.rangeEnd ? { start: context.rangeStart, end: context.rangeEnd - 1 } : {}),
        signal: this.#abort.signal,
        onProgress: (loaded, total) => {
          stats.loading.first ||= performance.now();
          Object.assign(stats, { loaded, total });
        },
      });
      if (this.#abort.signal.aborted) return;
      this.#headers = headers;
      stats.loading.end = performance.now();
      stats.loading.first ||= stats.loading.end;
      stats.loaded = stats.total = data.byteLength;
      const body = context.responseType === "arraybuffer" ? data : new TextDecoder().decode(data);
      callbacks.onProgress?.(stats, context, body, null);
      callbacks.onSuccess({ url: context.url, data: body, code: status }, stats, context, null);
    }

    getResponseHeader(name) {
      return this.#headers?.get(name) ?? null;
    }

    getCacheAge() {
      const age = this.getResponseHeader("age");
      return age === null ? null : Number(age);
    }
  };
}
