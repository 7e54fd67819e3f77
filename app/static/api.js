// The requests to the server, each a function (`Api` in types.d.ts describes them); `Refused` carries its sentence. Knows
// nothing of the page.

import { fields } from "./state.js";

/** The server refuses the request; `message` is a sentence for the person. */
export class Refused extends Error {}

/** The server did not answer. */
export class Away extends Error {}

/** Bytes of all files of one query; the server refuses more (app/web/guard.py). */
export const UPLOAD_LIMIT = 256 * 1024 * 1024;

/** @param {string} url @param {RequestInit} [init] */
export async function request(url, init) {
  return (await respond(url, init)).json().catch(() => ({}));
}

/** @param {string} url @param {RequestInit} [init] */
async function respond(url, init) {
  let response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Away("Sightline does not answer.");
  }
  if (response.ok) return response;
  throw new Refused(sentence(await response.json().catch(() => ({})), response.status));
}

/** @param {any} body @param {number} status */
function sentence(body, status) {
  if (typeof body?.error === "string") return body.error;
  if (status === 401) return "This page has lost its token; open the address that Sightline printed.";
  return `Sightline could not do that (${status}).`;
}

/** @type {Api} */
export const api = {
  /** A query with files is sent as a form, any other in the address. */
  search(state, { k, offset, signal }) {
    const params = fields(state);
    params.set("k", String(k));
    params.set("offset", String(offset));
    const files = state.parts.filter((part) => part.file);
    if (!files.length) return request(`/api/search?${params}`, { signal });
    const form = new FormData();
    for (const [name, value] of params) form.append(name, value);
    for (const part of files) {
      const file = /** @type {File} */ (part.file);
      form.append(part.avoid ? "avoid_files" : "files", file, file.name);
    }
    return request("/api/search", { method: "POST", body: form, signal });
  },
  timeline: (state) => get("timeline", fields(state)),
  places: (state, signal) => get("places", fields(state), signal),
  vocabulary: () => get("vocabulary"),
  searches: () => get("searches"),
  saveSearch: (name, query) => send("PUT", "searches", { name, query }),
  forgetSearch: (name) => send("DELETE", "searches", { name }),
  duplicates: (k, offset) => get("duplicates", { k, offset }),
  label: (name, chunk_ids) => send("POST", "labels", { name, chunk_ids }),
  albums: () => get("albums"),
  addToAlbum: (name, file_ids) => send("POST", "albums", { name, file_ids }),
  removeFromAlbum: (name, file_ids) => send("DELETE", "albums", { name, file_ids }),
  renameAlbum: (name, to) => send("PUT", "albums", { name, to }),
  check: (action, ids) => request(action, { method: "POST", body: new URLSearchParams({ ids, check: "true" }) }),
  status: () => get("status"),
  failures: () => get("failures"),
  retry: () => send("POST", "failures/retry", {}),
  nearest: (q, chunk_id) => get("moments", { q, chunk_id }),
  transcript: (file, q) => get(`transcript/${file}`, { q }),
  chunk: (id) => get(`chunk/${id}`),
  info: (chunk) => get(`info/${chunk}`),
  why: (state, chunk) => get(`why/${chunk}`, fields(state)),
  browse: (path) => get("browse", { path }),
  addRoot: (path) => send("POST", "roots", { path }),
  forgetRoot: (path) => send("DELETE", "roots", { path }),
  clicked: (q, chunk_id) => send("POST", "clicks", { q, chunk_id }),
  settings: () => get("settings"),
  choose: (name, value) => send("PUT", "settings", { name, value }),
  changeRules: (path, rules, check) => send("PUT", "rules", { path, rules, check }),
  models: () => get("models"),
  modelFetch: () => get("models/fetch"),
  fetchModel: (name, precision) => send("POST", "models/fetch", { name, precision }),
  useModel: (name) => send("POST", "models/use", { name }),
  compareModels: (queries) => send("POST", "models/compare", { queries }),
  endChange: (how) => send("POST", `models/${how}`, {}),
  reveal: (file_id) => send("POST", "reveal", { file_id }),
  async fetchFile(url, signal) {
    const response = await respond("/api/fetch", { ...body("POST", { url }), signal });
    const header = response.headers.get("content-disposition") ?? "";
    const name = /filename\*=utf-8''([^;]+)/i.exec(header)?.[1] ?? /filename="([^"]*)"/.exec(header)?.[1] ?? "file";
    const type = response.headers.get("content-type") ?? "";
    return new File([await response.blob()], decodeURIComponent(name), { type });
  },
  keepAddress: (url, signal) => send("POST", "fetch", { url, keep: true }, signal),
  pageLayer: (file, page, q) => request(`/page/${file}/${page}.json?${new URLSearchParams({ q })}`),
};

/** @param {string} path @param {any} [params] @param {AbortSignal} [signal] */
function get(path, params, signal) {
  return request(`/api/${path}${params ? `?${new URLSearchParams(params)}` : ""}`, { signal });
}

/** @param {string} method @param {string} path @param {any} value @param {AbortSignal} [signal] */
function send(method, path, value, signal) {
  return request(`/api/${path}`, { ...body(method, value), signal });
}

/** @param {string} method @param {any} value @returns {RequestInit} */
function body(method, value) {
  return { method, headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
}
