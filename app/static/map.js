// The map above the results: where all hits of the answer were taken. Built around clusters, which the server counts, and
// the outlines of vendor/world.json; a click on a cluster searches near it, and the map then shows that part of the earth.
// It knows nothing of hits.

import { api } from "./api.js";
import { drawing, h } from "./dom.js";
import { count, counted } from "./format.js";
import { typedFilter, written } from "./state.js";

/** Units of the outlines in a degree (deploy/world_map.py). */
const UNIT = 20;
/** The least and the most degrees that are shown, and the room around the clusters as a share of their spread. */
const [LEAST, ROUND, ROOM] = [14, 360, 0.22];
/** What is shown of the earth without clusters. */
const [NORTH, SOUTH] = [84, -58];
/** So many clusters have room for their names. */
const NAMED = 8;

export class WorldMap {
  /** @param {Results} results */
  constructor(results) {
    this.results = results;
    /** @type {Places | null} */
    this.places = null;
    this.query = "";
    this.chart = h("div", { class: "chart" });
    this.words = h("p", { class: "quiet", role: "status" });
    this.everywhere = h("button", { class: "secondary", onclick: () => this.search("") }, "Everywhere");
    const foot = h("div", { class: "map-foot" }, this.words, this.everywhere);
    this.element = h("section", { class: "map", "aria-label": "Map", hidden: true }, this.chart, foot);
    addEventListener("resize", () => this.draw());
  }

  /** Ask for the places of a new answer, where the map is open. */
  async show() {
    const { results } = this;
    const { page, query } = results;
    this.element.hidden = !page.state.map || !results.hits.length;
    if (this.element.hidden) return;
    this.everywhere.hidden = !typedFilter(page.state.q, "near").value;
    const version = `${query}|${page.status?.chunks}`;
    if (this.query === version) return;
    this.query = version;
    await page.attempt(async () => {
      outlines ??= fetch("/ui/vendor/world.json").then((answer) => answer.json());
      outlines.catch(() => (outlines = undefined)); // asked for again the next time
      const [places] = await Promise.all([
        page.state.parts.some((part) => part.file) ? null : api.places(page.state),
        outlines,
      ]);
      if (this.query !== version) return;
      this.places = places;
      this.draw();
    });
  }

  async draw() {
    const world = await outlines;
    if (this.element.hidden || !world || !this.chart.clientHeight) return;
    const { clusters = [], placed = 0, total = 0 } = this.places ?? {};
    const which = placed < total ? `${count(placed)} of ${counted(total, "result")}` : counted(total, "result");
    const say = placed === 1 ? "says where it was taken" : "say where they were taken";
    this.words.textContent = !this.places
      ? "A search with a file of yours has no map."
      : placed
        ? `${which} ${say}. Choose a place to search near it.`
        : "None of the results says where it was taken.";
    const { x, y, wide, tall, shrink } = view(clusters, this.chart.clientWidth / this.chart.clientHeight);
    const chart = drawing(
      `${x} ${y} ${wide} ${tall}`,
      [world.land, world.borders],
      `scale(${shrink / UNIT} ${1 / UNIT})`,
    );
    const most = Math.max(...clusters.map((cluster) => cluster.count));
    const marks = clusters.map((cluster) => {
      const name = cluster.town ?? `${cluster.lat.toFixed(2)}, ${cluster.lon.toFixed(2)}`;
      const size = 1.7 + 1.5 * Math.sqrt(cluster.count / most);
      const [left, top] = [(100 * (cluster.lon * shrink - x)) / wide, (100 * (-cluster.lat - y)) / tall];
      const props = {
        class: left > 75 ? "cluster left" : "cluster",
        style: `left:${left}%;top:${top}%;--size:${size}rem`,
        title: name,
        onclick: () => this.search(cluster.near),
      };
      const near = h("span", { class: "unseen" }, ` ${cluster.count === 1 ? "result" : "results"} near `);
      const town = h("span", { class: "town" }, name.split(", ")[0]);
      return h("li", {}, h("button", props, h("span", { class: "dot" }, count(cluster.count)), near, town));
    });
    const list = h("ul", { role: "list", class: clusters.length > NAMED ? "" : "named" }, marks);
    this.chart.replaceChildren(chart, list);
  }

  /** Search near a place; with "" everywhere. @param {string} near */
  search(near) {
    const { page } = this.results;
    const { rest } = typedFilter(page.state.q, "near");
    page.go({ q: `${rest} ${near && written("near", near)}`.trim(), open: null });
    page.box.fill();
    (near ? this.everywhere : page.box.input).focus();
  }
}

/** @type {Promise<{land: string, borders: string}> | undefined} */
let outlines;

/** The part of the earth to show, in degrees, of which those to the east are shortened as in its middle.
 * @param {Cluster[]} clusters @param {number} shape width over height */
function view(clusters, shape) {
  const lats = clusters.length ? clusters.map((cluster) => -cluster.lat) : [-NORTH, -SOUTH];
  const lons = clusters.length ? clusters.map((cluster) => cluster.lon) : [-ROUND / 2, ROUND / 2];
  const middle = (/** @type {number[]} */ all) => (Math.min(...all) + Math.max(...all)) / 2;
  const span = (/** @type {number[]} */ all) => Math.max(LEAST, (1 + 2 * ROOM) * (Math.max(...all) - Math.min(...all)));
  const shrink = Math.max(0.4, Math.cos((middle(lats) * Math.PI) / 180));
  const wide = Math.max(span(lons) * shrink, span(lats) * shape);
  const tall = wide / shape;
  /** @param {number} at @param {number} size @param {number} edge */
  const within = (at, size, edge) =>
    size > 2 * edge ? -size / 2 : Math.min(edge - size, Math.max(-edge, at - size / 2));
  const x = within(middle(lons) * shrink, wide, (ROUND / 2) * shrink);
  return { x, y: within(middle(lats), tall, ROUND / 4), wide, tall, shrink };
}
