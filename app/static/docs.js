// The page at /docs: every route of /openapi.json, drawn without a content network.

import { h } from "./dom.js";

const answer = await fetch("/openapi.json");
const { info, paths } = await answer.json();
const main = /** @type {HTMLElement} */ (document.getElementById("docs"));
main.append(h("p", {}, info.description, " The whole description is ", h("a", { href: "/openapi.json" }, "openapi.json"),
  "; the named Gradio endpoints are in ", h("a", { href: "/gradio_api/openapi.json" }, "gradio_api/openapi.json"), ", the MCP server is at /gradio_api/mcp/."));
for (const [path, methods] of Object.entries(/** @type {Record<string, any>} */ (paths))) {
  for (const [method, route] of Object.entries(/** @type {Record<string, any>} */ (methods))) {
    const form = route.requestBody?.content?.["multipart/form-data"]?.schema?.properties ?? {};
    const rows = [
      ...(route.parameters ?? []).map((/** @type {any} */ p) => [p.name, p.in, p.description ?? p.schema?.description ?? "", p.schema?.default]),
      ...Object.entries(form).map(([name, schema]) => [name, "form", /** @type {any} */ (schema).description ?? "", undefined]),
    ];
    main.append(h("h2", {}, h("b", {}, method.toUpperCase()), " ", path), h("p", {}, route.description ?? route.summary ?? ""));
    if (rows.length) main.append(h("table", {}, rows.map(([name, where, words, preset]) =>
      h("tr", {}, h("td", {}, name), h("td", {}, where), h("td", {}, words, preset ? ` (${preset} unless given)` : "")))));
  }
}
