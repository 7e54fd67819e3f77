// The video that is likely to be asked for next, loading before it is: the one under the pointer. A film with its
// index at the end costs its reader half a dozen requests before the first picture; here they are made while the
// pointer rests, and whoever shows the film takes it over as it is. One at a time: a browser has six connections.

import { h } from "./dom.js";

/** @typedef {import("./types").Hit} Hit */

/** A voice is easier to follow from before its first word, and a listener's seconds are good to a few tenths only: so
 * much earlier (seconds) it begins. More would be waiting. */
const LEAD_S = 1;

/** The second from which the film of a hit plays. @param {Hit} hit */
export function beginning(hit) {
  const start = hit.start_s ?? 0;
  return typeof hit.at_s === "number" ? Math.max(start, hit.at_s - LEAD_S) : start;
}

/** @type {{file: number, video: HTMLVideoElement, listening: AbortController} | null} */
let next = null;

/** Begin to load the film of a hit. Listeners with the signal end when it is taken or let go. @param {Hit} hit */
export function warm(hit) {
  if (next?.file !== hit.file_id || next.video.error) {
    cool();
    const video = h("video", { muted: true, playsinline: true, preload: "auto" });
    video.src = `/media/${hit.file_id}#t=${beginning(hit)}`; // the browser asks for the bytes at the second itself
    next = { file: hit.file_id, video, listening: new AbortController() };
  }
  return { video: next.video, signal: next.listening.signal };
}

/** Let go of what loads; of this hit's film only, if given. @param {Hit} [hit] */
export function cool(hit) {
  if (!next || (hit && next.file !== hit.file_id)) return;
  const { video, listening } = next;
  next = null;
  listening.abort();
  video.removeAttribute("src");
  video.load(); // lets go of the connection
  video.remove();
}

/** The video element of a hit's film, the caller's from now on. @param {Hit} hit */
export function take(hit) {
  const { video } = warm(hit);
  next?.listening.abort();
  next = null;
  return video;
}
