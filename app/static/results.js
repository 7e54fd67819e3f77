// The answer: asks for it, shows it as a grid, folds the moments of one video and the pages of one PDF under
// their best one, draws the line below which hits are less likely, and fetches more as one scrolls.

import * as api from "./api.js";
import { arrange, h, icon } from "./dom.js";
import { count, counted } from "./format.js";
import { card } from "./grid.js";
import { asks, fields, filtered, wants } from "./state.js";

/** @typedef {import("./types").Hit} Hit */
/** @typedef {import("./types").Answer} Answer */

const PAGE = 30;
/** A card with its words is about this much higher than its picture (pixels). */
const WORDS = 70;
/** While indexing goes on, results are asked for again this often (milliseconds). */
const GROWS = 4000;

export class Results {
  /** @param {import("./app.js").Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Hit[]} */
    this.hits = [];
    this.total = 0;
    this.latency = 0;
    this.asked = "";
    this.last = "";
    this.grown = -GROWS;
    this.stale = false;
    /** Counts the times that the hits were drawn. */
    this.turn = 0;
    /** A sentence stands in place of results. */
    this.said = false;
    /** @type {AbortController | null} */
    this.flight = null;
    /** Files whose further moments are shown. @type {Set<number>} */
    this.unfolded = new Set();
    /** @type {Map<string, HTMLLIElement>} */
    this.cards = new Map();
    this.summary = h("p", { class: "summary", role: "status" });
    this.list = h("ul", { class: "grid", role: "list", "aria-label": "Results" });
    this.divider = h("li", { class: "divider" });
    this.fillers = [0, 1].map(() => h("li", { class: "filler", "aria-hidden": "true" }));
    this.end = h("div", { class: "end" });
    this.more_button = h("button", { type: "button", class: "secondary", hidden: true, onclick: () => this.more() }, "Show more");
    this.element = h("div", { class: "results" }, this.summary, this.list, this.end, this.more_button);
    this.watcher = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) this.more(); }, { rootMargin: "900px" });
    this.watcher.observe(this.end);
  }

  /** What is asked for, files included, as one string. */
  key() {
    const { state } = this.page;
    const files = state.parts.filter((part) => part.file).map((part) => `${part.avoid}${part.file?.name}${part.file?.size}${part.file?.lastModified}`);
    return fields(state) + "|" + files.join("|");
  }

  show() {
    if (this.key() !== this.asked) this.searchNow();
  }

  /** Ask now; whatever was still under way is dropped. */
  async searchNow() {
    const { page } = this;
    const { state } = page;
    const asked = (this.asked = this.key());
    this.flight?.abort();
    this.hold();
    if (asks(state) && !wants(state)) {
      this.flight = null;
      this.nothing("Say also what to look for, not only what to avoid.");
      return;
    }
    const flight = (this.flight = new AbortController());
    this.element.setAttribute("aria-busy", "true");
    try {
      const wanted = asks(state) ? state : { ...state, sort: /** @type {const} */ ("date") };
      const started = performance.now();
      const answer = await api.search(wanted, { k: PAGE, offset: 0, signal: flight.signal });
      if (this.flight !== flight) return;
      this.latency = state.parts.some((part) => part.file) ? this.latency : performance.now() - started;
      const same = this.last === asked;
      this.last = asked;
      if (!same) {
        this.unfolded.clear();
        if (state.open === null && state.view === "search" && page.scroller.scrollTop > 0) page.scroller.scrollTop = 0;
      }
      this.take(answer, same);
    } catch (error) {
      if (this.flight !== flight) return;
      if (error instanceof api.Away) this.asked = "";
      this.failed(error);
    } finally {
      if (this.flight === flight) {
        this.flight = null;
        this.element.removeAttribute("aria-busy");
        this.hold(false);
      }
    }
  }

  /** Pictures of the last answer that are still on their way wait: they would hold the few connections that a
   * browser has for us, and the server. @param {boolean} [wait] false: those still shown are asked for after all */
  hold(wait = true) {
    for (const picture of this.list.querySelectorAll(wait ? ".picture > img[src]" : ".picture > img[data-src]")) {
      const [from, to] = wait ? ["src", "data-src"] : ["data-src", "src"];
      if (wait && /** @type {HTMLImageElement} */ (picture).complete) continue;
      picture.setAttribute(to, picture.getAttribute(from) ?? "");
      picture.removeAttribute(from);
    }
  }

  /** @param {Answer} answer @param {boolean} again the same question as the last one */
  take(answer, again) {
    if (!again) this.cards.clear();
    this.said = false;
    this.hits = answer.hits;
    this.total = answer.total;
    this.page.filters.know(answer.facets ?? {});
    this.draw(again ? Infinity : this.screenful());
    this.page.viewer.refreshed();
  }

  /** @param {unknown} error */
  failed(error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    if (error instanceof api.Refused && asks(this.page.state)) {
      this.nothing(error.message);
      this.summary.classList.add("wrong");
    } else if (!(error instanceof api.Refused)) this.page.sorry(error);
  }

  /** No hits, and why. @param {string} sentence */
  nothing(sentence) {
    this.hits = [];
    this.total = 0;
    this.last = "";
    this.cards.clear();
    this.list.replaceChildren();
    this.element.removeAttribute("aria-busy");
    this.element.classList.add("blank");
    this.summary.classList.remove("wrong");
    this.summary.textContent = sentence;
    this.said = true;
  }

  async more() {
    const { page } = this;
    if (this.flight || !this.hits.length || this.hits.length >= this.total || page.state.view !== "search") return;
    const flight = (this.flight = new AbortController());
    const asked = this.asked;
    try {
      const wanted = asks(page.state) ? page.state : { ...page.state, sort: /** @type {const} */ ("date") };
      const answer = await api.search(wanted, { k: PAGE, offset: this.hits.length, signal: flight.signal });
      if (this.flight !== flight || asked !== this.asked) return;
      const known = new Set(this.hits.map((hit) => hit.chunk_id));
      const fresh = answer.hits.filter((hit) => !known.has(hit.chunk_id));
      this.total = fresh.length ? answer.total : this.hits.length;
      this.hits = [...this.hits, ...fresh];
      this.draw();
    } catch (error) {
      this.more_button.hidden = false;
      page.sorry(error);
    } finally {
      if (this.flight === flight) this.flight = null;
    }
  }

  /** Hits in the order shown, the best of each file first with the rest of that file below it. */
  folded() {
    const fold = !this.page.state.file_id;
    /** @type {Map<number | string, Hit[]>} */
    const files = new Map();
    for (const hit of this.hits) {
      const key = fold && hit.kind !== "image" ? hit.file_id : `c${hit.chunk_id}`;
      files.get(key)?.push(hit) ?? files.set(key, [hit]);
    }
    return [...files.values()];
  }

  /** Hits as the viewer walks through them: what is shown, in its order. */
  shown() {
    return this.folded().flatMap(([first, ...rest]) => (this.unfolded.has(first.file_id) ? [first, ...rest] : [first]));
  }

  /** Cards that fill the screen, rather too many than too few. */
  screenful() {
    const tall = parseFloat(getComputedStyle(this.list).getPropertyValue("--tall"));
    return Math.ceil((innerWidth * innerHeight) / (tall * (tall + WORDS)));
  }

  /** Show the hits. @param {number} [most] cards that are painted first; the others follow when these are */
  draw(most = Infinity) {
    const { page } = this;
    const turn = ++this.turn;
    const ranked = asks(page.state);
    const best = Math.max(0, ...this.hits.map((hit) => hit.score));
    /** @type {HTMLElement[]} */
    const items = [];
    let divided = !ranked;
    for (const [first, ...rest] of this.folded()) {
      if (items.length >= most) {
        requestAnimationFrame(() => requestAnimationFrame(() => { if (turn === this.turn) this.draw(); }));
        break;
      }
      if (!divided && !first.relevant) {
        divided = true;
        this.divider.replaceChildren(h("span", {}, items.length ? "Less likely" : "The nearest there is"));
        items.push(this.fillers[0], this.divider);
      }
      const unfolded = this.unfolded.has(first.file_id);
      const element = this.cardOf(first, best, ranked);
      element.classList.toggle("stack", rest.length > 0);
      const fold = element.querySelector(".fold");
      const wanted = rest.length ? this.fold(first, rest, unfolded) : null;
      if (wanted && fold?.isEqualNode(wanted)) wanted.remove();
      else if (fold) fold.replaceWith(wanted ?? "");
      else if (wanted) element.append(wanted);
      items.push(element);
      if (unfolded) for (const hit of rest) {
        const child = this.cardOf(hit, best, ranked);
        child.classList.add("child");
        items.push(child);
      }
    }
    items.push(this.fillers[1]);
    const held = /** @type {HTMLElement | null} */ (page.root.activeElement);
    arrange(this.list, items);
    if (held && held !== page.root.activeElement && this.list.contains(held)) held.focus({ preventScroll: true });
    this.summarise();
    this.watcher.unobserve(this.end); // observed anew it tells at once whether there is still room below
    this.watcher.observe(this.end);
  }

  /** @param {Hit} hit @param {number} best @param {boolean} ranked */
  cardOf(hit, best, ranked) {
    const key = `${hit.chunk_id}:${hit.start_s}:${hit.end_s}:${hit.at_s}:${hit.snippet}`;
    const kept = this.cards.get(key);
    if (kept) {
      kept.classList.remove("child");
      return kept;
    }
    const made = card(hit, {
      best, ranked,
      open: (one) => this.open(one),
      similar: (one) => this.similar(one.chunk_id),
    });
    this.cards.set(key, made);
    return made;
  }

  /** @param {Hit} first @param {Hit[]} rest @param {boolean} unfolded */
  fold(first, rest, unfolded) {
    const what = first.kind === "pdf" ? "page" : "moment";
    const words = unfolded ? `Hide ${counted(rest.length, what)}` : counted(rest.length, `more ${what}`);
    return h("button", { type: "button", class: "fold", "aria-expanded": String(unfolded), onclick: () => {
      if (unfolded) this.unfolded.delete(first.file_id);
      else this.unfolded.add(first.file_id);
      this.draw();
      /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-chunk="${first.chunk_id}"] .fold`))?.focus();
    } }, icon("layers"), words, h("span", { class: "unseen" }, ` of ${first.title}`));
  }

  summarise() {
    const { state, status } = this.page;
    this.summary.classList.remove("wrong");
    const asking = asks(state) || filtered(state);
    this.element.classList.toggle("blank", !this.hits.length);
    if (this.hits.length) {
      this.summary.textContent = asking ? this.found() : "Newest in your library";
      this.more_button.hidden = true;
    } else if (!status) this.summary.textContent = "";
    else if (!status.roots.length && !status.files) this.summary.replaceChildren(this.invitation());
    else if (asking) this.summary.textContent = filtered(state) ? "Nothing matches these filters." : "Nothing in the library matches.";
    else this.summary.textContent = status.pending ? "Your files are being read; they appear here as they are ready." : "No images, videos or PDFs were found in your folders.";
  }

  /** How much was found; what lies below the line of relevance is not sold as a match. */
  found() {
    const matches = this.hits.findIndex((hit) => !hit.relevant);
    if (!asks(this.page.state) || matches < 0) return counted(this.total, "result");
    if (!matches) return "Nothing in the library stands out for this.";
    return `${counted(matches, "match", "matches")}, ${count(this.total - matches)} less likely`;
  }

  /** An empty library: one sentence, one button. */
  invitation() {
    return h("span", { class: "invitation" },
      h("span", { class: "lead" }, "Choose a folder of photos, videos or PDFs, and search it a moment later."),
      h("button", { type: "button", class: "main", onclick: () => { this.page.go({ view: "library", open: null }); this.page.library.ask(); } }, icon("folder"), "Add a folder"));
  }

  /** A new status: an empty library has filled, or results grow while indexing goes on. @param {import("./types").Status | null} before */
  know(before) {
    const { page } = this;
    const { status } = page;
    if (!status) return;
    const changed = before && (before.chunks !== status.chunks || before.files !== status.files || before.boot !== status.boot);
    if (!before && !this.flight && !this.said) this.summarise();
    if (!before) page.filters.show();
    if (changed) this.stale = true;
    if (!this.stale || this.flight || page.state.view !== "search" || page.viewer.open) return;
    if (performance.now() - this.grown < GROWS || this.hits.length > PAGE) return;
    this.grown = performance.now();
    this.stale = false;
    this.searchNow();
  }

  /** Into the viewer. What words alone led to may be kept, if the person agreed. @param {Hit} hit */
  open(hit) {
    const { page } = this;
    const { q, parts } = page.state;
    if (q.trim() && !parts.length) {
      page.known.then(() => page.status?.keeps_clicks && api.clicked(q, hit.chunk_id)).catch((error) => page.sorry(error));
    }
    page.go({ open: hit.chunk_id });
  }

  /** @param {number} chunk */
  similar(chunk) {
    this.page.box.input.value = "";
    this.page.go({ q: "", avoid: [], parts: [{ chunk, avoid: false }], file_id: "", open: null, view: "search", sort: "relevance" });
    this.page.scroller.scrollTop = 0;
  }

  /** @param {number} file */
  titleOf(file) {
    return this.hits.find((hit) => hit.file_id === file)?.title;
  }

  /** Into the grid, from the search box. */
  enter() {
    /** @type {HTMLElement | null} */ (this.list.querySelector("a.open"))?.focus();
  }

  /** Arrow keys from card to card; up and down by place on the screen. @param {KeyboardEvent} event */
  walk(event) {
    const at = /** @type {HTMLElement | null} */ (this.page.root.activeElement)?.closest(".card");
    if (!at) return;
    const links = /** @type {HTMLElement[]} */ ([...this.list.querySelectorAll("a.open")]);
    const n = links.findIndex((link) => at.contains(link));
    let next = n + (event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const down = event.key === "ArrowDown";
      const here = links[n].getBoundingClientRect();
      const middle = here.left + here.width / 2;
      const rows = links.map((link, i) => ({ i, box: link.getBoundingClientRect() }))
        .filter(({ box }) => (down ? box.top > here.top + 20 : box.top < here.top - 20));
      const row = rows.length ? (down ? Math.min : Math.max)(...rows.map(({ box }) => box.top)) : NaN;
      const near = rows.filter(({ box }) => Math.abs(box.top - row) < 20)
        .sort((a, b) => Math.abs(a.box.left + a.box.width / 2 - middle) - Math.abs(b.box.left + b.box.width / 2 - middle))[0];
      if (!near && !down) return this.page.box.input.focus();
      next = near?.i ?? n;
    }
    event.preventDefault();
    links[Math.max(0, Math.min(links.length - 1, next))]?.focus();
  }
}
