// The row of filters: kind, folder, date, length, label, each with the counts of the answer, and the order. Built
// around buttons and menus (popovers) that are redrawn in place, so that an answer that arrives during a click
// does not disturb it. Knows only the facets of the answer.

import { around, h, icon, morph, unseen } from "./dom.js";
import { count, nearFolder } from "./format.js";
import { asks, filtered, typedFilter, unfiltered, written } from "./state.js";

const LENGTHS = /** @type {const} */ ([
  ["short", "under a minute", "", "60"],
  ["medium", "1 to 10 minutes", "60", "600"],
  ["long", "over 10 minutes", "600", ""],
]);

const FOLDS = /** @type {const} */ ([
  ["max", "Best part of each file"],
  ["centroid", "Each file as a whole"],
]);

export class Filters {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Facets} */
    this.facets = {};
    /** The action of each button, by its data-key. @type {Map<string, () => void>} */
    this.acts = new Map();
    this.element = h("div.filters", {
      role: "group",
      "aria-label": "Filters",
      onclick: (event) => {
        const key = around(event, "button")?.dataset.key ?? "";
        this.acts.get(key)?.();
        if (["Place", "Camera"].includes(key)) this.page.box.suggest.ask().then(() => this.show());
      },
      onchange: (event) => {
        const field = /** @type {HTMLInputElement} */ (event.target);
        this.set({ [field.name]: field.value });
      },
    });
  }

  /** Take the counts of a new answer. @param {Facets} facets */
  update(facets) {
    this.facets = facets;
    this.show();
  }

  show() {
    const { state, status } = this.page;
    const focusKey = this.page.focused?.dataset.key;
    this.acts.clear();
    const kinds = /** @type {const} */ (["image", "video", "pdf"]).map((kind) => this.kind(kind));
    this.element.hidden = !asks(state) && !filtered(state) && !(status && status.files > 1);
    const typed = [this.typed("Place", "near", "place"), this.typed("Camera", "camera", "camera")];
    const menus = [this.folders(), this.dates(), ...typed, this.lengths(), this.labels(), this.folds()];
    morph(this.element, h("div", kinds, menus, this.buttons()));
    const focus = focusKey && this.element.querySelector(`[data-key="${CSS.escape(focusKey)}"]`);
    if (focus && focus !== this.page.focused) focus.focus();
  }

  /** @param {string} key @param {Record<string, any>} props @param {Act} act @param {Child[]} children */
  button(key, props, act, children) {
    this.acts.set(key, act);
    return h("button", { "data-key": key, ...props }, children);
  }

  /** @param {Partial<State>} change */
  set(change) {
    this.page.go({ ...change, open: null });
    if (change.q !== undefined) this.page.box.fill();
  }

  /** @param {"image" | "video" | "pdf"} kind */
  kind(kind) {
    const { kinds } = this.page.state;
    const on = kinds.includes(kind);
    const n = this.facets.kind?.[kind];
    const name = { image: "Images", video: "Videos", pdf: "PDFs" }[kind];
    const act = () => this.set({ kinds: on ? kinds.filter((k) => k !== kind) : [...kinds, kind] });
    return this.button(kind, { class: "filter", "aria-pressed": on }, act, [icon(kind), name, number(n)]);
  }

  /**
   * A menu with at most one current choice.
   * @param {string} name
   * @param {Picture} picture
   * @param {FilterChoice[]} choices
   * @param {string} [current] the label of the current choice, or nothing
   * @param {HTMLElement[]} [more]
   */
  menu(name, picture, choices, current = choices.find(({ on }) => on)?.label ?? "", more = []) {
    const choose = (/** @type {Partial<State>} */ change) => () => {
      this.element.querySelector(":popover-open")?.hidePopover();
      this.set(change);
    };
    const id = `menu-${name}`;
    return h("div", { class: current ? "menu chosen" : "menu", "data-key": id }, [
      h("button.filter", { "data-key": name, popovertarget: id }, icon(picture), h("bdi", current || name)),
      h("div.sheet", { id, popover: "auto" }, [
        choices.map(({ label, n, on, title, change }) => {
          const props = { "aria-pressed": on, title };
          return this.button(`${name} ${title || label}`, props, choose(change), [h("bdi", label), number(n)]);
        }),
        more,
      ]),
    ]);
  }

  folders() {
    const { under } = this.page.state;
    const folders = Object.entries(this.facets.folder ?? {}).slice(0, 30);
    if (!folders.length && !under) return null;
    /** @type {FilterChoice[]} */
    const choices = folders.map(([path, n]) => {
      return { label: nearFolder(`${path}/x`), title: path, n, on: path === under, change: { under: path } };
    });
    if (under) choices.unshift({ label: "All folders", title: "", on: false, change: { under: "" } });
    return this.menu("Folder", "folder", choices, under && nearFolder(`${under}/x`));
  }

  dates() {
    const { after, before } = this.page.state;
    const counts = Object.entries(this.facets.year ?? {}).sort();
    const years = counts.filter(([year]) => /^\d{4}$/.test(year)).reverse();
    if (!years.length && !after && !before) return null;
    const whole = (/** @type {string} */ year) => ({ after: `${year}-01-01`, before: `${Number(year) + 1}-01-01` });
    const choices = years.map(([year, n]) => {
      const span = whole(year);
      const on = after === span.after && before === span.before;
      return { label: year, n, on, change: on ? { after: "", before: "" } : span };
    });
    const on = choices.find((choice) => choice.on);
    const current = on?.label ?? (after || before ? `${after || "…"} – ${before || "…"}` : "");
    const field = (/** @type {"after" | "before"} */ name, /** @type {string} */ label) =>
      h("label.date", label, h("input", { type: "date", name, value: this.page.state[name] }));
    return this.menu("Date", "date", choices, current, [field("after", "From"), field("before", "Before")]);
  }

  lengths() {
    const { min_s, max_s, kinds } = this.page.state;
    if (kinds.length && !kinds.includes("video")) return null;
    if (!this.facets.kind?.video && !min_s && !max_s) return null;
    const counts = this.facets.length ?? {};
    const choices = LENGTHS.map(([key, label, low, high]) => {
      const on = min_s === low && max_s === high;
      return { label, n: counts[key], on, change: on ? { min_s: "", max_s: "" } : { min_s: low, max_s: high } };
    });
    return this.menu("Length", "length", choices);
  }

  /**
   * A menu of a filter that is a part of the words; its values are asked for when it is opened.
   * @param {string} name
   * @param {"near" | "camera"} filter
   * @param {"place" | "camera"} picture
   */
  typed(name, filter, picture) {
    const { value: current, rest } = typedFilter(this.page.state.q, filter);
    const values = this.page.box.suggest.values[filter];
    /** @type {FilterChoice[]} */
    const choices = (values ?? []).slice(0, 30).map(([label, n]) => {
      const on = label === current;
      return { label, n, on, change: { q: on ? rest : `${rest} ${written(filter, label)}`.trim() } };
    });
    if (current && !choices.some((one) => one.on))
      choices.unshift({ label: `Any ${picture}`, on: false, change: { q: rest } });
    const none = values && !choices.length ? [h("p.quiet", `No file says its ${picture}.`)] : [];
    return this.menu(name, picture, choices, current, none);
  }

  /** The labels of the library; a hit has all chosen ones. */
  labels() {
    const { labels } = this.page.state;
    const counts = { ...Object.fromEntries(labels.map((label) => [label, undefined])), ...this.facets.label };
    const choices = Object.entries(counts).map(([label, n]) => {
      const on = labels.includes(label);
      return { label, n, on, change: { labels: on ? labels.filter((other) => other !== label) : [...labels, label] } };
    });
    return choices.length ? this.menu("Label", "label", choices, labels.join(", ")) : null;
  }

  /** Whether a file is one result, and scored by what. */
  folds() {
    const { state } = this.page;
    /** @type {FilterChoice[]} */
    const choices = FOLDS.map(([fold, label]) => {
      const on = state.fold === fold;
      return { label, on, change: { fold: on ? "" : fold } };
    });
    return asks(state) && this.menu("One per file", "pile", choices);
  }

  /** After the menus. */
  buttons() {
    const { page } = this;
    const { state, box } = page;
    const { file_id, sort, map } = state;
    const asking = asks(state);
    const next = sort === "date" ? "relevance" : "date";
    /** @param {string} key @param {Picture} picture @param {Child[]} words @param {Props} props */
    const one = (key, picture, words, { act, ...props }) =>
      this.button(key, { class: "filter", ...props }, act, [icon(picture), ...words]);
    const inside = { "aria-pressed": true, title: "Search everywhere again", act: () => this.set({ file_id: "" }) };
    const order = { class: "filter order", title: `Sort by ${next}`, act: () => this.set({ sort: next }) };
    const mapped = { "aria-pressed": map, title: "Where the results were taken", act: () => page.go({ map: !map }) };
    const saves = (asking || filtered(state)) && !state.parts.some((part) => part.file);
    return [
      file_id && one("inside", "inside", ["in ", h("bdi", page.results.nameOf(+file_id)), icon("close")], inside),
      one("map", "globe", ["Map"], mapped),
      saves &&
        one("save", "saved", ["Save"], {
          title: "Save this search",
          act: () => box.suggest.sheet.open(state.q.slice(0, 100)),
        }),
      asking &&
        one(
          "order",
          "sort",
          [`${sort === "date" ? "Newest" : "Best"} first`, unseen(`, sort by ${next} instead`)],
          order,
        ),
      filtered(state) &&
        this.button("reset", { class: "plain reset" }, () => this.set(unfiltered()), ["Clear filters"]),
    ];
  }
}

/** The number of hits of a choice, if it is known. @param {number | undefined} n */
function number(n) {
  return n === undefined ? null : h("span.n", count(n));
}
