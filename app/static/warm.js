// Loads the video under the pointer before it is opened. A video with its index at the end needs half a dozen requests
// before its first picture; they are made while the pointer rests, and the viewer takes the loading element over. One
// at a time: a browser has six connections.

import { h } from "./dom.js";

/** Seconds that a video starts before its cue: a voice is easier to follow from before its first word, and cues are
 * exact to some tenths of a second only. */
const LEAD_S = 1;

/** The second from which the video of a hit plays: where its words are said, or where the closer look leads.
 * @param {Hit} hit */
export function beginning({ start_s, at_s, moment }) {
  return Math.max(start_s ?? 0, typeof at_s === "number" ? at_s - LEAD_S : (moment?.start_s ?? 0));
}

/** @type {Warm | null} */
let next = null;

/** Load the video of a hit. Listeners with the signal end at `take` or `cool`. @param {Hit} hit */
export function warm(hit) {
  if (next?.file !== hit.file_id || next.video.error) {
    cool();
    const video = h("video", { muted: true, playsinline: true, preload: "auto" });
    video.src = `/media/${hit.file_id}#t=${beginning(hit)}`; // the browser itself requests the bytes at that second
    next = { file: hit.file_id, video, listening: new AbortController() };
  }
  return { video: next.video, signal: next.listening.signal };
}

/** Stop loading; with a hit, only if its video is the one that loads. @param {Hit} [hit] */
export function cool(hit) {
  if (!next || (hit && next.file !== hit.file_id)) return;
  const { video, listening } = next;
  next = null;
  listening.abort();
  unload(video);
  video.remove();
}

/** Close the connection of a video: a browser has six for us. @param {HTMLVideoElement} video */
export function unload(video) {
  video.pause();
  video.removeAttribute("src");
  video.load();
}

/** The video element of a hit, which the caller owns from now on. @param {Hit} hit */
export function take(hit) {
  const { video } = warm(hit);
  next?.listening.abort();
  next = null;
  return video;
}
