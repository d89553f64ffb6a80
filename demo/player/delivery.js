/**
 * Gets bytes of a title from the best appliance that answers, and moves on when one does not.
 *
 * Both engines fetch through here. They know one address for an object (`DELIVERY_BASE` + key) that
 * never changes; which appliance it comes from, and with which token, is decided per request. So a
 * dead appliance is no event for an engine: the same request goes on elsewhere, from the byte where
 * it broke off, for an object has the same bytes everywhere.
 */

import { CandidateList } from "./candidates.js";
import { askForPlayback } from "./playback.js";

/** Nothing is served there: a request that ever got past this file would fail at once, and be seen. */
export const DELIVERY_BASE = new URL("delivery/", location.href).href;

/** Without a byte for this long, the next candidate is asked. */
const PATIENCE_MS = 1_500;
/** The same for the last candidate: slow is better than nothing. */
const LAST_PATIENCE_MS = 8_000;
/** After a failure: by then steering, which drops a dead appliance within 5 s, has a new answer. */
const REFRESH_AFTER_FAILURE_MS = 6_000;
const REFRESH_AT_LEAST_EVERY_MS = 30_000;
/** How often everybody is asked again before the engine hears of it, and the pauses between. */
const PAUSES_MS = [0, 500, 1_000, 2_000, 4_000];

export class DeliveryFailed extends Error {}

/** An attempt at one appliance that came to nothing; the message is for people. */
class AttemptFailed extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export class Delivery extends EventTarget {
  #title;
  #session;
  #candidates = new CandidateList();
  #refreshTimer;
  #refreshing = null;
  #closed = false;
  #lastAppliance = null;
  #number = 0;

  constructor(title) {
    super();
    this.#title = title;
  }

  /** Asks the playback service, and gives back its answer; call once before the first `get`. */
  async open() {
    return this.#refresh();
  }

  close() {
    clearTimeout(this.#refreshTimer);
    this.#closed = true;
  }

  describe() {
    return this.#candidates.describe(this.#lastAppliance, performance.now());
  }

  /**
   * The bytes of `url` (below DELIVERY_BASE), or of its range `start`..`end` (inclusive).
   * Throws `DeliveryFailed` when nobody delivers, and an AbortError when `signal` says so.
   */
  async get(url, { start, end, signal, onProgress = () => {} } = {}) {
    const part = new Part(keyOf(url), start, end, onProgress);
    const tried = [];
    for (const [round, pause] of PAUSES_MS.entries()) {
      if (round > 0) await this.#nobodyLeft(pause, signal);
      const delivered = await this.#askInOrder(part, tried, signal);
      if (delivered !== null) return delivered;
    }
    throw new DeliveryFailed(`No appliance delivered ${part.key} (${describeTried(tried)}).`);
  }

  /** One round through the candidates; null when each of them failed. */
  async #askInOrder(part, tried, signal) {
    for (;;) {
      const [candidate, ...others] = this.#candidates.ready(performance.now());
      if (candidate === undefined) return null;
      const began = performance.now();
      const patience = others.length > 0 ? PATIENCE_MS : LAST_PATIENCE_MS;
      try {
        const response = await part.readFrom(candidate.baseUrl, patience, signal);
        this.#succeeded(candidate, part, response, began, tried);
        return { data: part.join(), headers: response.headers, status: response.status };
      } catch (error) {
        if (signal?.aborted || !(error instanceof AttemptFailed)) throw error;
        tried.push(`${candidate.appliance} ${error.message}`);
        this.#failed(candidate, error);
      }
    }
  }

