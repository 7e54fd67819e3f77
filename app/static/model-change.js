// A change of the model until it is accepted: the last queries under both models, and buttons that keep or undo it.

import { api } from "./api.js";
import { button, h } from "./dom.js";
import { place } from "./format.js";
import { recent } from "./suggest.js";

const short = (/** @type {string} */ id) => id.split("@")[0];
const share = (/** @type {number} */ part) => `${Math.round(100 * part)} % the same`;

/** @param {Page} page */
export function modelChange(page) {
  const { model, other_model: other } = /** @type {Status} */ (page.status);
  if (!other) return "";
  const [now, beside] = [model, other.name].map(short);
  const result = h("div", { role: "status" });
  const way = (/** @type {string} */ words, /** @type {() => Promise<unknown>} */ act) =>
    button(words, () => page.attempt(() => act().then(() => page.progress.ask())));
  return h("section.change", { "aria-label": "Change of the model" }, [
    h("p", `${now} answers${other.building ? ` until all is embedded with ${beside}` : ` in place of ${beside}`}.`),
    h("p.ways", [
      way("Compare my last searches", async () => {
        result.replaceChildren(...rankings(await api.compareModels(recent().slice(0, 10))));
      }),
      !other.building && way(`Keep ${now}, delete ${beside}'s vectors`, () => api.endChange("accept")),
      way(`Back to ${other.building ? now : beside}`, () => api.endChange("rollback")),
    ]),
    result,
  ]);
}

/** @param {Comparison} comparison */
function rankings({ models, agreement, queries }) {
  const head = () => h("tr", [models.map((id) => h("th", { scope: "col" }, short(id)))]);
  const cell = (/** @type {Hit | undefined} */ hit) =>
    h("td", hit && h("a", { href: hit.open_url }, h("bdi", hit.title), ` ${place(hit)}`));
  return [
    h("p.quiet", `${share(agreement)} among the first files: that tells two models apart, not which is better.`),
    ...queries.map(({ query, agreement, hits: [a, b] }) => {
      const lines = (a.length < b.length ? b : a).map((_, n) => h("tr", cell(a[n]), cell(b[n])));
      return h("table", h("caption", `${query}: ${share(agreement)}`), head(), lines);
    }),
  ];
}
