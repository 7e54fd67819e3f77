// The results of a search: requests the answer, drops outdated requests, fetches more hits on scrolling, and says how
// many hits there are or why there are none. grid.js draws the hits.

import { Away, api, Refused } from "./api.js";
import { lookAhead } from "./closer-look.js";
import { button, h, icon } from "./dom.js";
import { count, counted, fileName } from "./format.js";
import { Grid } from "./grid.js";
import { WorldMap } from "./map.js";
import { asks, fields, filtered, wants } from "./state.js";
import { Timeline } from "./timeline.js";

const PAGE = 30;
/** Milliseconds between searches that renew the results during indexing. */
const RENEW_AFTER = 4000;
/** Milliseconds until the hits of before fade: a fade paints them anew. */
const LATE = 250;

export class Results {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Hit[]} */
    this.hits = [];
    /** The place of the first loaded hit in the whole answer. */
    this.first = 0;
    this.total = this.matches = 0;
    this.goesOn = false;
    /** Why nothing was found. @type {string | null} */
    this.notice = null;
    this.latency = 0;
    /** The key of the current query, and of the last one that has an answer. */
    this.query = "";
    this.answered = "";
    this.renewedAt = -RENEW_AFTER;
    this.stale = false;
    this.timer = 0;
    /** Whether a sentence stands in place of results. */
    this.hasSentence = false;
    /** @type {AbortController | null} */
    this.flight = null;
    this.summary = h("p.summary", { role: "status" });
    this.grid = new Grid(this);
    this.end = h("div.end");
    this.moreButton = button("Show more", () => this.more(), { hidden: true });
    this.timeline = new Timeline(this);
    this.start = h("div.end.start");
    this.map = new WorldMap(this);
    const { summary, map, start, grid, end, moreButton, timeline } = this;
    const parts = [summary, map.element, start, grid.list, end, moreButton, timeline.element];
    this.element = h("div.results", parts);
    this.watchEnd = inView(this.end, "900px", () => this.more());
    this.watchStart = inView(this.start, "300px", () => this.before());
  }

  /** Whether the hits are everything that passes the filters, by date: such a list has no scores. */
  get byDate() {
    return this.hits.length > 0 && this.hits.every((hit) => hit.score === 0 && hit.relevant);
  }

  get best() {
    return Math.max(0, ...this.hits.map((hit) => hit.score));
  }

  /** The query, with its files, as one string. */
  key() {
    const { state } = this.page;
    const files = state.parts.map(({ file, avoid }) => file && `${avoid}${file.name}${file.size}${file.lastModified}`);
    return `${fields(state)}|${files.filter(Boolean).join("|")}`;
  }

  show() {
    if (this.key() !== this.query) this.searchNow();
    else if (!this.flight) this.map.show();
  }

  /** The state to search with: without a query, the newest files. */
  searchState() {
    const { state } = this.page;
    return asks(state) ? state : { ...state, sort: /** @type {const} */ ("date") };
  }

  /** Search now, and drop a running search. */
  async searchNow() {
    const { page } = this;
    const { state } = page;
    const query = (this.query = this.key());
    this.flight?.abort();
    this.grid.hold();
    if (asks(state) && !wants(state)) {
      this.flight = null;
      this.nothing("Say also what to look for, not only what to avoid.");
      return;
    }
    const flight = (this.flight = new AbortController());
    this.wait(true);
    try {
      const start = performance.now();
      const answer = await api.search(this.searchState(), { k: PAGE, offset: 0, signal: flight.signal });
      if (this.flight !== flight) return;
      this.latency = state.parts.some((part) => part.file) ? this.latency : performance.now() - start;
      const same = this.answered === query;
      this.answered = query;
      if (!same) {
        this.grid.unfolded.clear();
        if (state.open === null && state.view === "search" && page.scroller.scrollTop > 0) page.scroller.scrollTop = 0;
      }
      this.take(answer, same);
    } catch (error) {
      if (this.flight !== flight) return;
      if (error instanceof Away) this.query = "";
      this.fail(error);
    } finally {
      if (this.flight === flight) {
        this.flight = null;
        this.wait(false);
        this.grid.hold(false);
      }
    }
  }

  /** An answer is awaited, or no longer. @param {boolean} on */
  wait(on) {
    const { element } = this;
    clearTimeout(this.timer);
    element.ariaBusy = on ? "true" : null;
    element.classList.remove("late");
    if (on) this.timer = window.setTimeout(() => element.classList.add("late"), LATE);
  }

  /** @param {Answer} answer @param {boolean} again whether the query is the last one again */
  take(answer, again) {
    const room = again ? Infinity : this.grid.room(); // while the page is laid out
    if (!again) {
      this.grid.cards.clear();
      this.page.selection.clear();
    }
    this.hasSentence = false;
    this.hits = answer.hits;
    this.first = 0;
    this.total = answer.total;
    this.matches = answer.matches;
    this.goesOn = answer.at_least;
    this.notice = answer.notice;
    this.page.filters.update(answer.facets ?? {});
    this.grid.draw(room);
    this.map.show(true);
    if (!again) lookAhead(this.hits, this.page.state);
    this.page.viewer.refreshed();
  }

  /** @param {unknown} error */
  fail(error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    if (error instanceof Refused && asks(this.page.state)) {
      this.nothing(error.message);
      this.summary.classList.add("wrong");
    } else if (!(error instanceof Refused)) this.page.sorry(error);
  }

  /** Show a sentence in place of hits. @param {string} sentence */
  nothing(sentence) {
    this.hits = [];
    this.first = this.total = 0;
    this.notice = null;
    this.answered = "";
    this.grid.cards.clear();
    this.grid.list.replaceChildren();
    this.page.selection.clear();
    this.wait(false);
    this.element.classList.add("blank");
    this.timeline.show();
    this.map.show();
    this.summary.classList.remove("wrong");
    this.summary.textContent = sentence;
    this.hasSentence = true;
  }

  /**
   * Ask for a part of the list; `take` gets the answer if nothing newer was asked. Returns whether there was no error.
   * @param {number} k @param {number} offset @param {(answer: Answer) => void} take
   */
  async part(k, offset, take) {
    const flight = (this.flight = new AbortController());
    const { query } = this;
    let done = false;
    await this.page.attempt(async () => {
      const answer = await api.search(this.searchState(), { k, offset, signal: flight.signal });
      if (this.flight === flight && query === this.query) take(answer);
      done = true;
    });
    if (this.flight === flight) this.flight = null;
    return done;
  }

  /** Those hits that are not in the list yet. @param {Hit[]} hits */
  unseen(hits) {
    const present = new Set(this.hits.map((hit) => hit.chunk_id));
    return hits.filter((hit) => !present.has(hit.chunk_id));
  }

  async more() {
    const next = this.first + this.hits.length;
    if (this.flight || !this.hits.length || next >= this.total || this.page.state.view !== "search") return;
    const loaded = await this.part(PAGE, next, (answer) => {
      const fresh = this.unseen(answer.hits);
      this.total = fresh.length ? answer.total : next;
      this.hits = [...this.hits, ...fresh];
      this.grid.draw();
    });
    if (!loaded) this.moreButton.hidden = false;
  }

  /** Load the hits before the first one, after a jump; what is in view stays where it is. */
  async before() {
    const { page, grid, first } = this;
    if (this.flight || !first || page.state.view !== "search" || page.scroller.scrollTop > innerHeight) return;
    const offset = Math.max(0, first - PAGE);
    await this.part(first - offset, offset, (answer) => {
      const anchor = grid.list.querySelector(".card");
      const top = anchor?.getBoundingClientRect().top ?? 0;
      this.hits = [...this.unseen(answer.hits), ...this.hits];
      this.first = offset;
      grid.draw();
      page.scroller.scrollTop += (anchor?.getBoundingClientRect().top ?? top) - top;
    });
  }

  /** Show the list from a place on. @param {number} offset */
  async jump(offset) {
    const { page, grid } = this;
    this.flight?.abort();
    this.wait(false); // for a search that has just been dropped
    grid.hold(false);
    await this.part(PAGE, offset, (answer) => {
      this.hits = answer.hits;
      this.first = offset;
      grid.draw();
      const box = page.box.element.offsetHeight;
      page.scroller.scrollTop += grid.list.getBoundingClientRect().top - box;
    });
    this.watchStart();
  }

  /** The place in the list of the first hit that is in view; null without any. */
  firstInView() {
    const top = this.page.box.element.getBoundingClientRect().bottom;
    const items = this.grid.list.children;
    let [low, high] = [0, items.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (items[middle].getBoundingClientRect().bottom > top) high = middle;
      else low = middle + 1;
    }
    while (items[low] && !items[low].matches(".card")) low += 1;
    const chunk = Number(items[low]?.getAttribute("data-chunk"));
    const n = this.hits.findIndex((hit) => hit.chunk_id === chunk);
    return n < 0 ? null : this.first + n;
  }

  /** Called by the grid after it has drawn the hits. @param {boolean} all or only a first screenful of them */
  onDraw(all) {
    this.summarise();
    if (!all) return;
    this.timeline.show();
    this.watchEnd();
  }

  summarise() {
    const { hits, summary } = this;
    const { status } = this.page;
    summary.classList.remove("wrong");
    this.element.classList.toggle("blank", !hits.length);
    if (hits.length) this.moreButton.hidden = true;
    const empty = !hits.length && status && !status.roots.length && !status.files;
    if (empty) summary.replaceChildren(this.invitation());
    else summary.textContent = this.sentence();
  }

  /** How many hits there are, or why there are none. */
  sentence() {
    const { state, status } = this.page;
    const asking = asks(state) || filtered(state);
    const unread = status?.pending ? `${counted(status.pending, "file is", "files are")} still to be read.` : "";
    if (this.hits.length) return asking ? this.counts(unread) : "Newest in your library";
    if (!status) return "";
    if (this.notice) return this.notice;
    if (asking && unread) return `Nothing that has been read matches; ${unread}`;
    if (filtered(state)) return "Nothing matches these filters.";
    if (asking) return "Nothing in the library matches.";
    if (status.pending) return "Your files are being read; they appear here as they are ready.";
    return "No images, videos or PDFs were found in your folders.";
  }

  /** How many match. @param {string} unread */
  counts(unread) {
    const soFar = unread && ` so far; ${unread}`;
    const { matches, total } = this;
    const some = this.goesOn ? "At least " : "";
    if (matches === total) return some + counted(total, "result") + soFar;
    if (!matches && unread) return `Nothing that has been read stands out for this; ${unread}`;
    if (!matches) return "Nothing in the library stands out for this.";
    return `${some}${counted(matches, "match", "matches")}, ${count(total - matches)} less likely${soFar}`;
  }

  /** For an empty library: one sentence, one button. */
  invitation() {
    const add = () => {
      this.page.go({ view: "library", open: null });
      this.page.library.focusPath();
    };
    return h("span.invitation", [
      h("span.lead", "Choose a folder of photos, videos or PDFs, and search it a moment later."),
      button([icon("folder"), "Add a folder"], add, { class: "main" }),
    ]);
  }

  /** Search again if a new status says that the library has changed. @param {Status | null} previous */
  update(previous) {
    const { page } = this;
    const { status } = page;
    if (!status) return;
    const facts = /** @type {const} */ (["chunks", "files", "boot"]);
    const changed = previous && facts.some((fact) => previous[fact] !== status[fact]);
    if (!previous && !this.flight && !this.hasSentence) this.summarise();
    if (!previous) page.filters.show();
    if (changed) this.stale = true;
    if (!this.stale || this.flight || page.state.view !== "search" || page.viewer.open) return;
    if (performance.now() - this.renewedAt < RENEW_AFTER || this.hits.length > PAGE || this.first) return;
    this.renewedAt = performance.now();
    this.stale = false;
    this.searchNow();
  }

  /** Open the viewer; after a search in words, store the click if the person has agreed. @param {Hit} hit */
  open(hit) {
    const { page } = this;
    const { q, parts, view } = page.state;
    if (q.trim() && !parts.length && view === "search")
      page.attempt(async () => {
        await page.first.promise;
        if (page.status?.keeps_clicks) await api.clicked(q, hit.chunk_id);
      });
    page.go({ open: hit.chunk_id });
  }

  /** @param {number} chunk */
  similar(chunk) {
    this.page.box.input.value = "";
    const parts = [{ chunk, avoid: false }];
    this.page.go({ q: "", avoid: [], parts, file_id: "", open: null, view: "search", sort: "relevance" });
    this.page.scroller.scrollTop = 0;
  }

  /** @param {number} file */
  nameOf(file) {
    return fileName(this.hits.find((hit) => hit.file_id === file)?.path ?? "one file");
  }
}

/** Act whenever an element comes into view. Returns what looks anew: a new observation reports at once.
 * @param {Element} element @param {string} rootMargin @param {Act} act */
function inView(element, rootMargin, act) {
  const watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && act(), { rootMargin });
  const look = () => {
    watcher.unobserve(element);
    watcher.observe(element);
  };
  look();
  return look;
}
