// A video, playing at the second that was found, the other matching moments marked on its timeline.

import * as api from "./api.js";
import { h } from "./dom.js";
import { clock, place } from "./format.js";
import { instead, searching } from "./viewer.js";

/** @param {import("./app.js").Page} page @param {import("./types").Hit} hit @returns {import("./viewer.js").Stage} */
export function showVideo(page, hit) {
  const start = hit.start_s ?? 0;
  const video = h("video", { controls: true, playsinline: true, preload: "auto", "aria-label": hit.title, poster: hit.thumb_url });
  const frame = h("div", { class: "video" }, video);
  const head = h("span", { class: "head", "aria-hidden": "true" });
  const line = h("div", { class: "line" }, head);
  const foot = h("div", { class: "timeline", role: "group", "aria-label": "Matching moments" }, line);
  let duration = hit.duration_s ?? 0;
  let closed = false;

  const seek = (/** @type {number} */ second) => {
    video.currentTime = second;
    // a browser may refuse sound before the first click on the page; the moment matters more than the sound
    video.play().catch(() => { video.muted = true; video.play().catch(() => {}); });
  };
  const draw = (/** @type {import("./types").Hit[]} */ hits) => {
    const marks = hits.map((one) => mark(one));
    line.replaceChildren(...marks, head);
  };
  const mark = (/** @type {import("./types").Hit} */ one) => {
    const [from, to] = [one.start_s ?? 0, one.end_s ?? duration];
    const name = `${one.chunk_id === hit.chunk_id ? "This moment" : "Moment"}, ${place(one)}`;
    return h("button", {
      type: "button", class: one.chunk_id === hit.chunk_id ? "moment this" : "moment", "aria-label": name, title: place(one),
      style: `left:${(100 * from) / duration}%;width:${Math.max(0.8, (100 * (to - from)) / duration)}%`,
      onclick: () => seek(from),
    });
  };
  line.addEventListener("click", (event) => {
    if (event.target instanceof HTMLButtonElement || !duration) return;
    const box = line.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * duration);
  });
  video.addEventListener("loadedmetadata", () => {
    if (Number.isFinite(video.duration)) duration = video.duration;
    if (Math.abs(video.currentTime - start) > 0.05) video.currentTime = Math.min(start, Math.max(0, duration - 0.1));
    if (duration) draw([hit]);
    seekless();
    moments();
  }, { once: true });
  const seekless = () => video.play().catch(() => { video.muted = true; video.play().catch(() => {}); });
  video.addEventListener("timeupdate", () => {
    if (!duration) return;
    head.style.left = `${(100 * video.currentTime) / duration}%`;
    head.title = clock(video.currentTime);
  });
  video.addEventListener("error", () => {
    if (closed) return;
    fetch(`/media/${hit.file_id}`, { method: "GET", headers: { range: "bytes=0-0" } }).then(
      (answer) => frame.replaceChildren(instead(hit, answer.ok
        ? `This browser cannot play the format of ${hit.title}.`
        : "The video is no longer where it was indexed. It may have been moved or deleted.")),
      () => page.progress.away());
  });

  /** The other moments of this file that match the same query. */
  async function moments() {
    if (!searching(page) || !duration) return;
    try {
      const state = { ...page.state, file_id: String(hit.file_id), kinds: [], sort: /** @type {const} */ ("relevance") };
      const { hits } = await api.search(state, { k: 60, offset: 0 });
      if (closed) return;
      const others = hits.filter((one) => one.relevant && one.chunk_id !== hit.chunk_id);
      draw([...others, hit]);
    } catch (error) {
      page.sorry(error);
    }
  }

  // the fragment lets the browser ask for the bytes at the second without waiting for a script
  video.src = `/media/${hit.file_id}#t=${start}`;
  return {
    element: frame,
    foot,
    key(event) {
      if (event.key === " " && event.target !== video) {
        if (video.paused) seekless();
        else video.pause();
        return true;
      }
      return false;
    },
    close() {
      closed = true;
      video.pause();
      video.removeAttribute("src");
      video.load(); // lets go of the connection: a browser has six for us
    },
  };
}
