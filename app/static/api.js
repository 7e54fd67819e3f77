// The requests to the server, each a function; `Refused` carries its sentence. Knows nothing of the page.

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

/**
 * One page of an answer. A query with files is sent as a form, any other in the address.
 * @param {State} state
 * @param {{k: number, offset: number, signal?: AbortSignal}} page
 * @returns {Promise<Answer>}
 */
export function search(state, { k, offset, signal }) {
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
}

/** How many hits each month has, newest first. @param {State} state @returns {Promise<{months: {month: string, of_file: boolean, count: number}[]}>} */
export const timeline = (state) => request(`/api/timeline?${fields(state)}`);

/** Where all hits were taken. @param {State} state @returns {Promise<Places>} */
export const places = (state) => request(`/api/places?${fields(state)}`);

/** For each filter the values that the library has, with their numbers. @returns {Promise<Record<string, [string, number][]>>} */
export const vocabulary = () => request("/api/vocabulary");

/** @returns {Promise<{searches: SavedSearch[]}>} */
export const searches = () => request("/api/searches");

/** @param {string} name @param {string} query */
export const saveSearch = (name, query) => request("/api/searches", body("PUT", { name, query }));

/** @param {string} name */
export const forgetSearch = (name) => request("/api/searches", body("DELETE", { name }));

/** @returns {Promise<{albums: Album[]}>} */
export const albums = () => request("/api/albums");

/** Put files into an album; "" is that of the favourites. @param {string} name @param {number[]} file_ids @returns {Promise<{added: number}>} */
export const addToAlbum = (name, file_ids) => request("/api/albums", body("POST", { name, file_ids }));

/** Take files out of an album; with null, delete it. @param {string} name @param {number[] | null} file_ids @returns {Promise<{removed: number}>} */
export const removeFromAlbum = (name, file_ids) => request("/api/albums", body("DELETE", { name, file_ids }));

/** @param {string} name @param {string} to */
export const renameAlbum = (name, to) => request("/api/albums", body("PUT", { name, to }));

/** What a ZIP of files would hold. @param {string} ids @returns {Promise<{files: number, bytes: number, gone: number}>} */
export const checkZip = (ids) =>
  request("/api/zip", { method: "POST", body: new URLSearchParams({ ids, check: "true" }) });

/** @returns {Promise<Status>} */
export const status = () => request("/api/status");

/** @returns {Promise<Failure[]>} */
export const failures = () => request("/api/failures");

/** @returns {Promise<{retried: number}>} */
export const retry = () => request("/api/failures/retry", { method: "POST" });

/** Where in the window of a hit the query happens. @param {string} q @param {number} chunk @returns {Promise<{moments: {at_s: number, start_s: number, end_s: number}[]}>} */
export const nearest = (q, chunk) => request(`/api/moments?${new URLSearchParams({ q, chunk_id: String(chunk) })}`);

/** The cues of a video, with the words of a query marked; empty until it is transcribed. @param {number} file @param {string} q @returns {Promise<{cues: Cue[]}>} */
export const transcript = (file, q) => request(`/api/transcript/${file}?${new URLSearchParams({ q })}`);

/** @param {number} id @returns {Promise<Hit>} */
export const chunk = (id) => request(`/api/chunk/${id}`);

/** All that is known of a chunk. @param {number} chunk @returns {Promise<Info>} */
export const info = (chunk) => request(`/api/info/${chunk}`);

/** Why a chunk is a hit. @param {State} state @param {number} chunk @returns {Promise<Why>} */
export const why = (state, chunk) => request(`/api/why/${chunk}?${fields(state)}`);

/** @param {string} path @returns {Promise<{path: string, exists: boolean, folders: string[]}>} */
export const browse = (path) => request(`/api/browse?${new URLSearchParams({ path })}`);

/** @param {string} path @returns {Promise<{roots: string[]}>} */
export const addRoot = (path) => request("/api/roots", body("POST", { path }));

/** @param {string} path @returns {Promise<{forgotten: number, roots: string[]}>} */
export const forgetRoot = (path) => request("/api/roots", body("DELETE", { path }));

/** Words led to a chunk; the server stores it only if the person has agreed. @param {string} q @param {number} chunk_id */
export const clicked = (q, chunk_id) => request("/api/clicks", body("POST", { q, chunk_id }));

/** @param {boolean} keep @returns {Promise<{keeps_clicks: boolean, clicks: number}>} */
export const keepClicks = (keep) => request("/api/clicks", body("PUT", { keep }));

/** @returns {Promise<{deleted: number}>} */
export const deleteClicks = () => request("/api/clicks", { method: "DELETE" });

/** @returns {Promise<any[]>} */
export const models = () => request("/api/models");

/** The download of a model. @returns {Promise<ModelFetch>} */
export const modelFetch = () => request("/api/models/fetch");

/** @param {string} name @returns {Promise<ModelFetch>} */
export const fetchModel = (name) => request("/api/models/fetch", body("POST", { name }));

/** @param {string} name @returns {Promise<{model: string}>} */
export const useModel = (name) => request("/api/models/use", body("POST", { name }));

/** Fetch the file at an address, to search with. @param {string} url @param {AbortSignal} signal */
export async function fetchFile(url, signal) {
  const response = await respond("/api/fetch", { ...body("POST", { url }), signal });
  const header = response.headers.get("content-disposition") ?? "";
  const name = /filename\*=utf-8''([^;]+)/i.exec(header)?.[1] ?? /filename="([^"]*)"/.exec(header)?.[1] ?? "file";
  const type = response.headers.get("content-type") ?? "";
  return new File([await response.blob()], decodeURIComponent(name), { type });
}

/** Fetch the file at an address into the library. @param {string} url @param {AbortSignal} signal @returns {Promise<{path: string, name: string}>} */
export const keepAddress = (url, signal) => request("/api/fetch", { ...body("POST", { url, keep: true }), signal });

/** @param {number} file @param {number} page @param {string} words @returns {Promise<PageLayer>} */
export const pageLayer = (file, page, words) =>
  request(`/page/${file}/${page}.json?${new URLSearchParams({ q: words })}`);

/** @param {string} method @param {any} value @returns {RequestInit} */
function body(method, value) {
  return { method, headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
}
