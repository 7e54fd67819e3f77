// The map above the results: where all hits of the answer were taken. Built around clusters, which the server counts, and
// the outlines of vendor/world.json; a click on a cluster searches near it, and the map then shows that part of the earth.
// It knows nothing of hits.

import { api, request } from "./api.js";
import { button, h, svg, unseen } from "./dom.js";
import { count, counted } from "./format.js";
import { typedFilter, written } from "./state.js";

/** Units of the outlines in a degree (deploy/world_map.py). */
const UNIT = 20;
/** The least degrees that are shown, all around the earth, and the room around the clusters as a share of their spread. */
const [LEAST, FULL_TURN, ROOM] = [14, 360, 0.22];
/** Shown without clusters. */
const [NORTH, SOUTH] = [84, -58];
const NAMED = 8;

export class WorldMap {
  /** @param {Results} results */
  constructor(results) {
    this.results = results;
    /** @type {Places | null} */
    this.places = null;
    this.query = "";
    /** @type {AbortController | null} */
    this.flight = null;
    this.chart = h("div.chart");
    this.words = h("p.quiet", { role: "status" });
    this.everywhere = button("Everywhere", () => this.search(""));
    const foot = h("div.map-foot", this.words, this.everywhere);
    this.element = h("section.map", { "aria-label": "Map", hidden: true }, this.chart, foot);
    new ResizeObserver(() => this.draw()).observe(this.chart); // also when it comes into view
  }

  /** Ask for the places of the answer, once, where the map is open. @param {boolean} [isNew] whether the answer is new */
  async show(isNew = false) {
    const { results } = this;
    const { page, query } = results;
    this.element.hidden = !page.state.map || !results.hits.length;
    if (this.element.hidden) return;
    this.everywhere.hidden = !typedFilter(page.state.q, "near").value;
    if (this.query === query && !isNew) return;
    this.query = query;
    this.flight?.abort();
    const flight = (this.flight = new AbortController());
    await page.attempt(async () => {
      drawn ??= request("/ui/vendor/world.json");
      drawn.catch(() => (drawn = undefined)); // asked for again the next time
      try {
        const asked = this.byFile() ? null : api.places(page.state, flight.signal);
        [this.places] = await Promise.all([asked, drawn]);
        this.draw();
      } catch (error) {
        if (this.flight !== flight) return;
        this.query = ""; // asked for again the next time
        throw error;
      }
    });
  }

  /** Whether a file of the person's asks: the server has no places for that. */
  byFile() {
    return this.results.page.state.parts.some((part) => part.file);
  }

  async draw() {
    const world = await drawn;
    if (!world || !this.chart.clientHeight || !(this.places || this.byFile())) return;
    const { clusters = [], placed = 0, total = 0 } = this.places ?? {};
    const which = placed < total ? `${count(placed)} of ${counted(total, "result")}` : counted(total, "result");
    const say = placed === 1 ? "says where it was taken" : "say where they were taken";
    this.words.textContent = !this.places
      ? "A search with a file of yours has no map."
      : placed
        ? `${which} ${say}. Choose a place to search near it.`
        : "None of the results says where it was taken.";
    const { x, y, wide, tall, shrink } = view(clusters, this.chart.clientWidth / this.chart.clientHeight);
    const transform = `scale(${shrink / UNIT} ${1 / UNIT})`;
    const outlines = [world.land, world.borders].map((d) => svg("path", { d, transform }));
    const chart = svg("svg", { viewBox: `${x} ${y} ${wide} ${tall}`, "aria-hidden": "true" }, outlines);
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
      const near = unseen(` ${cluster.count === 1 ? "result" : "results"} near `);
      const town = h("span.town", name.split(", ")[0]);
      return h("li", h("button", props, h("span.dot", count(cluster.count)), near, town));
    });
    const list = h("ul", { class: clusters.length > NAMED ? "" : "named" }, marks);
    this.chart.replaceChildren(chart, list);
  }

  /** Search near a place; with "" everywhere. @param {string} near */
  search(near) {
    const { page } = this.results;
    const { rest } = typedFilter(page.state.q, "near");
    page.go({ q: `${rest} ${near && written("near", near)}`.trim(), open: null });
    page.box.fill();
    this.everywhere.hidden = !near;
    (near ? this.everywhere : page.box.input).focus();
  }
}

/** @type {Promise<{land: string, borders: string}> | undefined} */
let drawn;

/** The part of the earth to show, in degrees, of which those to the east are shortened as in its middle.
 * @param {Cluster[]} clusters @param {number} shape width over height */
function view(clusters, shape) {
  const lats = clusters.length ? clusters.map((cluster) => -cluster.lat) : [-NORTH, -SOUTH];
  const lons = clusters.length ? clusters.map((cluster) => cluster.lon) : [-FULL_TURN / 2, FULL_TURN / 2];
  const middle = (/** @type {number[]} */ all) => (Math.min(...all) + Math.max(...all)) / 2;
  const span = (/** @type {number[]} */ all) => Math.max(LEAST, (1 + 2 * ROOM) * (Math.max(...all) - Math.min(...all)));
  const shrink = Math.max(0.4, Math.cos((middle(lats) * Math.PI) / 180));
  const wide = Math.max(span(lons) * shrink, span(lats) * shape);
  const tall = wide / shape;
  /** @param {number} at @param {number} size @param {number} edge */
  const within = (at, size, edge) =>
    size > 2 * edge ? -size / 2 : Math.min(edge - size, Math.max(-edge, at - size / 2));
  const x = within(middle(lons) * shrink, wide, (FULL_TURN / 2) * shrink);
  return { x, y: within(middle(lats), tall, FULL_TURN / 4), wide, tall, shrink };
}
