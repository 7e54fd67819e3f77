// The page: search box, filters, results, viewer and library over one state. Every change goes through `go`, which
// writes the address and redraws. The page mounts itself in #sightline; Gradio calls `adopt`, which moves it into
// gr.HTML with its state, focus and playing videos.

import { Albums } from "./albums.js";
import { Away } from "./api.js";
import { SearchBox } from "./chips.js";
import { h, icon, takeOver } from "./dom.js";
import { Duplicates } from "./duplicates.js";
import { Filters } from "./filters.js";
import { Help } from "./help.js";
import { Library } from "./library.js";
import { Progress } from "./progress.js";
import { Results } from "./results.js";
import { Selection } from "./selection.js";
import { paint, Settings } from "./settings.js";
import { empty, read, VIEWS, write } from "./state.js";
import { keepUp } from "./upgrade.js";
import { Viewer } from "./viewer.js";

export class Page {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.host = host;
    this.state = read();
    /** @type {Status | null} */
    this.status = null;
    /** Resolves with the first status. @type {PromiseWithResolvers<void>} */
    this.first = Promise.withResolvers();
    this.scroller = document.scrollingElement ?? document.documentElement;
    this.root = host.attachShadow({ mode: "open" });
    const style = h("link", { rel: "stylesheet", href: "/ui/sightline.css" });
    const icons = h("div", { hidden: true });
    fetch("/ui/icons.svg").then(async (svg) => (icons.innerHTML = await svg.text()));

    this.main = h("div", { id: "main", role: "main" });
    this.help = new Help(this);
    this.box = new SearchBox(this);
    this.filters = new Filters(this);
    this.results = new Results(this);
    this.albums = new Albums(this);
    this.duplicates = new Duplicates(this);
    this.selection = new Selection(this);
    this.viewer = new Viewer(this);
    this.library = new Library(this);
    this.settings = new Settings(this);
    this.progress = new Progress(this);
    this.notices = h("div.notices", { role: "status" });
    this.links = VIEWS.slice(0, -1).map((view) => {
      const href = view === "search" ? "/" : `/?view=${view}`;
      return h("a", { href, onclick: takeOver(() => this.visit(view)) }, view);
    });

    const onclick = takeOver(() => this.home());
    const name = h("span", { "aria-hidden": "true" }, "Sightline");
    const mark = h("a.mark", { href: "/", "aria-label": "Sightline, start page", onclick }, icon("search"), name);
    const search = [this.box.element, this.filters.element, this.results.element];
    this.main.append(
      h("h1.unseen", "Sightline: search your images, videos and PDFs"),
      h("section.search", { "aria-label": "Search" }, search),
      this.albums.element,
      this.duplicates.element,
      this.library.element,
      this.settings.element,
    );
    this.frame = h("div.frame", { style: "visibility:hidden" }, [
      h("a.skip", { href: "#main", onclick: takeOver(() => this.box.input.focus()) }, "Skip to search"),
      h("header.top", mark, this.progress.element, h("nav", { "aria-label": "Views" }, this.links)),
      this.main,
      this.selection.element,
      this.notices,
      this.viewer.element,
      this.albums.sheet.dialog,
      this.albums.naming.dialog,
      this.selection.labelling.dialog,
      this.box.suggest.sheet.dialog,
      this.help.element,
    ]);
    style.addEventListener("load", () => (this.frame.style.visibility = ""));
    this.root.append(style, icons, this.frame);

