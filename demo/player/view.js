/** Puts what is known onto the page. Text only ever goes in as text. */

const ROWS = 40;
const BARS = 90;
/** Of the appliances that steering offers no more: enough to see where the bars on the left came from. */
const GONE = 4;
const LETTERS = "ABCDEFGHIJ";

const element = (id) => document.getElementById(id);

export class View {
  /** A letter and colour per appliance, in order of first sight, the same for as long as the page lives. */
  #marks = new Map();
  #shownCandidates = "";
  /** The last that was known of every appliance that was ever offered. */
  #offered = new Map();

  switches(engines, engine, titles, title) {
    const label = { hls: "HLS (hls.js)", dash: "DASH (dash.js)" };
    const choice = (name, text, current, change) => {
      const link = make("a", { textContent: text, href: `?${new URLSearchParams({ engine, title, ...change })}` });
      if (name === current) link.setAttribute("aria-current", "true");
      return link;
    };
    element("engines").replaceChildren(
      ...engines.map((name) => choice(name, label[name] ?? name, engine, { engine: name })),
    );
    element("titles").replaceChildren(
      ...titles.map((item) => choice(item.title, item.name, title, { title: item.title })),
    );
    element("titles").hidden = titles.length < 2;
  }

  say(text) {
    element("message").textContent = text;
  }

  fail(text) {
    const message = element("message");
    message.textContent = text;
    message.classList.add("error");
    message.setAttribute("role", "alert");
    element("again").hidden = false;
  }

  onAgain(act) {
    element("again").addEventListener("click", act);
  }

  onUnmute(video) {
    const button = element("unmute");
    const show = () => {
      button.hidden = !video.muted || video.readyState < 2;
    };
    button.addEventListener("click", () => {
      video.muted = false;
      video.focus();
    });
    video.addEventListener("volumechange", show);
    video.addEventListener("loadeddata", show);
  }

  candidates(list) {
    // Redrawing what has not changed would make a screen reader speak four times a second.
    const shown = JSON.stringify(list);
    if (shown === this.#shownCandidates) return;
    this.#shownCandidates = shown;
    const words = { serving: "serving now", next: "asked next", standby: "stands by", gone: "gone" };
    for (const item of list) {
      this.#offered.delete(item.appliance); // and to the end: the newest are kept
      this.#offered.set(item.appliance, item);
    }
    const gone = [...this.#offered.values()]
      .filter((item) => !list.includes(item))
      .slice(-GONE)
      .map((item) => ({ ...item, state: "gone", reason: "steering does not offer it any more" }));
    element("candidates").replaceChildren(
      ...[...list, ...gone].map((item) => {
        const row = make("li", { className: item.state });
        row.append(
          this.#badge(item.appliance),
          make("span", { className: "name", textContent: item.appliance }),
          make("span", { className: "site", textContent: `${item.site}, ${item.tier.toUpperCase()}` }),
          make("span", { className: "state", textContent: words[item.state] ?? `failed: ${item.why}` }),
          make("span", { className: "reason", textContent: item.reason }),
        );
        return row;
      }),
    );
  }

  quality(state) {
    element("buffer").value = state.bufferSeconds;
    element("buffer-text").textContent = `${state.bufferSeconds.toFixed(1)} s`;
    element("picture").textContent = state.height ? `${state.height}p` : "\u2013";
    element("bitrate").textContent = state.bitrateBps ? `${(state.bitrateBps / 1e6).toFixed(2)} Mb/s` : "\u2013";
    element("start").textContent = state.startSeconds === null ? "\u2013" : `${state.startSeconds.toFixed(2)} s`;
    element("stalls").textContent =
      state.stalls === 0 ? "none" : `${state.stalls}, ${state.stallSeconds.toFixed(1)} s in all`;
    element("dropped").textContent = String(state.droppedFrames);
    element("moves").textContent = String(state.moves);
  }

  segment(item) {
    const row = make("tr", { className: item.cache });
    const from = make("td", {});
    from.append(this.#badge(item.appliance), item.appliance);
    if (item.tried.length > 0) from.append(make("small", { textContent: ` after ${item.tried.join("; ")}` }));
    row.append(
      make("td", { textContent: String(item.number) }),
      make("td", { textContent: item.key.slice(item.key.indexOf("/") + 1) }),
      make("td", { textContent: item.start.toLocaleString("en") }),
      make("td", { textContent: humanBytes(item.bytes) }),
      make("td", { textContent: `${Math.round(item.ms)} ms` }),
      from,
      make("td", { textContent: item.cache, title: item.cacheStatus }),
    );
    prepend(element("rows"), row, ROWS);

    const mark = this.#mark(item.appliance);
    const bar = make("span", { className: `bar ${item.cache}`, textContent: mark.letter });
    bar.dataset.colour = mark.colour;
    // A logarithm: an initialisation segment of 1 kB must be seen beside a segment of 2 MB.
    bar.style.setProperty("--size", `${Math.round(12 + 11 * Math.log10(1 + item.bytes / 1000))}px`);
    const strip = element("strip");
    strip.append(bar);
    while (strip.childElementCount > BARS) strip.firstElementChild.remove();
  }

  #mark(appliance) {
    let mark = this.#marks.get(appliance);
    if (mark === undefined) {
      const index = this.#marks.size;
      mark = { letter: LETTERS[index % LETTERS.length], colour: String(index % 5) };
      this.#marks.set(appliance, mark);
    }
    return mark;
  }

  #badge(appliance) {
    const { letter, colour } = this.#mark(appliance);
    const badge = make("span", { className: "badge", textContent: letter });
    badge.dataset.colour = colour;
    badge.setAttribute("aria-hidden", "true");
    return badge;
  }
}

function make(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function prepend(parent, child, limit) {
  parent.prepend(child);
  while (parent.childElementCount > limit) parent.lastElementChild.remove();
}

function humanBytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(2)} MB`;
}
