// The requests to the server, each a function (`Api` in types.d.ts describes them); `Refused` carries its sentence. Knows
// nothing of the page.

import { fields } from "./state.js";

/** The server refuses the request; `message` is a sentence for the person. */
export class Refused extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The server did not answer. */
export class Away extends Error {}

/** Bytes of all files of one query; the server refuses more (app/web/guard.py). */
export const UPLOAD_LIMIT = 256 * 1024 * 1024;

/**
 * @param {string} url
 * @param {RequestInit} [init]
 */
async function request(url, init) {
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
  throw new Refused(sentence(await response.json().catch(() => ({})), response.status), response.status);
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
  timeline: (state) => request(`/api/timeline?${fields(state)}`),
  places: (state, signal) => request(`/api/places?${fields(state)}`, { signal }),
  vocabulary: () => request("/api/vocabulary"),
  searches: () => request("/api/searches"),
  saveSearch: (name, query) => request("/api/searches", body("PUT", { name, query })),
  forgetSearch: (name) => request("/api/searches", body("DELETE", { name })),
  albums: () => request("/api/albums"),
  addToAlbum: (name, file_ids) => request("/api/albums", body("POST", { name, file_ids })),
  removeFromAlbum: (name, file_ids) => request("/api/albums", body("DELETE", { name, file_ids })),
  renameAlbum: (name, to) => request("/api/albums", body("PUT", { name, to })),
  check: (action, ids) => request(action, { method: "POST", body: new URLSearchParams({ ids, check: "true" }) }),
  status: () => request("/api/status"),
  failures: () => request("/api/failures"),
  retry: () => request("/api/failures/retry", { method: "POST" }),
  nearest: (q, chunk) => request(`/api/moments?${new URLSearchParams({ q, chunk_id: String(chunk) })}`),
  transcript: (file, q) => request(`/api/transcript/${file}?${new URLSearchParams({ q })}`),
  chunk: (id) => request(`/api/chunk/${id}`),
  info: (chunk) => request(`/api/info/${chunk}`),
  why: (state, chunk) => request(`/api/why/${chunk}?${fields(state)}`),
  browse: (path) => request(`/api/browse?${new URLSearchParams({ path })}`),
  addRoot: (path) => request("/api/roots", body("POST", { path })),
  forgetRoot: (path) => request("/api/roots", body("DELETE", { path })),
  clicked: (q, chunk_id) => request("/api/clicks", body("POST", { q, chunk_id })),
  keepClicks: (keep) => request("/api/clicks", body("PUT", { keep })),
  deleteClicks: () => request("/api/clicks", { method: "DELETE" }),
  models: () => request("/api/models"),
  modelFetch: () => request("/api/models/fetch"),
  fetchModel: (name) => request("/api/models/fetch", body("POST", { name })),
  useModel: (name) => request("/api/models/use", body("POST", { name })),
  reveal: (file_id) => request("/api/reveal", body("POST", { file_id })),
  async fetchFile(url, signal) {
    const response = await respond("/api/fetch", { ...body("POST", { url }), signal });
    const header = response.headers.get("content-disposition") ?? "";
    const name = /filename\*=utf-8''([^;]+)/i.exec(header)?.[1] ?? /filename="([^"]*)"/.exec(header)?.[1] ?? "file";
    const type = response.headers.get("content-type") ?? "";
    return new File([await response.blob()], decodeURIComponent(name), { type });
  },
  keepAddress: (url, signal) => request("/api/fetch", { ...body("POST", { url, keep: true }), signal }),
  pageLayer: (file, page, words) => request(`/page/${file}/${page}.json?${new URLSearchParams({ q: words })}`),
};

/** @param {string} method @param {any} value @returns {RequestInit} */
function body(method, value) {
  return { method, headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
}
