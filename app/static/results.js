// The answer: asks for it, drops a request that is out of date, fetches more as one scrolls, and says in a sentence
// how much was found or why nothing was. The hits themselves are drawn by grid.js.

import * as api from "./api.js";
import { h, icon } from "./dom.js";
import { count, counted } from "./format.js";
import { Grid } from "./grid.js";
import { asks, fields, filtered, wants } from "./state.js";

/** @typedef {import("./types").Hit} Hit */
/** @typedef {import("./types").Answer} Answer */

const PAGE = 30;
/** While indexing goes on, results are asked for again this often (milliseconds). */
const GROWS = 4000;

export class Results {
  /** @param {import("./app.js").Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Hit[]} */
    this.hits = [];
    this.total = 0;
    /** Why nothing was found. @type {string | null} */
    this.notice = null;
    this.latency = 0;
    this.asked = "";
    this.last = "";
    this.grown = -GROWS;
    this.stale = false;
    /** A sentence stands in place of results. */
    this.said = false;
    /** @type {AbortController | null} */
    this.flight = null;
    this.summary = h("p", { class: "summary", role: "status" });
    this.grid = new Grid(this);
    this.end = h("div", { class: "end" });
    this.moreButton = h("button", { class: "secondary", hidden: true, onclick: () => this.more() }, "Show more");
    this.element = h("div", { class: "results" }, this.summary, this.grid.list, this.end, this.moreButton);
    this.watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && this.more(), {
      rootMargin: "900px",
    });
    this.watcher.observe(this.end);
  }

  /** What is asked for, files included, as one string. */
  key() {
    const { state } = this.page;
    const files = state.parts.map(({ file, avoid }) => file && `${avoid}${file.name}${file.size}${file.lastModified}`);
    return `${fields(state)}|${files.filter(Boolean).join("|")}`;
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
    this.grid.hold();
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
        this.grid.unfolded.clear();
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
        this.grid.hold(false);
      }
    }
  }

  /** @param {Answer} answer @param {boolean} again the same question as the last one */
  take(answer, again) {
    if (!again) this.grid.cards.clear();
    this.said = false;
    this.hits = answer.hits;
    this.total = answer.total;
    this.notice = answer.notice;
    this.page.filters.know(answer.facets ?? {});
    this.grid.draw(again ? Infinity : this.grid.screenful());
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
    this.notice = null;
    this.last = "";
    this.grid.cards.clear();
    this.grid.list.replaceChildren();
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
      this.grid.draw();
    } catch (error) {
      this.moreButton.hidden = false;
      page.sorry(error);
    } finally {
      if (this.flight === flight) this.flight = null;
    }
  }

  /** The grid has drawn the hits. */
  drawn() {
    this.summarise();
    this.watcher.unobserve(this.end); // observed anew it tells at once whether there is still room below
    this.watcher.observe(this.end);
  }

  summarise() {
    const { state, status } = this.page;
    this.summary.classList.remove("wrong");
    const asking = asks(state) || filtered(state);
    this.element.classList.toggle("blank", !this.hits.length);
    if (this.hits.length) {
      this.summary.textContent = asking ? this.found() : "Newest in your library";
      this.moreButton.hidden = true;
    } else if (!status) this.summary.textContent = "";
    else if (!status.roots.length && !status.files) this.summary.replaceChildren(this.invitation());
    else if (this.notice) this.summary.textContent = this.notice;
    else if (filtered(state)) this.summary.textContent = "Nothing matches these filters.";
    else if (asking) this.summary.textContent = "Nothing in the library matches.";
    else if (status.pending)
      this.summary.textContent = "Your files are being read; they appear here as they are ready.";
    else this.summary.textContent = "No images, videos or PDFs were found in your folders.";
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
    const add = () => {
      this.page.go({ view: "library", open: null });
      this.page.library.ask();
    };
    return h("span", { class: "invitation" }, [
      h("span", { class: "lead" }, "Choose a folder of photos, videos or PDFs, and search it a moment later."),
      h("button", { class: "main", onclick: add }, icon("folder"), "Add a folder"),
    ]);
  }

  /** A new status: an empty library has filled, or results grow while indexing goes on. @param {import("./types").Status | null} before */
  know(before) {
    const { page } = this;
    const { status } = page;
    if (!status) return;
    const facts = /** @type {const} */ (["chunks", "files", "boot"]);
    const changed = before && facts.some((fact) => before[fact] !== status[fact]);
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
      page.known
        .then(() => page.status?.keeps_clicks && api.clicked(q, hit.chunk_id))
        .catch((error) => page.sorry(error));
    }
    page.go({ open: hit.chunk_id });
  }

  /** @param {number} chunk */
  similar(chunk) {
    this.page.box.input.value = "";
    this.page.go({
      q: "",
      avoid: [],
      parts: [{ chunk, avoid: false }],
      file_id: "",
      open: null,
      view: "search",
      sort: "relevance",
    });
    this.page.scroller.scrollTop = 0;
  }

  /** @param {number} file */
  titleOf(file) {
    return this.hits.find((hit) => hit.file_id === file)?.title;
  }
}
