// The page at /docs: every route of /openapi.json, without a content network.

import { h } from "./dom.js";

const answer = await fetch("/openapi.json");
const { info, paths } = await answer.json();
const main = /** @type {HTMLElement} */ (document.getElementById("docs"));
const whole = h("a", { href: "/openapi.json" }, "openapi.json");
const gradio = h("a", { href: "/gradio_api/openapi.json" }, "gradio_api/openapi.json");
const [where, mcp] = ["; the named Gradio endpoints are in ", ", the MCP server is at /gradio_api/mcp/."];
main.append(h("p", {}, info.description, " The whole description is ", whole, where, gradio, mcp));
for (const [path, methods] of Object.entries(/** @type {Record<string, any>} */ (paths))) {
  for (const [method, route] of Object.entries(/** @type {Record<string, any>} */ (methods))) {
    const form = route.requestBody?.content?.["multipart/form-data"]?.schema?.properties ?? {};
    const fields = Object.entries(/** @type {Record<string, any>} */ (form));
    const rows = [...(route.parameters ?? []), ...fields.map(([name, field]) => ({ name, in: "form", ...field }))];
    main.append(h("h2", {}, h("b", {}, method.toUpperCase()), " ", path));
    main.append(h("p", {}, route.description ?? route.summary ?? ""));
    if (rows.length) main.append(h("table", {}, rows.map(row)));
  }
}

/** A parameter or a field of a form. @param {any} parameter */
function row({ name, in: place, description, schema }) {
  const preset = schema?.default ? ` (default: ${schema.default})` : "";
  const words = description ?? schema?.description ?? "";
  return h("tr", {}, h("td", {}, name), h("td", {}, place), h("td", {}, words, preset));
}
