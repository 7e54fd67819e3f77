// The sheet of keys and filters, which `?` opens. It knows the filters from suggest.js.

import { h, sheet } from "./dom.js";
import { FILTERS } from "./suggest.js";

const KEYS = /** @type {const} */ ([
  ["/", "to the search box"],
  ["Enter", "search; open a result"],
  ["↑ ↓ ← →", "from result to result; in the viewer to the next one"],
  ["Esc", "close, clear, back"],
  ["x", "select the result"],
  ["Shift + ← →", "select a range"],
  ["Ctrl + A", "select all results"],
  ["f", "in the viewer: favourite"],
  ["i", "in the viewer: what is known of it, and why it matched"],
  ["s", "in the viewer: slideshow"],
  ["+ − 0", "zoom in, out, all of it"],
  ["Space", "play and pause"],
  ["?", "this sheet"],
]);

const WORDS = /** @type {const} */ ([
  ['"in the snow"', "only what holds these words in this order"],
  ["-cat", "nothing that holds this word"],
]);

export class Help {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    const rows = (/** @type {readonly (readonly [string, string])[]} */ pairs, /** @type {"kbd" | "code"} */ tag) =>
      h("dl", [pairs.map(([name, about]) => h("div", h("dt", h(tag, {}, name)), h("dd", about)))]);
    const examples = FILTERS.map(([, about, example]) => /** @type {const} */ ([example, about]));
    this.element = sheet(
      "help-title",
      "Keys and filters",
      [
        h("div.help-columns", [
          h("section", h("h3", "In the search box"), rows([...WORDS, ...examples], "code")),
          h("section", h("h3", "Keys"), rows(KEYS, "kbd")),
        ]),
      ],
      "help",
    );
  }

  open() {
    this.element.showModal();
  }
}
