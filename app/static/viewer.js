// The viewer: one hit in a dialog, drawn by viewer-image, viewer-video or viewer-pdf, with steps through the results,
// similar hits, the search inside the file, and copies.

import { api } from "./api.js";
import { h, icon, iconButton } from "./dom.js";
import { folder, momentTaken, place, said } from "./format.js";
import { InfoPanel } from "./info.js";
import { showImage } from "./viewer-image.js";
import { showPage } from "./viewer-pdf.js";
import { showVideo } from "./viewer-video.js";

/** @typedef {{element: HTMLElement, foot?: HTMLElement, key?: (event: KeyboardEvent) => boolean, close?: () => void}} Stage */

/** Seconds that the slideshow stays at a picture, and at most at the moment of a film. */
const [SLIDE_S, LONGEST_SLIDE_S] = [5, 30];

/** A PDF, or an image of several pages. @param {Hit} hit */
const paged = (hit) => hit.kind === "pdf" || (hit.kind === "image" && (hit.pages ?? 0) > 1);

export class Viewer {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Hit | null} */
    this.hit = null;
    /** @type {Stage | null} */
    this.stage = null;
    this.title = h("h2", { class: "title", id: "viewer-title", tabindex: "-1", autofocus: true });
    this.about = h("p", { class: "about" });
    this.note = h("p", { class: "note", hidden: true });
    this.heart = iconButton("heart", "Favourite", () => this.favourite(), { class: "plain heart-button" });
    this.back = iconButton("left", "Previous result", () => this.step(-1));
    this.next = iconButton("right", "Next result", () => this.step(1));
    this.actions = h("div", { class: "actions", role: "toolbar", "aria-label": "What to do with it" });
    this.slideshow = h("button", { title: "Slideshow (s)", onclick: () => this.slide(!this.slides) }, [
      icon("play"),
      "Slideshow",
    ]);
    /** Whether the results are shown one after the other, and until when this one is. */
    this.slides = false;
    this.timer = 0;
    this.room = h("div", { class: "stage" });
    this.info = new InfoPanel(page);
    this.foot = h("div", { class: "foot" });
    this.element = h("dialog", { class: "viewer", "aria-labelledby": "viewer-title" }, [
      h("div", { class: "bar" }, [
        h("div", { class: "names" }, this.title, this.about, this.note),
        this.heart,
        this.back,
        this.next,
        iconButton("close", "Close", () => this.close()),
      ]),
      this.room,
      this.info.element,
      this.foot,
      this.actions,
      h("div", { class: "notices", role: "status" }),
    ]);
    this.element.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.close();
    });
    this.element.addEventListener("click", (event) => {
      if (event.target === this.element) this.close();
    });
  }

  get open() {
    return this.page.state.open !== null;
  }

  /** Open, change or close, as the state says. */
  show() {
    const wanted = this.page.state.open;
    if (wanted === null) {
      const last = this.hit?.chunk_id;
      this.slide(false);
      this.clear();
      if (!this.element.open) return;
      this.element.close(); // the browser goes back to the card that was clicked; this goes to the last one seen
      /** @type {HTMLElement | null} */ (
        this.page.results.grid.list.querySelector(`[data-chunk="${last}"] a.open`)
      )?.focus();
      return;
    }
    if (this.hit?.chunk_id === wanted && this.element.open) return;
    this.load(wanted);
  }

  /** @param {number} id */
  async load(id) {
    try {
      const hit = this.page.results.hits.find((one) => one.chunk_id === id) ?? (await api.chunk(id));
      if (this.page.state.open === id) this.present(hit);
    } catch (error) {
      this.page.sorry(error);
      this.page.go({ open: null }, { step: false });
    }
  }

  /** @param {Hit} hit */
  present(hit) {
    this.clear();
    this.hit = hit;
    const size = hit.width && hit.height ? `${hit.width} × ${hit.height}` : "";
    const facts = [place(hit), said(hit), folder(hit.path), momentTaken(hit), size];
    this.title.replaceChildren(h("bdi", {}, hit.title));
    this.about.replaceChildren(...facts.filter(Boolean).flatMap((fact, n) => [n ? " · " : "", h("bdi", {}, fact)]));
    this.note.textContent = hit.note ?? "";
    this.note.hidden = !hit.note;
    const show = paged(hit) ? showPage : hit.kind === "video" ? showVideo : showImage;
    this.stage = show(this.page, hit);
    this.room.replaceChildren(this.stage.element);
    this.foot.replaceChildren(...(this.stage.foot ? [this.stage.foot] : []));
    this.actions.replaceChildren(...this.tools(hit));
    this.refreshed();
    this.showFavourite();
    this.info.show(hit);
    this.slide(this.slides);
    if (!this.element.open) this.element.showModal();
    document.documentElement.classList.add("viewing");
  }

  /** @param {Hit} hit */
  tools(hit) {
    const { page } = this;
    const tools = [
      this.info.button,
      h("button", { onclick: () => page.results.similar(hit.chunk_id) }, icon("similar"), "Find similar"),
      h("button", { onclick: () => page.selection.copy([hit.path]), title: hit.path }, icon("copy"), "Copy path"),
      h("a", { href: `/media/${hit.file_id}?download=1`, download: "" }, icon("download"), "Download"),
      h("button", { onclick: () => page.albums.choose([hit.file_id]) }, icon("pile"), "Add to album"),
      this.slideshow,
    ];
    if (page.status?.reveals) {
      const reveal = () => page.attempt(() => api.reveal(hit.file_id));
      tools.splice(3, 0, h("button", { onclick: reveal }, icon("folder"), "Show in folder"));
    }
    const inside = () => {
      page.go({ open: null, file_id: String(hit.file_id), kinds: [], view: "search" });
      page.box.input.focus();
    };
    if (hit.kind === "video" || paged(hit))
      tools.splice(2, 0, h("button", { onclick: inside }, icon("inside"), "Search inside"));
    if (hit.kind === "pdf") {
      const [n, inside] = [hit.page ?? 1, hit.inside_page];
      const href = inside ? `/inside/${hit.file_id}/${n}.pdf#page=${inside}` : `/media/${hit.file_id}#page=${n}`;
      tools.push(h("a", { href, target: "_blank", rel: "noopener" }, icon("open"), "Open file"));
    }
    if (hit.kind === "video") {
      const end = hit.start_s === null ? null : (hit.end_s ?? hit.start_s + 30);
      const span = end === null ? "" : `start=${hit.start_s}&end=${end}`;
      const clip = (/** @type {string} */ name, /** @type {string} */ title, /** @type {string} */ query) =>
        h("a", { href: `/clip/${hit.chunk_id}.mp4${query && `?${query}`}`, download: "", title }, icon("cut"), name);
      tools.push(
        clip("Export clip", "Copied as it is, from the keyframe before the moment", span),
        clip("Exact clip", "Encoded again, so that it begins at the second", span ? `${span}&exact=1` : "exact=1"),
      );
    }
    return tools;
  }

  favourite() {
    if (this.hit) this.page.albums.favourite([this.hit], !this.hit.favourite);
  }

  showFavourite() {
    const on = Boolean(this.hit?.favourite);
    this.heart.setAttribute("aria-pressed", String(on));
    this.heart.title = on ? "Remove from the favourites (f)" : "Add to the favourites (f)";
  }

  /** The neighbours may have changed. */
  refreshed() {
    if (!this.hit) return;
    const { shown, at } = this.where();
    this.back.disabled = at <= 0;
    this.next.disabled = at < 0 || at >= shown.length - 1;
  }

  where() {
    const shown = this.page.results.grid.shown();
    return { shown, at: shown.findIndex((one) => one.chunk_id === this.hit?.chunk_id) };
  }

  /** @param {number} by */
  step(by) {
    const { shown, at } = this.where();
    const hit = at < 0 ? undefined : shown[at + by];
    if (!hit) return this.slide(false);
    this.page.go({ open: hit.chunk_id }, { step: false });
    if (at + by > shown.length - 6) this.page.results.more();
  }

  /** Begin, go on with or end the slideshow: a picture stays for some seconds, a moment until it is over.
   * @param {boolean} on */
  slide(on) {
    this.slides = on;
    this.slideshow.setAttribute("aria-pressed", String(on));
    clearTimeout(this.timer);
    const { start_s = 0, end_s = null } = this.hit ?? {};
    const seconds = end_s === null ? SLIDE_S : Math.min(LONGEST_SLIDE_S, end_s - (start_s ?? 0));
    if (on) this.timer = window.setTimeout(() => this.step(1), 1000 * seconds);
  }

  close() {
    if (history.state?.opened) history.back();
    else this.page.go({ open: null }, { step: false });
  }

  clear() {
    this.stage?.close?.();
    this.stage = null;
    this.hit = null;
    this.info.show(null);
    this.room.replaceChildren();
    this.foot.replaceChildren();
    document.documentElement.classList.remove("viewing");
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (this.stage?.key?.(event)) event.preventDefault();
    else if (event.key === "ArrowLeft") this.step(-1);
    else if (event.key === "ArrowRight") this.step(1);
    else if (event.key === "f") this.favourite();
    else if (event.key === "i") this.info.toggle();
    else if (event.key === "s") this.slide(!this.slides);
  }
}
