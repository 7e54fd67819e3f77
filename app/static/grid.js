// The hits as a grid: folds the moments of one video, the pages of one PDF and near-equal images under the best one, draws the divider
// before the less likely hits, reuses cards, and moves the focus with the arrow keys. Built around one list element;
// knows nothing of how the hits are fetched.

import { card, shape } from "./card.js";
import { arrange, h, icon, unseen } from "./dom.js";
import { counted, fileName } from "./format.js";
import { asks } from "./state.js";
import { LEAST, monthKey, monthTitle } from "./timeline.js";

/** The height of a card's text in pixels, about. */
const WORDS = 70;
/** Pixels; the tops of cards of one row differ by less. */
const ROW = 40;

export class Grid {
  /** @param {Results} results */
  constructor(results) {
    this.results = results;
    this.page = results.page;
    /** Counts the calls of `draw`. */
    this.turn = 0;
    /** Files whose further moments are shown. @type {Set<number>} */
    this.unfolded = new Set();
    /** @type {Map<string, HTMLLIElement>} */
    this.cards = new Map();
    /** @type {Map<string, HTMLElement[]>} */
    this.headings = new Map();
    this.list = h("ul.grid", { "aria-label": "Results" });
    this.divider = h("li.divider");
    this.fillers = [0, 1].map(() => h("li.filler", { "aria-hidden": "true" }));
  }

  /** Stop loading pictures of the last answer: they would take up the browser's few connections, and the server.
   * @param {boolean} [wait] false: load those that are still in the grid */
  hold(wait = true) {
    for (const picture of this.list.querySelectorAll(wait ? ".picture > img[src]" : ".picture > img[data-src]")) {
      const [from, to] = wait ? ["src", "data-src"] : ["data-src", "src"];
      if (wait && /** @type {HTMLImageElement} */ (picture).complete) continue;
      picture.setAttribute(to, picture.getAttribute(from) ?? "");
      picture.removeAttribute(from);
    }
  }

  /** Hits in the order of the grid: one list for each file, its best hit first. */
  folded() {
    const fold = !this.page.state.file_id;
    const files = Map.groupBy(this.results.hits, (hit) => {
      const own = `c${(fold && hit.alike) || hit.chunk_id}`;
      return fold && (hit.kind !== "image" || (hit.pages ?? 0) > 1) ? hit.file_id : own;
    });
    return [...files.values()];
  }

  /** The hits that have a card, in order, for the viewer. */
  shown() {
    return this.folded().flatMap(([first, ...rest]) => (this.unfolded.has(first.file_id) ? [first, ...rest] : [first]));
  }

  /** The width of the rows that have room on the screen, in heights of a picture. */
  room() {
    const tall = parseFloat(getComputedStyle(this.list).getPropertyValue("--tall"));
    const { top, width } = this.list.getBoundingClientRect();
    return (width / tall) * Math.max(1, Math.ceil((innerHeight - top) / (tall + WORDS)));
  }