  #succeeded(candidate, part, response, began, tried) {
    const now = performance.now();
    this.#candidates.succeeded(candidate.appliance);
    const cacheStatus = response.headers.get("cache-status") ?? "";
    this.#tell("delivered", {
      number: ++this.#number,
      key: part.key,
      start: part.start,
      bytes: part.length,
      ms: now - began,
      appliance: candidate.appliance,
      cacheStatus,
      cache: readCacheStatus(cacheStatus),
      tried: [...tried],
      moved: this.#lastAppliance !== null && this.#lastAppliance !== candidate.appliance,
    });
    this.#lastAppliance = candidate.appliance;
  }

  #failed(candidate, error) {
    this.#candidates.failed(candidate.appliance, error.message, performance.now());
    this.#tell("failed", { appliance: candidate.appliance, why: error.message });
    this.#refreshIn(REFRESH_AFTER_FAILURE_MS);
  }

  /** All have failed: new candidates if steering has any, and another chance for the old ones. */
  async #nobodyLeft(pause, signal) {
    await sleep(pause, signal);
    try {
      await this.#refresh();
    } catch (error) {
      // The tokens in hand may well be good still.
      this.#tell("refresh-failed", { why: error.message });
    }
    this.#candidates.wakeAll();
  }

  #refresh() {
    // Two requests that fail together need one new answer.
    this.#refreshing ??= this.#askAgain().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  async #askAgain() {
    const answer = await askForPlayback(this.#title, this.#session);
    this.#session = answer.session;
    this.#candidates.update(answer.candidates);
    this.#tell("candidates", {});
    this.#refreshIn(Math.min(answer.ttl_s * 1000, REFRESH_AT_LEAST_EVERY_MS));
    return answer;
  }

  #refreshIn(delay) {
    clearTimeout(this.#refreshTimer);
    if (this.#closed) return;
    this.#refreshTimer = setTimeout(() => {
      this.#refresh().catch((error) => {
        this.#tell("refresh-failed", { why: error.message });
        this.#refreshIn(REFRESH_AFTER_FAILURE_MS);
      });
    }, delay);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** What has arrived of one request, over as many attempts as it takes. */
class Part {
  #end;
  #onProgress;
  #chunks = [];
  #etag = null;

  constructor(key, start, end, onProgress) {
    this.key = key;
    this.start = start ?? 0;
    this.length = 0;
    this.#end = end;
    this.#onProgress = onProgress;
  }

  join() {
    const whole = new Uint8Array(this.length);
    let offset = 0;
    for (const chunk of this.#chunks) {
      whole.set(chunk, offset);
      offset += chunk.length;
    }
    return whole.buffer;
  }

  /** Reads what is still missing; throws `AttemptFailed` after `patience` without a byte. */
  async readFrom(baseUrl, patience, signal) {
    const watchdog = new AbortController();
    let timer;
    const feed = () => {
      clearTimeout(timer);
      timer = setTimeout(() => watchdog.abort(), patience);
    };
    const either = signal ? AbortSignal.any([signal, watchdog.signal]) : watchdog.signal;
    feed();
    try {
      const response = await this.#request(baseUrl, either);
      const reader = response.body.getReader();
      for (;;) {
        feed();
        const { done, value } = await reader.read();
        if (done) return response;
        this.#chunks.push(value);
        this.length += value.length;
        this.#onProgress(this.length, this.#expected(response));
      }
    } catch (error) {
      if (error instanceof AttemptFailed || signal?.aborted) throw error;
      if (watchdog.signal.aborted) throw new AttemptFailed(`sent nothing for ${patience / 1000} s`);
      // fetch() says no more than that: refused, reset or cut short, by the browser's rules.
      throw new AttemptFailed(this.length > 0 ? "broke off" : "cannot be reached");
    } finally {
      clearTimeout(timer);
    }
  }

  async #request(baseUrl, signal) {
    const from = this.start + this.length;
    const ranged = this.#end !== undefined || from > 0;
    const response = await fetch(baseUrl + this.key, {
      headers: ranged ? { Range: `bytes=${from}-${this.#end ?? ""}` } : {},
      signal,
      // The page shows who delivers: the browser's own cache would hide it.
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
    if (response.status !== (ranged ? 206 : 200)) {
      await response.body?.cancel();
      throw new AttemptFailed(`answered ${response.status}`, response.status);
    }
    const etag = response.headers.get("etag");
    if (this.length > 0 && etag !== this.#etag) {
      // Published again in between: what we hold belongs to another version. From the start, then.
      this.#chunks = [];
      this.length = 0;
      await response.body?.cancel();
      return this.#request(baseUrl, signal);
    }
    this.#etag = etag;
    return response;
  }

  #expected(response) {
    if (this.#end !== undefined) return this.#end - this.start + 1;
    return Number(response.headers.get("content-length") ?? this.length);
  }
}

/** "hit" or "miss" at the appliance that answered: the last member (RFC 9211 section 2). */
export function readCacheStatus(text) {
  const last = text.split(",").at(-1).split(";").map((item) => item.trim());
  if (last.includes("hit")) return "hit";
  return last.some((item) => item.startsWith("fwd=")) ? "miss" : "unknown";
}

function keyOf(url) {
  if (!url.startsWith(DELIVERY_BASE)) throw new DeliveryFailed("A manifest points outside its title.");
  return url.slice(DELIVERY_BASE.length);
}

function describeTried(tried) {
  return tried.length > 0 ? [...new Set(tried)].join("; ") : "there is no candidate";
}

function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
