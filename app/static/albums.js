// Albums and favourites: the view that lists them, the dialog that adds files to one, and the heart. Built around the album
// as a search (`album:"Trip"`, `is:favourite`), so that an album is a page of results like any other.

import { api } from "./api.js";
import { askTwice, button, h, icon, nameSheet, takeOver } from "./dom.js";
import { count, counted } from "./format.js";
import { typedFilter, written } from "./state.js";

/** The words that search in an album. @param {string} name */
function searchOf(name) {
  return name ? written("album", name) : "is:favourite";
}

export class Albums {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.list = h("ul.album-grid");
    this.note = h("p.quiet", { role: "status" });
    this.saved = h("ul.roots");
    this.savedTitle = h("h2", { hidden: true }, "Saved searches");
    this.element = h("section.albums", { "aria-label": "Albums" }, [
      h("h2", "Albums"),
      this.note,
      this.list,
      this.savedTitle,
      this.saved,
    ]);
    this.choices = h("ul.choices");
    /** @type {number[]} */
    this.files = [];
    this.heading = h("span");
    this.sheet = nameSheet("album-dialog", this.heading, "Create", "Name of a new album", (name) => this.add(name), [
      this.choices,
    ]);
    this.renamed = "";
    this.naming = nameSheet("rename-dialog", "Rename the album", "Save", "New name", (name) =>
      this.change(async () => {
        await api.renameAlbum(this.renamed, name);
        this.naming.dialog.close();
      }),
    );
  }

  /** The album that is searched in; else "". */
  current() {
    return typedFilter(this.page.state.q, "album").value;
  }

  show() {
    return this.page.attempt(async () => {
      const { albums } = await api.albums();
      this.note.textContent = albums.length
        ? ""
        : "There are no albums yet. Select results (the circle on a picture, a long press, or x) and add them to one.";
      this.list.replaceChildren(...albums.map((album) => this.tile(album)));
      const { searches } = await api.searches();
      this.savedTitle.hidden = !searches.length;
      this.saved.replaceChildren(...searches.map((search) => this.savedSearch(search)));
    });
  }

  /** @param {Album} album */
  tile({ name, count: files, missing, cover }) {
    const open = takeOver(() => this.page.search(searchOf(name)));
    const picture = cover === null ? icon("pile") : h("img", { src: `/thumb/${cover}.webp`, alt: "", loading: "lazy" });
    const gone = missing ? `${counted(missing, "file")} not in the library any more` : "";
    const link = h("a.album", { href: `/?q=${encodeURIComponent(searchOf(name))}`, onclick: open }, [
      h("span.cover", picture),
      h("span.line", [h("bdi.title", name ? "" : icon("heart"), name || "Favourites"), h("span.n", count(files))]),
    ]);
    return h("li", [
      link,
      gone && h("p.quiet.gone", gone),
      name && h("div.album-deeds", this.renaming(name), this.deleting(name)),
    ]);
  }

  /** Change what the view shows. @param {() => Promise<unknown>} act */
  change(act) {
    return this.page.attempt(async () => {
      await act();
      await this.show();
    });
  }

  /** @param {SavedSearch} search */
  savedSearch(search) {
    const { suggest } = this.page.box;
    const run = takeOver(() => suggest.run(search));
    const remove = () => this.change(() => api.forgetSearch(search.name)).then(() => (suggest.asked = -1));
    const link = h("a", { href: `/?${search.query}`, onclick: run }, h("bdi", search.name));
    const trouble = search.error && h("span.reason", search.error);
    const label = { "aria-label": `Delete ${search.name}` };
    return h("li", icon("saved"), h("span.path", link, trouble), button("Delete", remove, label));
  }

  /** @param {string} name */
  renaming(name) {
    const rename = () => {
      this.renamed = name;
      this.naming.open(name);
    };
    return button("Rename", rename, { class: "plain-text", "aria-label": `Rename ${name}` });
  }

  /** @param {string} name */
  deleting(name) {
    const remove = () => this.change(() => api.removeFromAlbum(name, null));
    const once = h("button.plain-text", { "aria-label": `Delete ${name}` }, "Delete");
    return askTwice(once, `Delete the album ${name}? Files stay`, remove);
  }

  /** Ask which album files are added to. @param {number[]} files */
  choose(files) {
    return this.page.attempt(async () => {
      this.files = files;
      const { albums } = await api.albums();
      this.heading.textContent = `Add ${counted(files.length, "file")} to`;
      this.choices.replaceChildren(
        ...albums
          .filter((album) => album.name)
          .map(({ name, count: present }) => {
            const props = { onclick: () => this.add(name) };
            return h("li", h("button", props, h("bdi", name), h("span.n", count(present))));
          }),
      );
      this.sheet.open();
    });
  }

  /** @param {string} name */
  add(name) {
    return this.page.attempt(async () => {
      const { added } = await api.addToAlbum(name, this.files);
      this.sheet.dialog.close();
      const rest = this.files.length - added;
      const words = rest ? `; ${counted(rest, "file was", "files were")} in it already` : "";
      this.page.say(`${counted(added, "file")} added to ${name}${words}.`);
      this.page.selection.clear();
    });
  }

  /** Mark hits as favourites, or no longer. @param {Hit[]} hits @param {boolean} on */
  favourite(hits, on) {
    const { page } = this;
    return page.attempt(async () => {
      const files = new Set(hits.map((hit) => hit.file_id));
      await (on ? api.addToAlbum : api.removeFromAlbum)("", [...files]);
      for (const hit of [...page.results.hits, ...hits]) if (files.has(hit.file_id)) hit.favourite = on;
      page.results.grid.draw();
      page.selection.show();
      page.viewer.showFavourite();
      page.say(`${counted(files.size, "favourite")} ${on ? "added" : "removed"}.`);
    });
  }
}
