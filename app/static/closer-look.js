// The closer look into a long window of a film: where in it the words come nearest, and a strip of its frames. Asked for
// before the player opens: for the card under the pointer, and for the first films of an answer while the page rests. The
// moment is kept with the hit (`hit.moment`; null: none). It knows nothing of players.

import { api } from "./api.js";
import { h, part } from "./dom.js";
import { clock, said } from "./format.js";

/** Windows from this length on get a closer look. */
const LONG_S = 10;
/** The films of an answer that get one unasked, and the milliseconds that the page rests before. */
const [FIRST, REST] = [2, 1500];

/** @type {WeakMap<Hit, Promise<Moment | null>>} */
const looks = new WeakMap();

/** Whether a window gets a closer look: it is long, and words alone are searched for. @param {Hit} hit @param {State} state */
export function worth({ kind, start_s, end_s, at_s }, { q, parts }) {
  const long = kind === "video" && start_s !== null && (end_s ?? 0) - start_s >= LONG_S;
  return long && Boolean(q.trim()) && !parts.length && !said({ at_s });
}

/** The closer look at a hit, made once. @param {Hit} hit @param {State} state @returns {Promise<Moment | null>} */
export function closerLook(hit, state) {
  const look = looks.get(hit);
  if (look || !worth(hit, state)) return look ?? Promise.resolve(null);
  const asked = api.nearest(state.q, hit.chunk_id).then(({ moments }) => (hit.moment = moments[0] ?? null));
  looks.set(hit, asked);
  asked.catch(() => looks.delete(hit)); // asked for again the next time
  return asked;
}

let timer = 0;

/** Look at the first films of an answer when the page has rested. @param {Hit[]} hits @param {State} state */
export function lookAhead(hits, state) {
  clearTimeout(timer);
  timer = window.setTimeout(async () => {
    const films = hits.filter((hit) => worth(hit, state)).slice(0, FIRST);
    for (const hit of films) await closerLook(hit, state).catch(() => {}); // one after the other: no search waits
  }, REST);
}

/** The frames of a window in a row; `mark` shows the likely span. A click leads to its second.
 * @param {Hit} hit @param {(second: number) => void} seek */
export function strip(hit, seek) {
  const [from, to] = [hit.start_s ?? 0, hit.end_s ?? 0];
  const share = (/** @type {number} */ second) => (100 * (second - from)) / (to - from);
  const onclick = (/** @type {MouseEvent} */ event) => seek(from + part(element, event) * (to - from));
  const frames = h("img", { src: `/strip/${hit.chunk_id}.webp`, alt: "", draggable: "false" });
  const element = h("div.strip", { onclick }, frames);
  return {
    element,
    /** @param {Moment} moment */
    mark({ start_s, end_s, at_s }) {
      const style = `left:${share(start_s)}%;width:${share(end_s) - share(start_s)}%`;
      const name = `Nearest at ${clock(at_s)}`;
      const onclick = (/** @type {Event} */ event) => {
        event.stopPropagation();
        seek(start_s);
      };
      const late = share(start_s) > 60; // its words stand to the left
      element.append(
        h(late ? "button.nearest.late" : "button.nearest", { style, onclick, title: name }, h("span", name)),
      );
    },
  };
}
