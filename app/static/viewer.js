// The viewer: one hit in a dialog, drawn by viewer-image, viewer-video or viewer-pdf, with steps through the results,
// similar hits, the search inside the file, and copies.

import { api } from "./api.js";
import { button, h, icon, iconButton, takeOver } from "./dom.js";
import { folder, momentTaken, place, said } from "./format.js";
import { InfoPanel } from "./info.js";
import { showImage } from "./viewer-image.js";
import { showPage } from "./viewer-pdf.js";
import { showVideo } from "./viewer-video.js";

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
    this.title = h("h2.title", { id: "viewer-title", tabindex: "-1", autofocus: true });
    this.about = h("p.about");
    this.note = h("p.note", { hidden: true });
    this.heart = iconButton("heart", "Favourite", () => this.favourite(), { class: "plain heart-button" });
    this.back = iconButton("left", "Previous result", () => this.step(-1));
    this.next = iconButton("right", "Next result", () => this.step(1));
    this.actions = h("div.actions", { role: "toolbar", "aria-label": "What to do with it" });
    const how = { class: "", title: "Slideshow (s)" };
    this.slideshow = button([icon("play"), "Slideshow"], () => this.slide(!this.slides), how);
    /** Whether the results are shown one after the other, and until when this one is. */
    this.slides = false;
    this.timer = 0;
    this.room = h("div.stage");
    this.info = new InfoPanel(page);
    this.foot = h("div.foot");
    const oncancel = takeOver(() => this.close());
    this.element = h("dialog.viewer", { "aria-labelledby": "viewer-title", oncancel }, [
      h("div.bar", [
        h("div.names", this.title, this.about, this.note),
        this.heart,
        this.back,
        this.next,
        iconButton("close", "Close", () => this.close()),
      ]),
      this.room,
      this.info.element,
      this.foot,
      this.actions,
      h("div.notices", { role: "status" }),
    ]);
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
      this.page.results.grid.list.querySelector(`[data-chunk="${last}"] a.open`)?.focus();
      return;
    }
    if (this.hit?.chunk_id === wanted && this.element.open) return;
    this.load(wanted);
  }

  /** @param {number} id */
  async load(id) {
    try {
      const hit = this.page.hitOf(id) ?? (await api.chunk(id));
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
    this.title.replaceChildren(h("bdi", hit.title));
    this.about.replaceChildren(...facts.filter(Boolean).flatMap((fact, n) => [n ? " · " : "", h("bdi", fact)]));
    this.note.textContent = hit.note ?? "";
    this.note.hidden = !hit.note;
    const show = paged(hit) ? showPage : hit.kind === "video" ? showVideo : showImage;
    this.stage = show(this.page, hit);
    this.room.replaceChildren(this.stage.element);
    this.foot.replaceChildren(...(this.stage.foot ? [this.stage.foot] : []));
    this.actions.replaceChildren(...this.tools(hit).filter((tool) => tool instanceof Node));
    this.refreshed();
    this.showFavourite();
    this.info.show(hit);
    this.slide(this.slides);
    if (!this.element.open) this.element.showModal();
    document.documentElement.classList.add("viewing");
  }

  /** What can be done with a hit, as buttons and links. @param {Hit} hit */
  tools(hit) {
    const { page } = this;
    const { file_id, chunk_id, start_s, inside_page } = hit;
    const file = `/media/${file_id}`;
    /** @param {Picture} picture @param {string} words @param {Act} act @param {string} [title] */
    const deed = (picture, words, act, title) => button([icon(picture), words], act, { class: "", title });
    /** @param {Picture} picture @param {string} words @param {Props} props */
    const link = (picture, words, props) => h("a", props, icon(picture), words);
    const inside = () => {
      page.go({ open: null, file_id: String(file_id), kinds: [], view: "search" });
      page.box.input.focus();
    };
    const reveal = () => page.attempt(() => api.reveal(file_id));
    const n = hit.page ?? 1;
    const href = inside_page ? `/inside/${file_id}/${n}.pdf#page=${inside_page}` : `${file}#page=${n}`;
    const span = start_s === null ? "" : `start=${start_s}&end=${hit.end_s ?? start_s + 30}&`;
    const clip = (/** @type {string} */ words, /** @type {string} */ title, /** @type {string} */ query) =>
      link("cut", words, { href: `/clip/${chunk_id}.mp4?${query}`, download: "", title });
    return [
      this.info.button,
      deed("similar", "Find similar", () => page.results.similar(chunk_id)),
      (hit.kind === "video" || paged(hit)) && deed("inside", "Search inside", inside),
      deed("copy", "Copy path", () => page.selection.copy([hit.path]), hit.path),
      page.status?.reveals && deed("folder", "Show in folder", reveal),
      link("download", "Download", { href: `${file}?download=1`, download: "" }),
      deed("pile", "Add to album", () => page.albums.choose([file_id])),
      this.slideshow,
      hit.kind === "pdf" && link("open", "Open file", { href, target: "_blank", rel: "noopener" }),
      ...(hit.kind === "video"
        ? [
            clip("Export clip", "Copied as it is, from the keyframe before the moment", span),
            clip("Exact clip", "Encoded again, so that it begins at the second", `${span}exact=1`),
          ]
        : []),
    ];
  }

  favourite() {
    if (this.hit) this.page.albums.favourite([this.hit], !this.hit.favourite);
  }

  showFavourite() {
    const on = Boolean(this.hit?.favourite);
    this.heart.ariaPressed = `${on}`;
    this.heart.title = on ? "Remove from the favourites (f)" : "Add to the favourites (f)";
  }

  refreshed() {
    if (!this.hit) return;
    const { shown, at } = this.where();
    this.back.disabled = at <= 0;
    this.next.disabled = at < 0 || at >= shown.length - 1;
  }

  where() {
    const shown = this.page.shown();
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
    this.slideshow.ariaPressed = `${on}`;
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
