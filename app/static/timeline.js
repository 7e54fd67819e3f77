// The timeline: the heading of a month in a list by date, and the scrubber at the side, which shows the date while it is
// dragged and leads there. Built around the number of hits of each month, newest first, as the server counts them: a place
// on the scrubber is a place in the list. It knows nothing of cards.

import { api } from "./api.js";
import { h } from "./dom.js";
import { count, monthOf } from "./format.js";

/** Fewer hits need no scrubber, and the hits of a search no headings. */
export const LEAST = 20;
/** Milliseconds that a dragged scrubber rests before the list follows, and that its date stays after scrolling. */
const [REST, STAY] = [150, 900];
/** Pixels between two labels of years. */
const APART = 22;

/** The key of a month: "2023-07"; of files' own dates " 2023-07", which sorts last as the server sorts it.
 * @param {string | null} taken @param {boolean} ofFile */
function keyOf(taken, ofFile) {
  return (ofFile ? " " : "") + (taken ?? "").slice(0, 7);
}

/** The key of a hit's month. @param {Hit} hit */
export function monthKey(hit) {
  return keyOf(hit.taken, hit.taken_from === "file");
}

/** @param {string} key */
export function monthTitle(key) {
  const month = key.trim();
  return month ? (key === month ? "" : "File of ") + monthOf(month) : "No date";
}

export class Timeline {
  /** @param {Results} results */
  constructor(results) {
    this.results = results;
    /** @type {Month[]} */
    this.months = [];
    this.total = 0;
    this.counted = 0;
    this.query = "";
    this.at = 0;
    this.rest = 0;
    this.stay = 0;
    this.frame = 0;
    this.years = h("div.years", { "aria-hidden": "true" });
    this.bubble = h("span.bubble", { "aria-hidden": "true" });
    this.handle = h("span.handle", { "aria-hidden": "true" }, this.bubble);
    this.element = h(
      "div.scrubber",
      {
        role: "slider",
        tabindex: "0",
        hidden: true,
        "aria-label": "Date",
        "aria-orientation": "vertical",
        "aria-valuemin": "0",
        onkeydown: (e) => this.key(e),
        onpointerdown: (e) => this.press(e),
        onpointermove: (e) => this.move(e),
        onlostpointercapture: () => this.element.classList.remove("dragged"),
      },
      this.years,
      this.handle,
    );
    addEventListener("scroll", () => this.follow(), { passive: true });
    addEventListener("resize", () => this.label());
  }

  /** Count the months of a new list by date; hide for any other answer. */
  async show() {
    const { results } = this;
    const { query } = results;
    if (!results.byDate || results.total < LEAST) {
      this.months = [];
      this.query = "";
      this.draw();
      return;
    }
    if (this.query === query && this.counted === results.total) return;
    this.query = query;
    this.counted = results.total;
    await results.page.attempt(async () => {
      const { months } = await api.timeline(results.searchState());
      if (this.query !== query) return;
      let offset = 0;
      this.months = months.map(({ month, of_file, count: n }) => {
        offset += n;
        return { key: keyOf(month, of_file), offset: offset - n, count: n };
      });
      this.total = Math.max(1, offset);
      this.draw();
      this.follow();
    });
  }

  draw() {
    this.element.hidden = this.months.length < 2;
    this.element.ariaValueMax = `${Math.max(0, this.months.length - 1)}`;
    this.label();
  }

  /** Write the years beside the track, as many as have room. */
  label() {
    if (this.element.hidden) return;
    const tall = this.element.clientHeight;
    let last = -APART;
    let year = "";
    const labels = [];
    for (const { key, offset } of this.months) {
      const y = (offset / this.total) * tall;
      const own = /^\d{4}/.exec(key)?.[0] ?? "";
      if (!own || own === year) continue;
      year = own;
      if (y - last < APART || y > tall - APART / 2) continue;
      last = y;
      labels.push(h("span", { style: `top:${y}px` }, own));
    }
    this.years.replaceChildren(...labels);
  }

  /** The month of a place in the list. @param {number} index */
  monthAt(index) {
    const n = this.months.findLastIndex((month) => month.offset <= index);
    return Math.max(0, n);
  }

  /** Show a place in the list on the scrubber. @param {number} index */
  point(index) {
    const n = this.monthAt(index);
    const month = this.months[n];
    if (!month) return;
    this.at = n;
    const words = monthTitle(month.key);
    this.handle.style.top = `${(100 * Math.min(index, this.total)) / this.total}%`;
    this.bubble.textContent = words;
    this.element.ariaValueNow = `${n}`;
    this.element.ariaValueText = `${words}, ${count(month.count)}`;
    this.element.classList.add("moving");
    clearTimeout(this.stay);
    this.stay = window.setTimeout(() => this.element.classList.remove("moving"), STAY);
  }

  /** The page is scrolled: point at the first hit in view. */
  follow() {
    if (this.frame || this.element.hidden || this.element.classList.contains("dragged")) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      const index = this.results.firstInView();
      if (index !== null) this.point(index);
    });
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button) return;
    this.element.setPointerCapture(event.pointerId);
    this.element.classList.add("dragged");
    this.move(event);
  }

  /** @param {PointerEvent} event */
  move({ clientY }) {
    if (!this.element.classList.contains("dragged")) return;
    const { top, height } = this.element.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (clientY - top) / height));
    this.aim(Math.min(this.total - 1, Math.floor(part * this.total)));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 12, PageUp: -12 };
    const end = { Home: -1, End: 1 }[event.key] ?? 0;
    const step = end * this.months.length || steps[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const month = this.months[Math.min(this.months.length - 1, Math.max(0, this.at + step))];
    this.aim(month.offset);
  }

  /** Point at a place; the list follows when the scrubber rests. @param {number} index */
  aim(index) {
    this.point(index);
    clearTimeout(this.rest);
    this.rest = window.setTimeout(() => this.go(index), REST);
  }

  /** Show the list from the month of a place on; in a month of many, from the place itself. @param {number} index */
  go(index) {
    const month = this.months[this.monthAt(index)];
    if (month) this.results.jump(month.count > 3 * LEAST ? index : month.offset);
  }
}
