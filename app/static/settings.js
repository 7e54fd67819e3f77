// The settings: choices of the library, each drawn as the server describes it, the theme of this browser, and the models.
// It knows nothing of what a choice does.

import { api } from "./api.js";
import { button, h } from "./dom.js";

const THEME = "sightline-theme";

/** Take the theme of this browser, for Gradio too; "" is that of the system. */
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
    return this.page.attempt(async () => {
      const { settings } = await api.settings();
      this.choices.replaceChildren(...settings.map((choice) => this.choice(choice)));
    });
  }

  /** @param {Choice} choice */
  choice({ name, title, about, value: stored, options }) {
    const value = name === "theme" ? (localStorage.getItem(THEME) ?? "") : stored;
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

  /** @param {string} name @param {string} value */
  choose(name, value) {
    const { page } = this;
    return page.attempt(async () => {
      if (name === "theme") {
        localStorage.setItem(THEME, value);
        return paint();
      }
      await api.choose(name, value).finally(async () => {
        await this.show(); // a refused choice goes back, but not what was written
        const field = this.choices.querySelector(`#choice-${name}`);
        if (field instanceof HTMLTextAreaElement) field.value = value;
        field?.focus();
      });
      page.say("It holds from now on.");
      page.results.query = "";
    });
  }
}
