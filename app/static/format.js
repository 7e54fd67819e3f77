// Numbers, times, paths and snippets as a person reads them. Pure functions; `marked` alone makes nodes.

import { h } from "./dom.js";

/** Seconds as `m:ss` or `h:mm:ss`. @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Where in its file a hit is: `0:30–1:00`, `p. 12 of 40`, `p. 2 inside` (a PDF in a PDF), or nothing. @param {Spanned} hit */
export function place(hit) {
  if (hit.inside_page) return `p. ${hit.inside_page} inside`;
  if (hit.page !== null) return hit.pages ? `p. ${hit.page} of ${hit.pages}` : `p. ${hit.page}`;
  if (hit.start_s === null) return "";
  return hit.end_s === null ? clock(hit.start_s) : `${clock(hit.start_s)}–${clock(hit.end_s)}`;
}

/** `said at 0:42` for a hit found by a cue; else nothing. @param {Pick<Hit, "at_s">} hit */
export function said(hit) {
  return typeof hit.at_s === "number" ? `said at ${clock(hit.at_s)}` : "";
}

const NUMBER = new Intl.NumberFormat("en"); // made once: a new one costs more than a card
const [WALL_DAY, WALL_MONTH, WHOLE_MONTH] = /** @type {Intl.DateTimeFormatOptions[]} */ ([
  { month: "short", day: "numeric" },
  { month: "short" },
  { month: "long" },
]).map((how) => new Intl.DateTimeFormat("en", { year: "numeric", timeZone: "UTC", ...how }));

/** @param {number} n */
export function count(n) {
  return NUMBER.format(n);
}

/** @param {number} n @param {string} one @param {string} [many] */
export function counted(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** @param {number} n bytes */
export function bytes(n) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let step = 0;
  while (n >= 1000 && step < units.length - 1) [n, step] = [n / 1000, step + 1];
  return `${step ? n.toFixed(n < 10 ? 1 : 0) : n} ${units[step]}`;
}

/** A remaining time, rounded. @param {number} seconds */
export function lasting(seconds) {
  if (seconds < 55) return `${Math.max(10, 10 * Math.round(seconds / 10))} s`;
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** The day on the wall where it was taken, wherever this browser stands: `Jan 1, 2023`, `May 1968`, `file of Nov 24, 2025`.
 * @param {Dated} hit */
export function dayTaken(hit) {
  const [date] = (hit.taken ?? "").split("T");
  if (!date) return "";
  const [year, month, number] = date.split("-").map(Number);
  const at = new Date(Date.UTC(year, (month || 1) - 1, number || 1));
  const told = number ? WALL_DAY.format(at) : month ? WALL_MONTH.format(at) : String(year);
  return hit.taken_from === "file" ? `file of ${told}` : told;
}

/** A month as people write it: "2023-07" is `July 2023`, "1968" itself. @param {string} month */
export function monthOf(month) {
  const [year, number] = month.split("-").map(Number);
  return number ? WHOLE_MONTH.format(new Date(Date.UTC(year, number - 1, 1))) : month;
}

/** The same with the time and its zone: `Jan 1, 2023, 00:30 +09:00`.
 * @param {Dated} hit */
export function momentTaken(hit) {
  const [, time, zone] = /T(\d\d:\d\d)[\d:.]*([+-]\d\d:\d\d)?$/.exec(hit.taken ?? "") ?? [];
  return [dayTaken(hit), [time, zone].filter(Boolean).join(" ")].filter(Boolean).join(", ");
}

/** The name of a file. @param {string} path */
export function fileName(path) {
  return path.split(/[\\/]/).pop() ?? path;
}

/** The folder of a path. @param {string} path */
export function folder(path) {
  return path.replace(/[\\/][^\\/]*$/, "") || "/";
}

/** The last two names of the folder of a path. @param {string} path */
export function nearFolder(path) {
  return folder(path).split(/[\\/]/).filter(Boolean).slice(-2).join("/");
}

/** A text with <mark> around its matched words, which stand between U+E000 and U+E001. @param {string} snippet */
export function marked(snippet) {
  return snippet.split(/\uE000(.*?)\uE001/s).map((text, n) => (n % 2 ? h("mark", text) : text));
}

/** A text without its marks. @param {string} text */
export function unmarked(text) {
  return text.replace(/[\uE000\uE001]/g, "");
}

export const KIND_NAMES = /** @type {const} */ ({ image: "Image", video: "Video", pdf: "PDF" });
