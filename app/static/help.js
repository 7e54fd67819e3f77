// The sheet of keys and filters, which `?` opens. Their words are in help.json, which suggestions show too.

import { request } from "./api.js";
import { h, sheet } from "./dom.js";

/** @type {Promise<HelpWords> | undefined} */
let words;

/** The filters with what they say, what words alone may be, and the keys. */
export function helpWords() {
  words ??= request("/ui/help.json");
  words.catch(() => (words = undefined)); // asked for again the next time
  return words;
}

export class Help {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.columns = h("div.help-columns");
    this.element = sheet("help-title", "Keys and filters", [this.columns], "help");
  }

  open() {
    return this.page.attempt(async () => {
      const { filters, words, keys } = await helpWords();
      const examples = filters.map(({ about, example }) => [example, about]);
      /** @param {string} title @param {string[][]} pairs @param {"kbd" | "code"} tag */
      const column = (title, pairs, tag) => {
        const rows = pairs.map(([name, about]) => h("div", h("dt", h(tag, name)), h("dd", about)));
        return h("section", h("h3", title), h("dl", rows));
      };
      const typed = column("In the search box", [...words, ...examples], "code");
      this.columns.replaceChildren(typed, column("Keys", keys, "kbd"));
      if (!this.element.open) this.element.showModal();
    });
  }
}
