// Suggestions under the search box: filters and the values that the library has for them, searches of before, saved
// searches. Built around the word at the cursor. It knows nothing of how a search is made.

import { api } from "./api.js";
import { Combobox } from "./combobox.js";
import { h, icon, nameSheet } from "./dom.js";
import { count } from "./format.js";
import { helpWords } from "./help.js";
import { fields, stateOf, written } from "./state.js";

const RECENT = "sightline-recent";
const [KEPT, SHOWN] = [12, 8];

/** The word before the cursor: a filter with its beginning value, or a bare word. */
const AT_CURSOR = /(?:^|\s)(?:([A-Za-z]+):("?)([^"]*)|([^\s":]+))$/;

export class Suggest {
  /** @param {SearchBox} box */
  constructor(box) {
    this.box = box;
    this.page = box.page;
    /** @type {Record<string, [string, number][]>} */
    this.values = {};
    /** @type {SavedSearch[]} */
    this.saved = [];
    /** @type {HelpWords["filters"]} */
    this.filters = [];
    /** The number of chunks when the values were asked for. */
    this.asked = -1;
    this.combo = new Combobox(box.input, "suggestion", { class: "suggestions", "aria-label": "Suggestions" });
    const about = "It is found under the search box and among the albums, and is run anew each time.";
    this.sheet = nameSheet("save-dialog", "Save this search", "Save", "Name of the search", (name) => this.save(name), [
      h("p.quiet", about),
    ]);
    box.input.addEventListener("focus", () => this.ask());
    box.input.addEventListener("click", () => this.show());
  }

  /** Ask for values and saved searches, if the library has changed since. */
  async ask() {
    const chunks = this.page.status?.chunks ?? 0;
    if (this.asked === chunks) return;
    this.asked = chunks;
    try {
      const [{ filters }, values, { searches }] = await Promise.all([helpWords(), api.vocabulary(), api.searches()]);
      this.filters = filters;
      this.values = values;
      this.saved = searches;
      if (this.combo.open) this.show();
    } catch {
      this.asked = -1; // suggestions are no answer: the search says what is wrong
    }
  }

  show() {
    const { input } = this.box;
    const text = input.value.slice(0, input.selectionStart ?? undefined);
    const suggestions = input.value.trim() ? this.ofWord(text) : this.searches("");
    const options = suggestions.map(({ icon: picture, text, note, wrong, act }) => ({
      act,
      children: [icon(picture), h("bdi", text), note && h("span", { class: wrong ? "note wrong" : "note" }, note)],
    }));
    this.combo.offer(options);
  }

  /** @param {string} text the words up to the cursor @returns {Suggestion[]} */
  ofWord(text) {
    const match = AT_CURSOR.exec(text);
    if (!match) return [];
    const [, filter, , value, word] = match;
    if (filter) return this.valuesOf(filter.toLowerCase(), value);
    const low = word.toLowerCase();
    /** @type {Suggestion[]} */
    const filters = this.filters
      .filter(({ name }) => name.startsWith(low))
      .map(({ name, about }) => ({
        icon: "layers",
        text: `${name}:`,
        note: about,
        act: () => this.complete(`${name}:`),
      }));
    const known =
      low.length < 2 ? [] : this.filters.flatMap(({ name }) => this.valuesOf(name, word, false)).slice(0, 5);
    return [...filters, ...known, ...this.searches(this.box.words())].slice(0, SHOWN);
  }

  /** @param {string} filter @param {string} beginning @param {boolean} [within] whether the value may stand inside @returns {Suggestion[]} */
  valuesOf(filter, beginning, within = true) {
    const low = beginning.trim().toLowerCase();
    const fixed = this.filters.find(({ name }) => name === filter)?.values ?? []; // those that need no library
    /** @type {[string, number][]} */
    const values = this.values[filter] ?? (within ? fixed.map((value) => [value, 0]) : []);
    const fits = (/** @type {string} */ value) => {
      const at = value.toLowerCase().indexOf(low);
      return at === 0 || (within && at > 0);
    };
    return values
      .filter(([value]) => fits(value) && value.toLowerCase() !== low)
      .slice(0, SHOWN)
      .map(([value, n]) => {
        const typed = written(filter, value);
        return { icon: "check", text: typed, note: n ? count(n) : "", act: () => this.complete(`${typed} `, true) };
      });
  }

  /** Saved searches and those of before. @param {string} words @returns {Suggestion[]} */
  searches(words) {
    const low = words.toLowerCase();
    /** @type {Suggestion[]} */
    const saved = this.saved
      .filter(({ name }) => name.toLowerCase().includes(low))
      .map((one) => ({
        icon: "saved",
        text: one.name,
        note: one.error ?? "saved",
        wrong: Boolean(one.error),
        act: () => this.run(one),
      }));
    /** @type {Suggestion[]} */
    const before = recent()
      .filter((q) => q.toLowerCase().startsWith(low) && q.toLowerCase() !== low)
      .map((q) => ({ icon: "length", text: q, act: () => this.page.search(q) }));
    /** @type {Suggestion[]} */
    const forget = [
      { icon: "close", text: "Forget the searches of before", act: () => localStorage.removeItem(RECENT) },
    ];
    return [...saved.slice(0, SHOWN), ...before.slice(0, 6), ...(before.length && !words ? forget : [])];
  }

  /** Run a saved search; one that cannot be run says why. @param {SavedSearch} saved */
  run({ query, error }) {
    this.page.go(stateOf(new URLSearchParams(query)));
    this.box.fill();
    if (error) this.page.say(error, "wrong");
  }

  /** Put a text in place of the word at the cursor. @param {string} text @param {boolean} [search] */
  complete(text, search = false) {
    const { input } = this.box;
    const end = input.selectionStart ?? input.value.length;
    const before = input.value.slice(0, end).replace(AT_CURSOR, (word) => (/^\s/.test(word) ? " " : ""));
    input.value = before + text + input.value.slice(end).replace(/^[^\s]*\s?/, "");
    input.setSelectionRange(before.length + text.length, before.length + text.length);
    if (search) this.box.submit(true, false);
    else this.box.onInput();
  }

  /** Keep the words of a search that was sent. @param {string} q */
  remember(q) {
    if (!q) return;
    const searches = [q, ...recent().filter((other) => other !== q)].slice(0, KEPT);
    localStorage.setItem(RECENT, JSON.stringify(searches));
  }

  /** Save this search under a name. @param {string} name */
  save(name) {
    return this.page.attempt(async () => {
      this.sheet.dialog.close();
      await api.saveSearch(name, fields(this.page.state).toString());
      this.asked = -1;
      this.page.say(`Saved as ${name}.`);
      await this.ask();
    });
  }
}

/** @returns {string[]} */
export function recent() {
  try {
    const searches = JSON.parse(localStorage.getItem(RECENT) ?? "[]");
    return Array.isArray(searches) ? searches.filter((q) => typeof q === "string") : [];
  } catch {
    return [];
  }
}
