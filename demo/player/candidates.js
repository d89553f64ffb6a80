/**
 * Which appliance to ask next: steering's order, less those that have just failed us.
 *
 * Pure: no request, no clock. Time (milliseconds, any origin) is passed in.
 */

/** How long an appliance that failed is left alone; doubled with each further failure. */
const FIRST_REST_MS = 10_000;
const LONGEST_REST_MS = 120_000;

/**
 * @typedef {object} Candidate
 * @property {string} appliance
 * @property {string} site
 * @property {string} tier
 * @property {string} reason  steering's, in words
 * @property {string} baseUrl  ends in "/" and holds the token: never show it
 * @property {number} failures  in a row
 * @property {number} restsUntil  when it may be asked again
 * @property {string} why  of the last failure
 */

export class CandidateList {
  /** @type {Candidate[]} in steering's order */
  #items = [];

  /** Takes over a new answer of steering. What failed here keeps resting: steering may not know yet. */
  update(answer) {
    const known = new Map(this.#items.map((item) => [item.appliance, item]));
    this.#items = answer.map((item) => {
      const before = known.get(item.appliance);
      return {
        appliance: item.appliance,
        site: item.site,
        tier: item.tier,
        reason: item.reason,
        baseUrl: item.base_url,
        failures: before?.failures ?? 0,
        restsUntil: before?.restsUntil ?? 0,
        why: before?.why ?? "",
      };
    });
  }

  /** The candidates to try now, best first; empty when every one of them has just failed. */
  ready(now) {
    return this.#items.filter((item) => item.restsUntil <= now);
  }

  failed(appliance, why, now) {
    const item = this.#find(appliance);
    if (item === undefined) return;
    // Requests that were under way together fail together: that is one failure.
    if (item.restsUntil <= now) {
      item.restsUntil = now + Math.min(FIRST_REST_MS * 2 ** item.failures, LONGEST_REST_MS);
      item.failures += 1;
    }
    item.why = why;
  }

  succeeded(appliance) {
    const item = this.#find(appliance);
    if (item !== undefined) Object.assign(item, { failures: 0, restsUntil: 0, why: "" });
  }

  /** Nobody is left: a second chance for all is better than none for the viewer. */
  wakeAll() {
    for (const item of this.#items) item.restsUntil = 0;
  }

  /** What a page may show: everything but the URL, which holds the token. `server` delivered last. */
  describe(server, now) {
    const [next] = this.ready(now);
    const state = (item) => {
      if (item.restsUntil > now) return "failed";
      if (item.appliance === server) return "serving";
      return item === next ? "next" : "standby";
    };
    return this.#items.map((item) => ({
      appliance: item.appliance,
      site: item.site,
      tier: item.tier,
      reason: item.reason,
      state: state(item),
      why: item.why,
    }));
  }

  #find(appliance) {
    return this.#items.find((item) => item.appliance === appliance);
  }
}
