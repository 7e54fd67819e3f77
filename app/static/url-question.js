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
    this.element.replaceChildren(
      h("p", { role: "status" }, "Fetch what is at ", h("bdi", host), "? Sightline then connects to it."),
      button("Search with it", () => this.fetch((signal) => this.search(signal)), { class: "main" }),
      button("Keep it", () => this.fetch((signal) => this.keep(signal))),
      button("Search for the words", () => this.box.submit(true, false)),
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

  /** @param {(signal: AbortSignal) => Promise<void>} act */
  async fetch(act) {
    const flight = new AbortController();
    this.flight = flight;
    this.element.replaceChildren(
      h("p", { role: "status" }, "Fetching …"),
      button("Cancel", () => this.hide()),
    );
    await this.box.page.attempt(() => act(flight.signal));
    if (this.flight === flight) this.hide();
  }

  /** @param {AbortSignal} signal */
  async search(signal) {
    const file = await api.fetchFile(this.address, signal);
    this.box.input.value = "";
    this.box.add([file]);
  }

  /** @param {AbortSignal} signal */
  async keep(signal) {
    const { name } = await api.keepAddress(this.address, signal);
    this.box.empty();
    this.box.page.say(`Kept as ${name}; it appears when it is read.`);
  }
}