    addEventListener("popstate", () => this.follow());
    addEventListener("keydown", (event) => this.key(event));
    this.show();
    this.progress.start();
    keepUp(this);
  }

  /**
   * Change the state, the address and the page.
   * @param {Partial<State>} change
   * @param {{step?: boolean}} [how] `step: false` replaces the current entry of the history
   */
  go(change, { step = true } = {}) {
    Object.assign(this.state, change);
    if (this.state.view === "search") this.results.show(); // before the address: an entry of the history takes milliseconds
    write(this.state, step);
    this.show();
  }

  /** Back or forward: take the state from the address. */
  follow() {
    this.state = read();
    this.box.fill();
    this.show();
  }

  show() {
    const { state } = this;
    if (state.view === "search") this.results.show();
    this.frame.dataset.view = state.view;
    document.body.dataset.view = state.view;
    for (const [n, link] of this.links.entries()) link.ariaCurrent = VIEWS[n] === state.view ? "page" : null;
    document.title = state.q && state.view === "search" ? `${state.q} – Sightline` : "Sightline";
    this.box.show();
    this.filters.show();
    if (state.view !== "search") this[state.view].show();
    this.viewer.show();
  }

  /** Take a new status. @param {Status} status */
  update(status) {
    const previous = this.status;
    this.status = status;
    this.first.resolve();
    this.library.update();
    this.results.update(previous);
  }

  /** @param {State["view"]} view */
  visit(view) {
    this.duplicates.clear();
    this.go({ view, open: null });
    this.scroller.scrollTop = 0;
  }

  /** Search for words, in place of what is searched for now. @param {string} q */
  search(q) {
    this.go({ ...empty(), q });
    this.box.fill();
    this.scroller.scrollTop = 0;
  }

  home() {
    this.search("");
    this.box.input.focus();
  }

  /** The hits that have a card in this view, in order. */
  shown() {
    return this.state.view === "duplicates" ? this.duplicates.hits : this.results.grid.shown();
  }

  /** @param {number} chunk */
  hitOf(chunk) {
    return [...this.results.hits, ...this.duplicates.hits].find((hit) => hit.chunk_id === chunk);
  }

  /** The element of the page that has the focus. */
  get focused() {
    return /** @type {HTMLElement | null} */ (this.root.activeElement);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const at = this.focused ?? document.activeElement;
    const typing = at?.matches("input, textarea, select, [contenteditable]") ?? false;
    if (event.defaultPrevented || this.root.querySelector(".sheet-dialog[open], :popover-open")) return;
    if (!typing && !this.viewer.open && this.selection.key(event, at)) return;
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    if (this.viewer.open) {
      if (!typing) this.viewer.key(event);
      return;
    }
    if (event.key === "?" && !typing) this.help.open();
    else if (event.key === "/" && !typing && this.state.view === "search") {
      event.preventDefault();
      this.box.input.focus();
      this.box.input.select();
    } else if (event.key.startsWith("Arrow") && !typing) this.results.grid.walk(event);
  }

  /** Show a notice for some seconds. @param {string} sentence @param {"said" | "wrong"} [how] */
  say(sentence, how = "said") {
    const notice = h("p", { class: `notice ${how}` }, sentence);
    const cover = [...this.root.querySelectorAll("dialog[open]")].pop(); // it covers everything else
    (cover?.querySelector(".notices") ?? this.notices).replaceChildren(notice);
    setTimeout(() => notice.remove(), how === "wrong" ? 9000 : 4500);
  }

  /** Run requests; if one fails, show its error. @param {() => Promise<void>} act */
  async attempt(act) {
    try {
      await act();
    } catch (error) {
      this.sorry(error);
    }
  }

  /** Show the error of a request. @param {unknown} error */
  sorry(error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    if (error instanceof Away) this.progress.away();
    else this.say(error instanceof Error ? error.message : String(error), "wrong");
  }
}

paint();
const place = document.getElementById("sightline");
const page = place && new Page(place);

/** Move the page into the element that Gradio made for it, with focus and playing videos. @param {HTMLElement} room */
export function adopt(room) {
  if (!page || room.contains(page.host)) return;
  paint();
  page.main.removeAttribute("role"); // Gradio has a <main> of its own around the page
  const { focused } = page;
  const top = page.scroller.scrollTop;
  const put = /** @type {any} */ (room).moveBefore ?? room.append; // moveBefore lets videos play on
  put.call(room, ...(put === room.append ? [page.host] : [page.host, null]));
  page.scroller.scrollTop = top;
  focused?.focus({ preventScroll: true });
}
