// The review of duplicates: groups of copies and of near-equal pictures, the best one first, each with its size, date and
// paths. Built around cards as those of the results, so that they are selected and opened alike. Nothing is deleted here.

import { api } from "./api.js";
import { card } from "./card.js";
import { button, h, iconButton } from "./dom.js";
import { bytes, counted } from "./format.js";

const PAGE = 20;

export class Duplicates {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** The best file of each content, as the cards show it. @type {DuplicateFile[]} */
    this.hits = [];
    this.groups = h("div");
    this.note = h("p.quiet", { role: "status" });
    this.more = button("Show more", () => this.load(), { hidden: true });
    const about = "Copies, and pictures that look the same. Sightline deletes nothing.";
    this.element = h("section.duplicates", { "aria-label": "Duplicates" }, [
      h("h2", "Duplicates"),
      h("p.quiet", about),
      this.note,
      this.groups,
      this.more,
    ]);
  }

  show() {
    if (this.groups.childElementCount) return; // back from the viewer
    this.note.textContent = "Comparing …";
    return this.load();
  }

  clear() {
    this.hits = [];
    this.groups.replaceChildren();
  }

  load() {
    return this.page.attempt(async () => {
      const offset = this.groups.childElementCount;
      const { total, groups } = await api.duplicates(PAGE, offset);
      if (offset !== this.groups.childElementCount) return;
      this.groups.append(...groups.map((group) => this.group(group)));
      const shown = this.groups.childElementCount;
      this.more.hidden = shown >= total || !groups.length;
      this.note.textContent = total
        ? `${counted(total, "group")}, those with the most to gain first.`
        : "There are none.";
    });
  }

  /** @param {DuplicateGroup} group */
  group({ exact, files }) {
    const { page } = this;
    const contents = [...Map.groupBy(files, (file) => file.chunk_id).values()];
    const hits = contents.map(([first]) => first);
    this.hits.push(...hits);
    const others = files.slice(1);
    const gain = bytes(others.reduce((sum, file) => sum + file.size, 0));
    const select = () => {
      page.selection.pick(hits.slice(1));
      page.selection.show();
    };
    const title = exact ? counted(files.length, "copy", "copies") : `${files.length} near-equal`;
    return h("section.group", [
      h("h3", title, h("span.n", `${gain} besides the best`)),
      h(
        "ul.grid",
        contents.map((copies) => this.item(copies)),
      ),
      !exact && button("Select all but the best", select),
      button("Copy the other paths", () => page.selection.copy(others.map(({ path }) => path))),
    ]);
  }

  /** A card with the paths of its copies. @param {DuplicateFile[]} copies */
  item(copies) {
    const { page } = this;
    const [first] = copies;
    const element = card(first, { best: 0, ranked: false, results: page.results });
    const size = [first.width && `${first.width} × ${first.height}`, bytes(first.size)];
    const paths = copies.map(({ path, file_id }) => {
      const reveal = () => page.attempt(() => api.reveal(file_id));
      return h(
        "li",
        h("bdi", path),
        page.status?.reveals && iconButton("folder", `Show ${path} in its folder`, reveal),
      );
    });
    const best = first.best && h("span.tag", "best");
    element.append(h("p.facts", best, size.filter(Boolean).join(" · ")), h("ul.paths", paths));
    return element;
  }
}