  /** Draw the hits. @param {number} [room] for those to paint first; the others follow in later frames */
  draw(room = Infinity) {
    const { page } = this;
    const turn = ++this.turn;
    const ranked = !this.results.byDate;
    const dated = !ranked && (!asks(page.state) || this.results.total >= LEAST);
    let month = "";
    const { best } = this.results;
    /** @type {HTMLElement[]} */
    const items = [];
    let divided = !ranked;
    let all = true;
    for (const [first, ...rest] of this.folded()) {
      if (room <= 0) {
        all = false;
        requestAnimationFrame(() => requestAnimationFrame(() => turn === this.turn && this.draw()));
        break;
      }
      room -= shape(first);
      if (!divided && !first.relevant) {
        divided = true;
        this.divider.replaceChildren(h("span", items.length ? "Less likely" : "The nearest there is"));
        items.push(this.fillers[0], this.divider);
      }
      if (dated && (!items.length || monthKey(first) < month)) {
        month = monthKey(first);
        items.push(...this.heading(month).slice(items.length ? 0 : 1));
      }
      const unfolded = this.unfolded.has(first.file_id);
      const element = this.cardOf(first, best, ranked);
      const fold = element.querySelector(".fold");
      const fresh = rest.length ? this.fold(first, rest, unfolded) : null;
      if (fresh && fold?.isEqualNode(fresh)) fresh.remove();
      else if (fold) fold.replaceWith(fresh ?? "");
      else if (fresh) element.append(fresh);
      items.push(element);
      for (const hit of unfolded ? rest : []) {
        const child = this.cardOf(hit, best, ranked);
        child.classList.add("child");
        items.push(child);
      }
    }
    items.push(this.fillers[1]);
    const focus = page.focused;
    arrange(this.list, items);
    if (focus && focus !== page.focused && this.list.contains(focus)) focus.focus({ preventScroll: true });
    page.selection.show();
    this.results.onDraw(all);
  }

  /** The heading of a month, and what fills the row before it. @param {string} month */
  heading(month) {
    const items = this.headings.get(month) ?? [
      h("li.filler", { "aria-hidden": "true" }),
      h("li.month", h("h2", monthTitle(month))),
    ];
    this.headings.set(month, items);
    return items;
  }

  /** @param {Hit} hit @param {number} best @param {boolean} ranked */
  cardOf(hit, best, ranked) {
    const key = `${hit.chunk_id}:${hit.start_s}:${hit.end_s}:${hit.at_s}:${hit.favourite}:${hit.snippet}`;
    const element = this.cards.get(key) ?? card(hit, { best, ranked, results: this.results });
    element.classList.remove("child");
    this.cards.set(key, element);
    return element;
  }

  /** @param {Hit} first @param {Hit[]} rest @param {boolean} unfolded */
  fold(first, rest, unfolded) {
    const pictures = first.kind === "image" && !((first.pages ?? 0) > 1);
    const what = first.kind === "video" ? "moment" : "page";
    const near = `${rest.length} near-equal`;
    const shown = pictures ? `+${near}` : counted(rest.length, `more ${what}`);
    const words = unfolded ? `Hide ${pictures ? near : counted(rest.length, what)}` : shown;
    const onclick = () => {
      if (unfolded) this.unfolded.delete(first.file_id);
      else this.unfolded.add(first.file_id);
      this.draw();
      this.list.querySelector(`[data-chunk="${first.chunk_id}"] .fold`)?.focus();
    };
    const whose = unseen(` of ${fileName(first.path)}`);
    return h("button.fold", { "aria-expanded": unfolded, onclick }, icon("layers"), words, whose);
  }

  enter() {
    this.list.querySelector("a.open")?.focus();
  }

  /** Move the focus by an arrow key; up and down by the position on the screen. @param {KeyboardEvent} event */
  walk(event) {
    const at = this.page.focused?.closest(".card");
    const links = [...this.list.querySelectorAll("a.open")];
    const n = links.findIndex((link) => at?.contains(link));
    if (n < 0) return;
    const side = { ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0;
    let next = n + side;
    if (!side) {
      const down = event.key === "ArrowDown";
      const { top, left, width } = links[n].getBoundingClientRect();
      const places = links.map((link, i) => {
        const box = link.getBoundingClientRect();
        const rows = Math.round((box.top - top) / ROW) * (down ? 1 : -1);
        return { i, rows, apart: Math.abs(box.left + box.width / 2 - left - width / 2) };
      });
      const near = places.filter(({ rows }) => rows > 0).sort((a, b) => a.rows - b.rows || a.apart - b.apart)[0];
      if (!near && !down) return this.page.box.input.focus();
      next = near?.i ?? n;
    }
    event.preventDefault();
    links[Math.max(0, Math.min(links.length - 1, next))]?.focus();
  }
}
