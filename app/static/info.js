// The info panel of the viewer: what is known of the file, and why it is a hit, in plain words. Asked of the server when the
// panel is open, for this one hit. It knows nothing of how a hit is shown.

import { api } from "./api.js";
import { STRENGTHS, strength, strengthDots } from "./card.js";
import { button, h, icon } from "./dom.js";
import { bytes, clock, fileName, folder, marked, momentTaken, place } from "./format.js";
import { asks, written } from "./state.js";

const REMEMBERED = "sightline-info";

const DOTS = [
  "It stays below the line at which a result counts as an answer.",
  "One dot: above the line, with less than half the score of the best result.",
  "Two dots: more than half the score of the best result.",
  "Three dots: nearly as good as the best result.",
];

export class InfoPanel {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Hit | null} */
    this.hit = null;
    this.content = h("div.info-content");
    const heading = h("h3", { id: "info-title" }, "About this");
    const props = { class: "info", "aria-labelledby": "info-title", hidden: true, tabindex: "-1" };
    this.element = h("aside", props, heading, this.content);
    const how = { class: "", "aria-pressed": false, title: "Info (i)" };
    this.button = button([icon("info"), "Info"], () => this.toggle(), how);
    this.opened = localStorage.getItem(REMEMBERED) === "1";
  }

  toggle() {
    this.opened = !this.opened;
    localStorage.setItem(REMEMBERED, this.opened ? "1" : "0");
    this.draw();
    if (this.opened) this.element.focus({ preventScroll: true });
  }

  /** @param {Hit | null} hit */
  show(hit) {
    this.hit = hit;
    this.draw();
  }

  async draw() {
    const { hit, page } = this;
    this.element.hidden = !hit || !this.opened;
    this.button.ariaPressed = `${this.opened}`;
    this.content.replaceChildren();
    if (!hit || !this.opened) return;
    this.content.replaceChildren(h("p.quiet", { role: "status" }, "Looking it up …"));
    const asked = asks(page.state) && page.results.hits.includes(hit);
    await page.attempt(async () => {
      const [info, why] = await Promise.all([api.info(hit.chunk_id), asked ? api.why(page.state, hit.chunk_id) : null]);
      if (this.hit === hit) this.content.replaceChildren(why ? this.reasons(hit, why) : "", this.facts(hit, info));
    });
  }

  /** Why it matched. @param {Hit} hit @param {Why} why */
  reasons(hit, why) {
    const { results, state } = this.page;
    const level = strength(hit, results.best);
    const files = state.parts.some((part) => part.file);
    const dots = strengthDots(level, { "aria-hidden": "true" });
    return h("section.why", [
      h("h4", "Why it matched"),
      h("ul", [
        why.sentences.map((sentence) => h("li", marked(sentence))),
        files && h("li", "It was compared with the file in the search box."),
        h("li.dots", dots, `${STRENGTHS[level][0].toUpperCase()}${STRENGTHS[level].slice(1)}. ${DOTS[level]}`),
      ]),
      h("p.quiet", "Compared by the model ", h("bdi", why.model.split(/[:@]/)[0]), "."),
    ]);
  }

  /** @param {Hit} hit @param {Info} info */
  facts(hit, info) {
    const { page } = this;
    const near = () => page.search(`near:${info.lat?.toFixed(4)},${info.lon?.toFixed(4)}`);
    const position = info.lat === null ? "" : `${info.lat.toFixed(5)}, ${info.lon?.toFixed(5)}`;
    const size = [info.width && `${info.width} × ${info.height}`, bytes(info.size)].filter(Boolean).join(" · ");
    const { codecs } = info;
    const format = codecs
      ? [codecs.video, codecs.fps && `${codecs.fps} frames a second`, codecs.audio, codecs.container]
      : [fileName(info.path).split(".").pop()?.toUpperCase()];
    const links = (/** @type {string} */ filter, /** @type {string[]} */ names) =>
      names.flatMap((name, n) => [
        n ? ", " : "",
        button(name, () => page.search(written(filter, name)), { class: "link" }),
      ]);
    /** @type {[string, Child | Child[]][]} */
    const rows = [
      ["Taken", momentTaken(info)],
      ["Camera", links("camera", info.camera ? [info.camera] : [])],
      ["People", links("person", info.people)],
      ["Place", position && [info.place ?? "", " ", button(position, near, { class: "link", title: "Search nearby" })]],
      ["Size", size],
      ["Format", format.filter(Boolean).join(" · ")],
      ["Length", info.duration_s ? clock(info.duration_s) : ""],
      ["Part", place(hit)],
      ["Folder", h("bdi", folder(info.path))],
      ["Also at", info.also_at.map((path) => h("div", h("bdi", path)))],
      ["Albums", links("album", info.albums)],
      ["Note", info.note],
    ];
    const texts = /** @type {const} */ ([
      ["Caption", info.caption],
      [TEXTS[info.text_is], info.text_is === "caption" && info.text === info.caption ? "" : info.text],
    ]);
    const shown = rows.filter(([, value]) => (Array.isArray(value) ? value.length : value));
    return h("section", [
      h("h4", "The file"),
      h(
        "dl",
        shown.map(([name, value]) => h("div", h("dt", name), h("dd", value))),
      ),
      ...texts
        .filter(([, text]) => text)
        .map(([name, text]) => h("section", h("h4", name), h("p.read", { dir: "auto" }, text))),
      hit.kind === "video" && info.heard !== "none" && info.heard !== "pending" && this.transcriptLink(),
    ]);
  }

  transcriptLink() {
    const unfold = () => {
      const toggle = this.page.viewer.element.querySelector(".transcript h3 button");
      if (toggle?.closest(".folded")) toggle.click();
      toggle?.focus();
    };
    return button("Go to the transcript", unfold, { class: "link" });
  }
}

const TEXTS = /** @type {const} */ ({
  caption: "Caption inside the file",
  picture: "Caption and words read in it",
  page: "Text of the page",
  speech: "What is said here",
});
