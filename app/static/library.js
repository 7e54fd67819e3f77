// The library view: folders (add one by its path, remove one), progress, counts, files that could not be read, and
// models, which the settings show.

import { api } from "./api.js";
import { Combobox } from "./combobox.js";
import { askTwice, button, form, h, icon, morph, takeOver } from "./dom.js";
import { bytes, count, counted, dayTaken, fileName, folder, lasting, place } from "./format.js";
import { doing } from "./progress.js";
import { recent } from "./suggest.js";

/** Two models' names without their marks, which stay where nothing else tells them apart. @param {string[]} ids */
function short(...ids) {
  const names = ids.map((id) => id.split("@")[0]);
  return names[0] === names[1] ? ids : names;
}

export class Library {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.failed = -1;
    this.roots = "";
    /** The models in use when the cards were drawn. */
    this.cardsModels = "";
    this.folders = h("ul.roots");
    this.path = h("input", {
      type: "text",
      class: "path",
      dir: "ltr",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "~/Pictures",
      "aria-label": "Path of a folder",
      oninput: () => this.suggest(),
      onfocus: () => this.suggest(),
      onkeydown: (e) => this.combo.key(e, ["Enter", "Tab"]),
    });
    this.combo = new Combobox(this.path, "folder", { class: "options", "aria-label": "Folders" });
    this.counts = h("dl.counts");
    this.now = h("div.now", { role: "status" });
    this.faults = h("div.faults");
    this.leftOut = h("details.left-out");
    this.models = h("div.models");
    this.element = h("section.library", { "aria-label": "Library" }, [
      h("h2", "Folders"),
      h("p.quiet", "Everything below these folders is searched. Your files are only ever read."),
      this.folders,
      form([h("div.combo", icon("folder"), this.path, this.combo.list)], "Add folder", () => this.add()),
      this.now,
      h("h2", "In the library"),
      this.counts,
      h(
        "p",
        h("a", { href: "/?view=duplicates", onclick: takeOver(() => page.visit("duplicates")) }, "Review duplicates"),
      ),
      this.faults,
      this.leftOut,
    ]);
  }

  focusPath() {
    requestAnimationFrame(() => this.path.focus());
  }

  show() {
    this.failed = -1;
    this.update();
  }

  update() {
    const { status, state } = this.page;
    if (!status) return;
    const models = JSON.stringify([status.model, status.other_model]);
    if (state.view === "settings" && this.cardsModels !== models) this.drawModels(models);
    if (state.view !== "library") return;
    if (this.roots !== status.roots.join("\n")) this.drawRoots(status.roots);
    const numbers = /** @type {[string, string][]} */ ([
      ["Images", count(status.images)],
      ["Videos", count(status.videos)],
      ["PDFs", count(status.pdfs)],
      ["Chunks", count(status.chunks)],
      ["On disk", bytes(status.bytes)],
    ]);
    const terms = numbers.map(([name, value]) => h("div", h("dt", name), h("dd", value)));
    morph(this.counts, h("dl", terms));
    this.drawNow(status);
    this.drawLeftOut(status);
    if (this.failed !== status.failed) this.drawFaults(status.failed);
  }

  /** @param {string[]} roots */
  drawRoots(roots) {
    this.roots = roots.join("\n");
    const items = roots.map((root) => {
      const remove = h("button.secondary", { "aria-label": `Remove ${root}` }, "Remove");
      askTwice(remove, `Remove ${root} from the library? Files stay`, () => this.forget(root));
      return h("li", icon("folder"), h("bdi.path", root), remove);
    });
    this.folders.replaceChildren(...items);
    this.folders.hidden = !roots.length;
  }

  /** @param {Status} status */
  drawNow(status) {
    const { pending, files, reading, chunks_per_s, seconds_left, notices } = status;
    const lines = notices.map((notice) => h("p.notice-line", notice));
    if (pending) {
      const speed = chunks_per_s ? `${chunks_per_s.toFixed(chunks_per_s < 2 ? 1 : 0)} chunks a second` : "";
      const left = seconds_left ? `about ${lasting(seconds_left)} left` : "";
      const rest = [`${counted(pending, "file")} to read`, speed, left].filter(Boolean).join(" · ");
      const names = reading.slice(0, 3).map((path) => h("bdi", { title: path }, fileName(path)));
      const now = names.flatMap((name, n) => [n ? ", " : "Now: ", name]);
      lines.unshift(h("p.reading", h("strong", rest)), h("p.quiet.reading-now", now));
    } else if (files) {
      lines.unshift(h("p.quiet", "Everything is read. New and changed files are taken in as they come."));
      lines.push(h("p", doing(status)));
    }
    morph(this.now, h("div", lines)); // a screen reader reads what changes
  }

  /** A line a reason: how many files and folders, what they are. @param {Status} status */
  drawLeftOut({ left_out, ignored }) {
    const reasons = [...new Set(left_out.map((sort) => sort.why))];
    const lines = reasons.map((why) => {
      const sorts = left_out.filter((sort) => sort.why === why);
      const names = sorts.slice(0, 8).map((sort) => `${count(sort.count)} ${sort.what}`.trim());
      const example = h("bdi.quiet", { title: sorts[0].example }, sorts[0].example);
      return h("li", `${why}: ${names.join(", ")}. `, example);
    });
    this.leftOut.hidden = !lines.length;
    const title = h("summary", `${counted(ignored, "file or folder", "files and folders")} not indexed, and why`);
    morph(this.leftOut, h("details", title, h("ul", lines)));
  }

  /** @param {number} failed */
  async drawFaults(failed) {
    this.failed = failed;
    if (!failed) return this.faults.replaceChildren();
    await this.page.attempt(async () => {
      const failures = await api.failures();
      const rows = failures.slice(0, 200).map((one) => this.fault(one));
      const rest = count(failures.length - rows.length);
      const left = `${counted(failures.length, "file")} left out; everything else is searchable. `;
      this.faults.replaceChildren(
        h("h2", "Could not be read"),
        h("p.quiet", left),
        button([icon("retry"), "Try again"], () => this.retry()),
        h("ul.failures", rows),
        rest !== "0" ? h("p.quiet", `and ${rest} more; sightline failures lists them all`) : "",
      );
    });
  }

  /** @param {Failure} failure */
  fault({ path, kind, reason, since }) {
    const where = h(
      "span.quiet",
      h("bdi", folder(path)),
      ` · since ${dayTaken({ taken: new Date(1000 * since).toISOString(), taken_from: null })}`,
    );
    const name = h("bdi.title", fileName(path));
    return h("li", icon(kind), h("div", name, h("span.reason", reason), where));
  }

  /** @param {string} models */
  async drawModels(models) {
    this.cardsModels = models;
    const chunks = this.page.status?.chunks;
    const price = "again; the old ones answer until then, and nothing is lost.";
    try {
      const cards = await api.models();
      this.models.replaceChildren(
        this.change(),
        h("p.quiet", chunks ? `Switching makes ${counted(chunks, "embedding")} ${price}` : ""),
        h("ul", [cards.map((card) => this.model(card))]),
      );
    } catch {
      this.models.replaceChildren(h("p", this.page.status?.model ?? ""));
    }
  }

  /** A change of the model: compared, kept or undone. */
  change() {
    const { model, other_model: other } = /** @type {Status} */ (this.page.status);
    if (!other) return "";
    const [now, beside] = short(model, other.name);
    const result = h("div", { role: "status" });
    const way = (/** @type {string} */ words, /** @type {() => Promise<unknown>} */ act) =>
      button(words, () => this.page.attempt(() => act().then(() => this.page.progress.ask())));
    return h("section.change", { "aria-label": "Change of the model" }, [
      h("p", `${now} answers; ${beside} ${other.building ? "is being built" : "answered before"}.`),
      h("p.ways", [
        way("Compare my searches", async () => result.replaceChildren(...rankings(await api.compareModels(recent())))),
        !other.building && way(`Keep ${now}, delete ${beside}'s vectors`, () => api.endChange("accept")),
        way(`Back to ${other.building ? now : beside}`, () => api.endChange("rollback")),
      ]),
      result,
    ]);
  }

  /** @param {any} card */
  model({ name, title, about, facts, command, on_disk, offers }) {
    const current = name === this.page.status?.model.split(/[:@]/)[0];
    const news = h("p.quiet", { role: "status" });
    const button = (/** @type {string} */ label, /** @type {() => Promise<void>} */ act) => {
      const show = (/** @type {Error} */ error) => (news.textContent = error.message);
      return h("button", { onclick: () => act().catch(show) }, label);
    };
    const use = button("Use it", async () => {
      await api.useModel(name);
      this.page.say("Changing the model. The old one answers until every file is embedded again.");
      this.page.progress.ask();
    });
    const downloads = Object.entries(offers).map(([precision, size]) =>
      button(`Fetch it (${size})`, async () => {
        await api.fetchModel(name, precision);
        if (await this.follow(name, news)) ways.replaceChildren(use);
      }),
    );
    const ways = h("p.ways", on_disk ? use : downloads);
    return h("li", { class: current ? "model current" : "model" }, [
      h("strong", title ?? name),
      current && h("span.tag", "in use"),
      h("p", about ?? ""),
      h("p.quiet", facts),
      !current && ways,
      news,
      !current && h("code", command),
    ]);
  }

  /** Show the progress of a download. Returns whether the model is ready. @param {string} name @param {HTMLElement} news */
  async follow(name, news) {
    for (;;) {
      const now = await api.modelFetch();
      news.textContent = now.name === name ? now.line : `${now.name} is downloaded first; try again later.`;
      if (now.name !== name || now.state === "failed") return false;
      if (now.state === "ready") return true;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  async add() {
    const path = this.path.value.trim();
    if (!path) return this.path.focus();
    await this.page.attempt(async () => {
      await api.addRoot(path);
      this.path.value = "";
      this.combo.shut();
      this.page.say("Added. Its files appear as they are read.");
      this.page.progress.ask();
    });
  }

  /** @param {string} root */
  forget(root) {
    return this.page.attempt(async () => {
      const { forgotten } = await api.forgetRoot(root);
      this.page.say(`${counted(forgotten, "file")} forgotten. The files themselves are where they were.`);
      this.page.results.query = "";
      this.page.progress.ask();
    });
  }

  retry() {
    return this.page.attempt(async () => {
      const { retried } = await api.retry();
      this.page.say(`Trying ${counted(retried, "file")} again.`);
      this.page.progress.ask();
    });
  }

  /** Offer folders whose path begins with the text in the field. */
  suggest() {
    const turn = ++this.combo.turn;
    return this.page.attempt(async () => {
      const { folders } = await api.browse(this.path.value);
      if (turn !== this.combo.turn) return;
      const take = (/** @type {string} */ path) => {
        this.path.value = `${path}/`;
        this.suggest();
      };
      this.combo.offer(folders.map((path) => ({ children: [h("bdi", path)], act: () => take(path) })));
    });
  }
}

/** @param {Comparison} comparison */
function rankings({ models, queries }) {
  const head = () => h("tr", [short(...models).map((name) => h("th", { scope: "col" }, name))]);
  const cell = (/** @type {Hit | undefined} */ hit) =>
    h("td", hit && h("a", { href: hit.open_url }, hit.title, ` ${place(hit)}`));
  return queries.map(({ query, hits: [a, b] }) => {
    const lines = (a.length < b.length ? b : a).map((_, n) => h("tr", cell(a[n]), cell(b[n])));
    return h("table", h("caption", query), head(), lines);
  });
}
