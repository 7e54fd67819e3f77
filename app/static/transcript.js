// The cues of a video as lines: the current line is highlighted and stays in view, a click on a line seeks to it, the
// words of the query are marked. Folded (which the browser remembers), it is one button over the picture. It calls
// `seek`, and gets the position of the video through `at`.

import { api } from "./api.js";
import { h, icon, on } from "./dom.js";
import { clock, marked, said, unmarked } from "./format.js";

const FOLDED = "sightline-transcript-folded";
/** Milliseconds that a video waits for its cues before it is shown, so that it need not move later.
 * Later ones are folded. */
const PATIENCE = 250;
/** A line stays current for so many seconds after its end, else the highlight would flicker at each breath. */
const BREATH_S = 1;
/** A seek may land this many seconds before its target. */
const SHORT_S = 0.05;
/** Between the first two shares of the list's height the current line stays where it is, else it moves to the third. */
const [TOP, BOTTOM, PUT] = [0.05, 0.75, 0.25];

/**
 * @param {Page} page
 * @param {Hit} hit
 * @param {Seekable} video
 */
export function transcript(page, hit, { seek, come }) {
  const certain = Boolean(said(hit)); // found by a cue: there are lines, so they have room from the start
  let folded = localStorage.getItem(FOLDED) !== null;
  /** @type {Cue[]} */
  let cues = [];
  /** @type {HTMLElement[]} */
  let lines = [];
  /** The current line, the last one that has begun, the one that Tab focuses; -1: none. */
  let [current, begun, tab] = [-1, -1, -1];
  /** Whether the list scrolls with the video (until a person scrolls it), and whether the video has just been sought. */
  let [following, sought] = [true, true];
  let closed = false;

  const onclick = () => {
    fold(!folded);
    if (folded) localStorage.setItem(FOLDED, "1");
    else localStorage.removeItem(FOLDED);
  };
  const toggle = h("button", { "aria-controls": "lines", onclick }, icon("said"), "What is said", icon("down"));
  const list = h("ol.lines", {
    id: "lines",
    "aria-label": "Lines",
    onclick(event) {
      const n = lines.findIndex((line) => line.contains(/** @type {Node} */ (event.target)));
      if (n >= 0) seek(cues[n].start_s);
    },
    onkeydown(event) {
      const to = { ArrowUp: tab - 1, ArrowDown: tab + 1, Home: 0, End: lines.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      lines[to]?.focus();
    },
    onfocusin(event) {
      const n = lines.indexOf(/** @type {HTMLElement} */ (event.target));
      if (n >= 0) rove(n);
    },
  });
  const props = { class: "transcript", "aria-label": "What is said", hidden: !certain };
  const element = h("section", props, h("h3", toggle), list);

  /** @param {boolean} to */
  const fold = (to) => {
    folded = to;
    element.classList.toggle("folded", folded);
    list.hidden = folded;
    toggle.ariaExpanded = `${!folded}`;
    toggle.title = folded ? "Show what is said" : "";
    if (!folded) bring("instant");
  };

  /** @param {number} n */
  const top = (n) => /** @type {HTMLElement} */ (lines[n].parentElement).offsetTop - list.scrollTop;

  /** Scroll to the line that began last, or to the first one. @param {ScrollBehavior} how */
  const bring = (how) => {
    const n = Math.max(0, begun);
    const height = list.clientHeight;
    if (!lines.length || !height) return;
    if (top(n) >= TOP * height && top(n) + lines[n].offsetHeight <= BOTTOM * height) return;
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : how;
    list.scrollTo({ top: list.scrollTop + top(n) - PUT * height, behavior });
  };

  /** @param {number} n */
  const rove = (n) => {
    if (lines[tab]) lines[tab].tabIndex = -1;
    lines[n].tabIndex = 0;
    tab = n;
  };

  /** Take the position of the video. @param {number} second */
  const at = (second) => {
    if (!lines.length) return;
    const n = last(cues, second + SHORT_S);
    const now = n >= 0 && second < cues[n].end_s + BREATH_S ? n : -1;
    if (now !== current) {
      if (lines[current]) lines[current].ariaCurrent = null;
      if (lines[now]) lines[now].ariaCurrent = "true";
      current = now;
    }
    if (n === begun && !sought) return;
    if (begun >= 0 && top(begun) >= 0 && top(begun) < list.clientHeight) following = true; // scrolled back to the current line
    begun = n;
    sought = false;
    if (!list.contains(page.focused)) rove(Math.max(0, n));
    if (following && !list.querySelector(":focus-visible")) bring("smooth");
  };

  const load = async () => {
    const start = performance.now();
    await page.attempt(async () => {
      ({ cues } = await api.transcript(hit.file_id, page.state.q));
    });
    if (closed) return;
    element.hidden = !cues.length;
    if (!cues.length) return;
    if (!certain && performance.now() - start > PATIENCE) fold(true);
    lines = cues.map(({ start_s, text }) => {
      const words = h("span.words", { dir: "auto" }, marked(text));
      return h("button", { tabindex: "-1" }, h("span.time", clock(start_s)), " ", words);
    });
    list.replaceChildren(...lines.map((line) => h("li", line)));
    rove(0);
    come();
    bring("instant");
  };

  /** A person scrolls the list, also by its scroll bar. @param {Event} event */
  const leave = (event) => {
    if (event.type !== "pointerdown" || event.target === list) following = false;
  };
  on(list, { wheel: leave, touchmove: leave, pointerdown: leave }, { passive: true });
  fold(folded);
  const loaded = load();

  return {
    element,
    at,
    loaded,
    /** The cue at a second, "" if there is none; null if the video is not transcribed. @param {number} second */
    words(second) {
      const n = last(cues, second);
      if (!cues.length) return null;
      return n >= 0 && second < cues[n].end_s ? unmarked(cues[n].text) : "";
    },
    /** The video is sought: the list scrolls with it again. */
    follow() {
      [following, sought] = [true, true];
    },
    /** Hide an element until the lines are loaded, at most PATIENCE. @param {HTMLElement} element */
    holds(element) {
      if (certain || folded) return;
      const show = () => element.classList.remove("held");
      element.classList.add("held");
      Promise.race([loaded, new Promise((resolve) => setTimeout(resolve, PATIENCE))]).then(show);
    },
    close() {
      closed = true;
    },
  };
}

/** The last line that has begun by a second, or -1. @param {Cue[]} cues @param {number} second */
const last = (cues, second) => cues.findLastIndex((cue) => cue.start_s <= second);
