// The settings: choices of the library, drawn as the server describes them, this browser's theme, the models.
// It knows nothing of what a choice does.

import { api } from "./api.js";
import { find, h } from "./dom.js";

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
    this.element = h("section.settings", { "aria-label": "Settings" }, [
      h("h2", "Settings"),
      this.choices,
      h("h2", "Model"),
      page.library.models,
    ]);
  }

  show() {
    this.page.library.update();
    const last = (this.last = {});
    return this.page.attempt(async () => {
      const { settings } = await api.settings();
      if (last === this.last) this.choices.replaceChildren(...settings.map((choice) => this.choice(choice)));
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
    const apply = h("button.secondary", { onclick: () => this.choose(name, text.value) }, "Apply");
    return h("div.choice", h("label", { for: id }, title), text, apply, note);
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
        const field = find(this.choices, `#choice-${name}`);
        if (field instanceof HTMLTextAreaElement) field.value = value;
        field?.focus();
      });
      this.page.say("It holds from now on.");
      this.page.results.query = "";
    });
  }
}
