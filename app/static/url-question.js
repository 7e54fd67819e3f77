// The question about an address in the search box: fetch what is there and search with it, keep it in the library, or
// search for the words? Nothing is fetched before a button is pressed. It is asked of the owner alone, where Sightline
// was started with --web (`status.web`).

import { api } from "./api.js";
import { button, h } from "./dom.js";

/** The host of an address of the web; empty for any other text. @param {string} text */
function hostOf(text) {
  return /^https?:\/\/\S+$/i.test(text) && URL.canParse(text) ? new URL(text).host : "";
}

export class UrlQuestion {
  /** @param {SearchBox} box */
  constructor(box) {
    this.box = box;
    /** @type {AbortController | null} */
    this.flight = null;
    this.address = "";
    this.element = h("div.address", { role: "group", "aria-label": "Fetch an address", hidden: true });
  }

  /** Ask about the text in the search box. Returns whether it is an address that may be fetched. @param {string} text */
  ask(text) {
    if (this.flight) return true;
    const host = this.box.page.status?.web ? hostOf(text) : "";
    this.element.hidden = !host;
    if (!host || text === this.address) return Boolean(host);
    this.address = text;
    const { box } = this;
    const search = this.fetching(async (signal) => {
      const file = await api.fetchFile(text, signal);
      box.input.value = "";
      box.add([file]);
    });
    const keep = this.fetching(async (signal) => {
      const { name } = await api.keepAddress(text, signal);
      box.empty();
      box.page.say(`Kept as ${name}; it appears when it is read.`);
    });
    this.element.replaceChildren(
      h("p", { role: "status" }, "Fetch what is at ", h("bdi", host), "? Sightline then connects to it."),
      button("Search with it", search, { class: "main" }),
      button("Keep it", keep),
      button("Search for the words", () => box.submit(true, false)),
    );
    return true;
  }

  focus() {
    this.element.querySelector("button")?.focus();
  }

  hide() {
    this.flight?.abort();
    this.flight = null;
    this.address = "";
    this.element.hidden = true;
  }

  /** What a button does: fetch, until it is done or cancelled. @param {(signal: AbortSignal) => Promise<void>} act */
  fetching(act) {
    return async () => {
      const flight = (this.flight = new AbortController());
      this.element.replaceChildren(
        h("p", { role: "status" }, "Fetching …"),
        button("Cancel", () => this.hide()),
      );
      await this.box.page.attempt(() => act(flight.signal));
      if (this.flight === flight) this.hide();
    };
  }
}
