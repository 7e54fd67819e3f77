// The selection: results picked by mouse (the circle on a card, shift for a range), keyboard (x, shift with an arrow, Ctrl+A)
// or touch (a long press), and the bar of what can be done with them. Built around a map of hits by chunk; the cards only
// show it. It knows nothing of how hits are found.

import { api } from "./api.js";
import { around, h, icon, iconButton, nameSheet, on } from "./dom.js";
import { count, counted, fileName } from "./format.js";

/** The most files of one selection, as of one ZIP (app/web/archive.py). */
const MOST = 5000;
/** Hits asked for at once by "Select all". */
const STEP = 200;
/** Milliseconds of a long press, and the pixels that the finger may move meanwhile. */
const [PRESS, SLIP] = [450, 10];

export class Selection {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Map<number, Hit>} */
    this.picked = new Map();
    /** The chunk from which a range goes. @type {number | null} */
    this.anchor = null;
    /** Whether the next click is the end of a long press. */
    this.pressed = false;
    this.downloads = 0;
    this.count = h("strong", { role: "status" });
    this.favourite = this.button("heart", "Favourites", "Favourites", () => this.toggleFavourite());
    this.leave = this.button("remove", "Remove", "Remove from this album", () => this.removeFromAlbum());
    this.everything = this.button("check", "All", "Select all results", () => this.all());
    this.reveal = this.button("folder", "Folder", "Show in its folder", () =>
      page.attempt(() => api.reveal(this.files()[0])),
    );
    this.labelling = nameSheet("label-dialog", "Give a label", "Give it", "Name of the label", (name) =>
      this.label(name),
    );
    this.element = h("div.selection", { role: "toolbar", "aria-label": "Selection", hidden: true }, [
      iconButton("close", "Clear the selection", () => this.clear(), { title: "Clear the selection (Esc)" }),
      this.count,
      h("div.deeds", [
        this.everything,
        this.favourite,
        this.button("pile", "Album", "Add to an album", () => page.albums.choose(this.files())),
        this.leave,
        this.button("label", "Label", "Give a label", () => this.labelling.open()),
        this.reveal,
        this.button("download", "ZIP", "Download as a ZIP", () => this.download("/api/zip", this.files())),
        this.button("cut", "Reel", "Cut the videos into a reel, with edit lists", () => this.reel()),
        this.button("copy", "Paths", "Copy the paths", () =>
          this.copy([...new Set(this.hits().map((hit) => hit.path))]),
        ),
        this.button("table", "CSV", "Save as CSV", () => save("Sightline.csv", "text/csv", csv(this.hits()))),
        this.button("table", "JSON", "Save as JSON", () =>
          save("Sightline.json", "application/json", JSON.stringify(this.hits(), null, 1)),
        ),
      ]),
    ]);
    const list = page.main;
    on(list, { click: (event) => this.click(event) }, { capture: true });
    on(list, {
      pointerdown: (event) => this.press(event),
      dragstart: (event) => this.drag(event),
      contextmenu: (event) => this.pressed && event.preventDefault(),
    });
  }

  /** @param {Picture} picture @param {string} word @param {string} title @param {Act} act */
  button(picture, word, title, act) {
    return h("button", { title, "aria-label": title, onclick: act }, icon(picture), h("span", word));
  }

  get active() {
    return this.picked.size > 0;
  }

  /** The hits in the order of the results; those on further pages at the end. */
  hits() {
    const shown = this.page.shown().filter((hit) => this.picked.has(hit.chunk_id));
    return [...new Set([...shown, ...this.picked.values()])];
  }

  files() {
    return [...new Set([...this.picked.values()].map((hit) => hit.file_id))];
  }

  /** @param {MouseEvent} event */
  click(event) {
    const [card, link, pick] = [".card", "a.open", ".pick"].map((selector) => around(event, selector));
    if (!card || !(link || pick) || event.ctrlKey || event.metaKey) return;
    const after = this.pressed;
    this.pressed = false;
    if (!pick && !after && !event.shiftKey && !this.active) return;
    event.preventDefault();
    event.stopPropagation();
    const chunk = Number(card.dataset.chunk);
    if (event.shiftKey) this.range(chunk);
    else if (!after) this.toggle(chunk);
  }

  /** A long press of a finger. @param {PointerEvent} event */
  press(event) {
    const card = around(event, ".card");
    this.pressed = false;
    if (event.pointerType !== "touch" || !card) return;
    const over = new AbortController();
    const timer = setTimeout(() => {
      over.abort();
      this.pressed = true; // until the click that the finger makes when it is lifted
      this.toggle(Number(card.dataset.chunk));
      navigator.vibrate?.(10);
    }, PRESS);
    const end = () => {
      over.abort();
      clearTimeout(timer);
    };
    const pointermove = (/** @type {PointerEvent} */ { clientX, clientY }) =>
      Math.hypot(clientX - event.clientX, clientY - event.clientY) > SLIP && end();
    on(window, { pointerup: end, pointercancel: end, pointermove }, over);
  }

  /** What another window gets of a card that is dragged there: the file, the addresses and paths of all that is picked.
   * @param {DragEvent} event */
  drag(event) {
    const { dataTransfer } = event;
    const chunk = Number(around(event, "li.card")?.dataset.chunk);
    const hit = this.page.hitOf(chunk);
    if (!hit || !dataTransfer) return;
    const files = new Map(
      [hit, ...(this.picked.has(hit.chunk_id) ? this.hits() : [])].map((one) => [one.file_id, one.path]),
    );
    const urls = [...files.keys()].map((id) => `${location.origin}/media/${id}?download=1`);
    dataTransfer.setData(
      "DownloadURL",
      `application/octet-stream:${fileName(hit.path).replaceAll(":", "_")}:${urls[0]}`,
    );
    dataTransfer.setData("text/uri-list", urls.join("\r\n"));
    dataTransfer.setData("text/plain", [...files.values()].join("\n"));
  }

  /** @param {KeyboardEvent} event @param {Element | null} at the focused element. Returns whether the key is used. */
  key(event, at) {
    const card = at?.closest(".card");
    const all = event.key === "a" && (event.ctrlKey || event.metaKey) && (this.active || card);
    if (all && this.page.state.view === "search") this.all();
    else if (event.ctrlKey || event.metaKey || event.altKey) return false;
    else if (event.key === "Escape" && this.active) this.clear();
    else if (!card) return false;
    else if (event.key === "x") this.toggle(Number(card.dataset.chunk));
    else if (event.shiftKey && event.key.startsWith("Arrow")) {
      this.anchor ??= Number(card.dataset.chunk);
      this.page.results.grid.walk(event);
      const next = this.page.focused?.closest(".card");
      if (next) this.range(Number(next.dataset.chunk));
    } else return false;
    event.preventDefault();
    return true;
  }

  /** @param {number} chunk */
  toggle(chunk) {
    const hit = this.page.hitOf(chunk);
    if (!hit) return;
    if (!this.picked.delete(chunk)) this.pick([hit]);
    this.anchor = chunk;
    this.show();
  }

  /** Pick everything from the last picked hit to this one. @param {number} chunk */
  range(chunk) {
    const shown = this.page.shown();
    const [from, to] = [this.anchor ?? chunk, chunk]
      .map((id) => shown.findIndex((hit) => hit.chunk_id === id))
      .sort((a, b) => a - b);
    if (from < 0) return this.toggle(chunk);
    this.pick(shown.slice(from, to + 1));
    this.anchor ??= chunk;
    this.show();
  }

  /** @param {Hit[]} hits */
  pick(hits) {
    for (const hit of hits) {
      if (this.picked.size >= MOST) {
        this.page.say(`A selection has at most ${counted(MOST, "result")}.`, "wrong");
        break;
      }
      this.picked.set(hit.chunk_id, hit);
    }
  }

  /** Pick all results, also those that are not drawn yet. */
  all() {
    const { results } = this.page;
    const { query } = results;
    return this.page.attempt(async () => {
      let hits = results.first ? [] : results.hits; // after a jump of the timeline the list begins further on
      let offset = 0;
      while (query === results.query && this.picked.size < MOST) {
        if (!hits.length) ({ hits } = await api.search(results.searchState(), { k: STEP, offset }));
        this.pick(hits.slice(0, MOST - this.picked.size));
        this.show();
        offset += hits.length;
        if (!hits.length || offset >= results.total) break;
        hits = [];
      }
    });
  }

  clear() {
    this.anchor = null;
    if (!this.active) return;
    this.picked.clear();
    this.show();
  }

  /** Show what is picked, on the cards and in the bar. */
  show() {
    const { page } = this;
    for (const card of page.main.querySelectorAll(".card")) {
      const on = this.picked.has(Number(card.dataset.chunk));
      const pick = card.querySelector(".pick");
      if (pick) pick.ariaChecked = `${on}`;
    }
    this.element.hidden = !this.active;
    this.count.textContent = this.active ? `${counted(this.picked.size, "result")} selected` : "";
    const all = this.active && [...this.picked.values()].every((hit) => hit.favourite);
    const title = all ? "Remove from the favourites" : "Add to the favourites";
    Object.assign(this.favourite, { title, ariaLabel: title, ariaPressed: `${all}` });
    this.leave.hidden = !page.albums.current();
    this.everything.hidden = page.state.view !== "search" || this.picked.size >= Math.min(MOST, page.results.total);
    this.reveal.hidden = !page.status?.reveals || this.files().length !== 1;
  }

  /** @param {string} name */
  label(name) {
    return this.page.attempt(async () => {
      const { labelled } = await api.label(name, [...this.picked.keys()]);
      this.labelling.dialog.close();
      this.page.say(`${counted(labelled, "result")} labelled ${name}.`);
      this.clear();
    });
  }

  toggleFavourite() {
    const hits = [...this.picked.values()];
    return this.page.albums.favourite(hits, !hits.every((hit) => hit.favourite));
  }

  removeFromAlbum() {
    const name = this.page.albums.current();
    return this.page.attempt(async () => {
      const { removed } = await api.removeFromAlbum(name, this.files());
      this.page.say(`${counted(removed, "file")} removed from ${name}. The files stay where they are.`);
      this.clear();
      this.page.results.searchNow();
    });
  }

  reel() {
    const moments = this.hits().filter((hit) => hit.kind === "video");
    return this.download(
      "/api/reel",
      moments.map((hit) => hit.chunk_id),
      (n) => `A reel of ${counted(n, "moment")} is being cut; it is downloaded when it is ready. `,
    );
  }

  /** Ask first whether there is something to send; then the browser's own download takes it as it comes, through a frame:
   * what fails there leaves the page as it is.
   * @param {string} action @param {number[]} numbers @param {(files: number) => string} begun what to say meanwhile */
  download(action, numbers, begun = () => "") {
    return this.page.attempt(async () => {
      const ids = numbers.join(",");
      const { files, gone } = await api.check(action, ids);
      const lost = gone ? `${counted(gone, "file")} no longer where it was indexed; the others are sent.` : "";
      const words = `${begun(files)}${lost}`.trim();
      if (words) this.page.say(words, gone ? "wrong" : undefined);
      const field = h("input", { type: "hidden", name: "ids", value: ids });
      const target = `download-${++this.downloads}`;
      const form = h("form", { method: "post", action, target, hidden: true }, field);
      const onload = () => this.page.attempt(async () => failed(frame.contentDocument));
      const frame = h("iframe", { name: target, hidden: true, onload });
      document.body.append(frame, form);
      form.submit();
      form.remove();
    });
  }

  /** @param {string[]} paths */
  async copy(paths) {
    const several = paths.length > 1;
    try {
      await navigator.clipboard.writeText(paths.join("\n"));
      this.page.say(several ? `${count(paths.length)} paths copied.` : "Path copied.");
    } catch {
      // no clipboard outside a secure context: shown, to be selected
      if (several) save("Sightline paths.txt", "text/plain", paths.join("\n"));
      else this.page.say(paths[0]);
    }
  }
}

/** A download has come to its frame as a page: throw its sentence. @param {Document | null} answer null: nothing came */
function failed(answer) {
  const text = answer ? answer.body.textContent : "{}";
  if (text) throw new Error(JSON.parse(text).error ?? "The download has failed: Sightline does not answer.");
}

/** @type {(keyof Hit)[]} */
const COLUMNS = ["kind", "path", "title", "page", "start_s", "end_s", "taken", "width", "height"];

/** A spreadsheet calculates a text that looks like a formula (as indexer/features/csv_rows.py). @param {Hit[]} hits */
function csv(hits) {
  const cell = (/** @type {unknown} */ value) => {
    const text = typeof value === "string" && /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = hits.map((hit) => COLUMNS.map((name) => cell(hit[name])).join(","));
  return [COLUMNS.join(","), ...rows, ""].join("\r\n");
}

/** Hand a text to the browser as a file. @param {string} name @param {string} type @param {string} text */
function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
