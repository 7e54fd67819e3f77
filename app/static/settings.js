// The settings: choices of the library, drawn as the server describes them, this browser's theme, the rules of the
// folders, the models. It knows nothing of what a choice does.

import { api } from "./api.js";
import { button, h } from "./dom.js";
import { count, counted } from "./format.js";

const THEME = "sightline-theme";

/** Take the theme of this browser, for Gradio too; "": the system's. */
export function paint() {
  const theme = (document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? "");
  if (theme) document.body.classList.toggle("dark", theme === "dark");
}

export class Settings {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.choices = h("div.settings-list", h("p.quiet", "Settings are being loaded …"));
    this.folders = h("div.settings-list");
    /** The rules that are drawn. */
    this.described = "";
    this.element = h("section.settings", { "aria-label": "Settings" }, [
      h("h2", "Settings"),
      this.choices,
      this.folders,
      h("h2", "Model"),
      page.library.models,
    ]);
  }

  show() {
    this.page.library.update();
    const last = (this.last = {});
    return this.page.attempt(async () => {
      const { settings, rules } = await api.settings();
      if (last !== this.last) return;
      this.choices.replaceChildren(...settings.map((choice) => this.choice(choice)));
      const described = JSON.stringify(rules);
      if (described === this.described) return; // what is being written stays
      this.described = described;
      const folders = rules?.folders.map((folder) => this.folder(folder)) ?? [];
      const head = folders.length ? [h("h2", rules?.title), h("p.quiet", rules?.about)] : [];
      this.folders.replaceChildren(...head, ...folders);
    });
  }

  /** @param {Choice} choice */
  choice({ name, title, about, value, options }) {
    if (name === "theme") value = localStorage.getItem(THEME) ?? "";
    const id = `choice-${name}`;
    const props = { id, "aria-describedby": `${id}-about` };
    const note = h("p.quiet", { id: `${id}-about` }, about);
    if (options.length) {
      const select = h("select", { ...props, onchange: () => this.choose(name, select.value) });
      select.append(...options.map(([key, words]) => h("option", { value: key, selected: key === value }, words)));
      return h("div.choice", h("label", { for: id }, title), select, note);
    }
    const text = h("textarea", { ...props, rows: 4, spellcheck: "false" }, value);
    const apply = button("Apply", () => this.choose(name, text.value));
    return h("div.choice", h("label", { for: id }, title), text, apply, note);
  }

  /** The rules of a folder; how many files they concern is told before they hold. @param {FolderRules} folder */
  folder({ path, rules, in_file }) {
    const { page } = this;
    const oninput = () => tell("", false);
    const text = h("textarea", { id: `rules-${path}`, rows: 3, spellcheck: "false", oninput }, rules);
    const news = h("p", { role: "status" });
    const tell = (/** @type {string} */ words, /** @type {boolean} */ sure) => {
      news.textContent = words;
      apply.textContent = sure ? "Yes, apply" : "Apply";
    };
    const act = () =>
      page.attempt(async () => {
        const [sure, asked] = [news.textContent !== "", text.value];
        const { left_out, taken_in, at_least } = await api.changeRules(path, asked, !sure);
        if (asked !== text.value) return;
        const words = `${at_least ? "At least " : ""}${counted(left_out, "file")} left out, ${count(taken_in)} taken in`;
        tell(sure ? "" : `${words}.`, !sure);
        if (!sure) return;
        page.say(`It holds from now on: ${words}.`);
        page.results.query = "";
        page.progress.ask();
      });
    const apply = button("Apply", act);
    const own = in_file && h("p.quiet", "And those of its .sightlineignore: ", h("code", in_file));
    return h("div.choice", h("label", { for: text.id }, h("bdi", path)), text, apply, news, own);
  }

  /** @param {string} name @param {string} value */
  choose(name, value) {
    return this.page.attempt(async () => {
      if (name === "theme") {
        localStorage.setItem(THEME, value);
        return paint();
      }
      await api.choose(name, value).finally(async () => {
        await this.show(); // a refused choice goes back, its text stays
        const field = this.choices.querySelector(`#choice-${name}`);
        if (field instanceof HTMLTextAreaElement) field.value = value;
        field?.focus();
      });
      this.page.say("It holds from now on.");
      this.page.results.query = "";
    });
  }
}
