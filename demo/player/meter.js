/** Measures a playback as its viewer lives it: time that went by without the picture moving. */

/** Playback that stands still this long is a stall; below, it is the grain of currentTime. */
const STALL_MS = 250;
const SAMPLE_MS = 50;

export class Meter {
  stalls = 0;
  stallSeconds = 0;
  longestStallSeconds = 0;
  /** From the page's first request to the first moving picture; null until then. */
  startSeconds = null;

  #video;
  #began = performance.now();
  #lastTime = null;
  #movedAt = 0;
  #counted = 0;
  #timer;

  constructor(video) {
    this.#video = video;
    this.#timer = setInterval(() => this.#sample(performance.now()), SAMPLE_MS);
  }

  stop() {
    clearInterval(this.#timer);
  }

  #sample(now) {
    const { currentTime, paused, ended, seeking } = this.#video;
    const started = this.startSeconds !== null;
    if (this.#lastTime === null || (currentTime === this.#lastTime && (paused || ended || seeking || !started))) {
      // Nobody expects movement here.
      this.#lastTime = currentTime;
      this.#restart(now);
    } else if (currentTime !== this.#lastTime) {
      if (!started && !seeking) this.startSeconds = (now - this.#began) / 1000;
      this.#lastTime = currentTime;
      this.#restart(now);
    } else {
      this.#count((now - this.#movedAt) / 1000);
    }
  }

  #restart(now) {
    this.#movedAt = now;
    this.#counted = 0;
  }

  #count(stillSeconds) {
    if (stillSeconds * 1000 < STALL_MS) return;
    if (this.#counted === 0) this.stalls += 1;
    this.stallSeconds += stillSeconds - this.#counted;
    this.longestStallSeconds = Math.max(this.longestStallSeconds, stillSeconds);
    this.#counted = stillSeconds;
  }
}

/** Seconds that can be played from here without another byte. */
export function bufferAhead({ buffered, currentTime }) {
  for (let index = 0; index < buffered.length; index++) {
    // A gap below a frame's length is jumped over by every engine.
    if (buffered.start(index) <= currentTime + 0.1 && currentTime <= buffered.end(index)) {
      return buffered.end(index) - currentTime;
    }
  }
  return 0;
}
