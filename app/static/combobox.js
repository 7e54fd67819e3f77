// A field with a list of options below it (an ARIA combobox): the search box and the path of a folder. Built around the
// options that are offered last, each with what its choice does. It knows nothing of where they come from.

import { h, takeOver } from "./dom.js";

export class Combobox {
  /** @param {HTMLInputElement} input @param {string} id @param {Props} props of the list */
  constructor(input, id, props) {
    this.input = input;
    /** @type {Offer[]} */
    this.options = [];
    this.at = -1;
    /** Whether options are wanted, though there may be none yet. */
    this.open = false;
    /** Counts what was offered or shut: options that were asked for before are outdated. */
    this.turn = 0;
    this.list = h("ul", { role: "listbox", id, ...props });
    Object.assign(input, { role: "combobox", ariaAutoComplete: "list" });
    input.setAttribute("aria-controls", id);
    input.addEventListener("blur", () => setTimeout(() => this.shut(), 150));
    this.shut();
  }

  /** @param {Offer[]} options */
  offer(options) {
    this.turn += 1;
    this.open = true;
    this.options = options;
    const items = options.map(({ children }, n) => {
      const onpointerdown = takeOver(() => this.take(n)); // leaves the focus in the field
      return h("li", { role: "option", id: `${this.list.id}-${n}`, onpointerdown }, children);
    });
    this.list.replaceChildren(...items);
    this.reveal(items.length > 0);
  }

  shut() {
    this.turn += 1;
    this.open = false;
    this.reveal(false);
  }

  /** @param {boolean} on */
  reveal(on) {
    this.list.hidden = !on;
    this.input.ariaExpanded = `${on}`;
    this.mark(-1);
  }

  /** @param {number} at */
  mark(at) {
    this.at = at;
    for (const [n, option] of [...this.list.children].entries()) {
      option.ariaSelected = `${n === at}`;
      if (n === at) option.scrollIntoView({ block: "nearest" });
    }
    if (at < 0) this.input.removeAttribute("aria-activedescendant");
    else this.input.setAttribute("aria-activedescendant", `${this.list.id}-${at}`);
  }

  /** @param {number} n */
  take(n) {
    this.shut();
    this.options[n]?.act();
  }

  /** Returns whether the key is used. @param {KeyboardEvent} event @param {string[]} [takes] keys that take an option */
  key(event, takes = ["Enter"]) {
    if (this.list.hidden) return false;
    if (event.key === "ArrowDown" && this.at + 1 < this.options.length) this.mark(this.at + 1);
    else if (event.key === "ArrowUp") this.mark(Math.max(-1, this.at - 1));
    else if (takes.includes(event.key) && this.at >= 0) this.take(this.at);
    else if (event.key === "Escape") this.shut();
    else return false;
    event.preventDefault();
    return true;
  }
}
