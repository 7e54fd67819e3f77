// The search box: words, and chips for the other parts of the query: files (dropped, pasted or chosen), chunks of the
// library, words to avoid. Below it, the question about an address.

import { UPLOAD_LIMIT } from "./api.js";
import { h, icon, iconButton, on, takeOver } from "./dom.js";
import { bytes } from "./format.js";
import { Suggest } from "./suggest.js";
import { UrlQuestion } from "./url-question.js";

/** Milliseconds between the last key and a search while typing: PAUSE, or the time of the last answer if that is
 * longer. If answers take longer than SLOW, only Enter searches. */
const PAUSE = 220;
const SLOW = 3000;
const MAX_FILES = 8;

export class SearchBox {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.timer = 0;
    /** @type {Map<File, string>} */
    this.pictures = new Map();
    this.input = h("input", {
      type: "search",
      name: "q",
      autocomplete: "off",
      spellcheck: "false",
      dir: "auto",
      enterkeyhint: "search",
      "aria-label": "Search in words",
      placeholder: innerWidth < 480 ? "Describe it" : "Describe it, or drop a photo, a clip, a PDF",
      maxlength: 2000,
      oninput: () => this.onInput(),
      onkeydown: (e) => this.key(e),
    });
    this.chips = h("ul.chips", { "aria-label": "Further parts of the query" });
    this.chooser = h("input", {
      type: "file",
      multiple: true,
      hidden: true,
      onchange: () => {
        this.add([...(this.chooser.files ?? [])]);
        this.chooser.value = "";
      },
    });
    this.clear = iconButton("close", "Clear", () => this.empty(), { title: "Clear (Esc)" });
    const title = "Not like this: avoid these words";
    this.not = iconButton("avoid", "Not like these words", () => this.refuse(), { title });
    const drop = { title: "Search with a file (or drop or paste one)" };
    const choose = iconButton("add", "Search with a file", () => this.choose(), drop);
    const help = iconButton("help", "Keys and filters", () => page.help.open(), { title: "Keys and filters (?)" });
    help.classList.add("wide-only");
    const send = h("button.main", { type: "submit" }, "Search");
    this.suggest = new Suggest(this);
    const { chips, input, not, clear, suggest } = this;
    const field = [icon("search"), chips, input, not, clear, help, choose, send, suggest.combo.list];
    const onsubmit = takeOver(() => this.submit(true));
    this.question = new UrlQuestion(this);
    this.element = h("form.box", { role: "search", action: "/", onsubmit }, [
      h("div.field", field),
      this.question.element,
      this.chooser,
    ]);
    this.curtain = h("div.curtain", { hidden: true }, h("p", "Drop to search for what is like it"));
    this.element.append(this.curtain);
    this.fill();
    this.listen();
  }

  fill() {
    this.input.value = this.page.state.q;
    this.question.hide();
  }

  show() {
    const { parts, avoid } = this.page.state;
    this.chips.replaceChildren(...parts.map((part) => this.chip(part)), ...avoid.map((words) => this.word(words)));
    this.chips.hidden = !parts.length && !avoid.length;
    this.buttons();
  }

  buttons() {
    this.clear.hidden = !this.input.value && this.chips.hidden;
    this.not.hidden = !this.input.value.trim();
  }

  /** @param {Part} part */
  chip(part) {
    const { file, chunk, avoid } = part;
    const name = file ? file.name : "this item";
    const picture = file ? this.picture(file) : h("img", { src: `/thumb/${chunk}.webp`, alt: "" });
    const like = avoid ? "not like " : file ? "" : "like ";
    const title = avoid ? "Look for what is like it" : "Not like this";
    const turn = () => this.set(part, { ...part, avoid: !avoid });
    return this.item(picture, like, name, avoid, title, turn, () => this.remove(part));
  }

  /** @param {string} words */
  word(words) {
    const { page } = this;
    const rest = page.state.avoid.filter((other) => other !== words);
    const remove = () => page.go({ avoid: rest, open: null });
    const seek = () => {
      page.state.q = `${page.state.q} ${words}`.trim();
      this.fill();
      remove();
    };
    return this.item(null, "not ", words, true, "Look for it instead", seek, remove);
  }

  /**
   * A part of the query with a button that turns it round and one that removes it.
   * @param {Node | null} picture @param {string} like @param {string} name @param {boolean} avoid
   * @param {string} title of the first button @param {Act} turn @param {Act} remove
   */
  item(picture, like, name, avoid, title, turn, remove) {
    return h(avoid ? "li.chip.avoid" : "li.chip", [
      picture,
      h("span.name", like, h("bdi", name)),
      iconButton("avoid", `${title}: ${name}`, turn, { "aria-pressed": avoid, title }),
      iconButton("close", `Remove ${name}`, remove, { title: "Remove" }),
    ]);
  }

  /** @param {File} file */
  picture(file) {
    const [kind] = file.type.split("/");
    if (kind !== "image" && kind !== "video") return icon(/\.pdf$/i.test(file.name) ? "pdf" : "image");
    const url = this.pictures.get(file) ?? URL.createObjectURL(file);
    this.pictures.set(file, url);
    if (kind === "video") return h("video", { src: `${url}#t=0.5`, muted: true, preload: "metadata", tabindex: "-1" });
    const picture = h("img", { src: url, alt: "", onerror: () => picture.replaceWith(icon("image")) });
    return picture;
  }

  /** Put parts in place of one. @param {Part} part @param {Part[]} others */
  set(part, ...others) {
    this.page.go({ parts: this.page.state.parts.flatMap((one) => (one === part ? others : one)), open: null });
  }

  /** @param {Part} part */
  remove(part) {
    this.set(part);
    this.input.focus();
  }

  /** Choose files of the kinds that the server names. */
  choose() {
    this.chooser.accept = this.page.status?.accepts ?? "";
    this.chooser.click();
  }

  /** Files as parts of the query. @param {File[]} files */
  add(files) {
    const { page } = this;
    const parts = page.state.parts;
    const present = parts.filter((part) => part.file).length;
    const accepted = files.slice(0, MAX_FILES - present);
    if (accepted.length < files.length) page.say(`A search takes at most ${MAX_FILES} files.`, "wrong");
    const size = [...parts.map((part) => part.file), ...accepted].reduce((sum, file) => sum + (file?.size ?? 0), 0);
    if (size > UPLOAD_LIMIT) {
      const limit = bytes(UPLOAD_LIMIT);
      page.say(`That is ${bytes(size)}; a search takes up to ${limit}. Try a shorter cut of it.`, "wrong");
      return;
    }
    if (!accepted.length) return;
    const all = [...parts, ...accepted.map((file) => ({ file, avoid: false }))];
    page.go({ q: this.words(), open: null, file_id: "", view: "search", parts: all });
  }

  words() {
    return this.input.value.replace(/\s+/g, " ").trim();
  }

  /**
   * @param {boolean} step whether to add an entry to the history
   * @param {boolean} [asks] whether to ask first if the words are an address
   */
  submit(step, asks = true) {
    clearTimeout(this.timer);
    if (asks && this.question.ask(this.words())) {
      this.question.focus();
      return;
    }
    this.question.hide();
    if (step) this.suggest.combo.shut();
    const { results } = this.page;
    const previous = results.query;
    this.page.go({ q: this.words(), open: null, view: "search" }, { step });
    if (!step) return;
    if (results.query === previous) results.searchNow(); // Enter again searches again
    this.suggest.remember(this.words());
  }

  refuse() {
    const words = this.words();
    if (!words) return;
    clearTimeout(this.timer);
    this.input.value = "";
    this.page.go({ q: "", avoid: [...new Set([...this.page.state.avoid, words])], open: null, view: "search" });
    this.input.focus();
  }

  onInput() {
    this.buttons();
    this.suggest.show();
    clearTimeout(this.timer);
    if (this.question.ask(this.words())) return;
    const files = this.page.state.parts.some((part) => part.file);
    if (files || this.page.results.latency > SLOW) return;
    this.timer = window.setTimeout(() => this.submit(false), Math.max(PAUSE, this.page.results.latency));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (this.suggest.combo.key(event)) return;
    if (event.key === "Escape") {
      event.preventDefault();
      if (this.input.value || !this.chips.hidden) this.empty();
      else this.input.blur();
    } else if (event.key === "Backspace" && !this.input.value && this.page.state.parts.length) {
      this.remove(this.page.state.parts.slice(-1)[0]);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      this.page.results.grid.enter();
    }
  }

  empty() {
    this.input.value = "";
    this.question.hide();
    this.page.go({ q: "", avoid: [], parts: [], file_id: "", open: null });
    this.input.focus();
  }

  /** Take files dropped or pasted anywhere. */
  listen() {
    let depth = 0;
    const carries = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
    const enter = (/** @type {number} */ into) => {
      depth = Math.max(0, into);
      this.curtain.hidden = !depth;
    };
    on(window, {
      dragenter: (event) => carries(event) && enter(depth + 1),
      dragleave: (event) => carries(event) && enter(depth - 1),
      dragover: (event) => carries(event) && event.preventDefault(),
      drop: (event) => {
        enter(0);
        if (!carries(event)) return;
        event.preventDefault();
        const items = [...(event.dataTransfer?.items ?? [])];
        const folder = items.some((item) => item.webkitGetAsEntry()?.isDirectory);
        if (folder) this.page.say("Drop files, no folder.", "wrong");
        else this.add([...(event.dataTransfer?.files ?? [])]);
      },
      paste: (event) => {
        const files = [...(event.clipboardData?.files ?? [])];
        const text = event.clipboardData?.getData("text/plain").trim() ?? "";
        const typing = /** @type {Element | undefined} */ (event.composedPath()[0])?.matches?.("input, textarea");
        if (!files.length && (typing || !this.question.ask(text))) return;
        event.preventDefault();
        if (files.length) return this.add(files);
        this.input.value = text;
        this.buttons();
      },
    });
  }
}
