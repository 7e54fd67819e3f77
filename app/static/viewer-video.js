// A video that plays from the hit's second, with the other matching moments on its timeline and its cues beside it. A
// format that the browser cannot play (AVI, HEVC …) comes from the server in converted stretches, one after the other.

import { api } from "./api.js";
import { closerLook, strip, worth } from "./closer-look.js";
import { controls } from "./controls.js";
import { around, h, instead, on, part } from "./dom.js";
import { clock, place, said } from "./format.js";
import { asks } from "./state.js";
import { transcript } from "./transcript.js";
import { beginning, take, unload } from "./warm.js";

const STRETCH_S = 20;
/** Milliseconds in which a closer look moves the player. */
const JUMP_WITHIN = 300;
/** A video that does not play by then (milliseconds) is not waited for with the other moments. */
const LOOK_AFTER = 2500;

/** @param {Page} page @param {Hit} hit @returns {Stage} */
export function showVideo(page, hit) {
  let start = beginning(hit);
  const video = take(hit); // loading, or playing in silence, since the pointer came to its card
  video.className = "";
  for (const name of ["aria-hidden", "tabindex"]) video.removeAttribute(name);
  video.ariaLabel = hit.title;
  Object.assign(video, { poster: hit.thumb_url, controls: true, muted: false });
  const wait = h("p.converting", { role: "status", hidden: true }, "Converting it for this browser …");
  const frame = h("div.video", video, wait);
  const head = h("span.head", { "aria-hidden": "true" });
  const onclick = (/** @type {MouseEvent} */ event) => {
    if (!around(event, "button") && duration) seek(duration * part(line, event));
  };
  const line = h("div.line", { onclick }, head);
  const near = worth(hit, page.state) && h("div.near"); // holds its place, so that nothing moves when it comes
  const foot = h("div.timeline", { role: "group", "aria-label": "Matching moments" }, line, near);
  let duration = hit.duration_s ?? 0;
  let closed = false;
  /** Where the stretch that plays begins; null: the file itself plays. @type {number | null} */
  let stretch = null;

  // a browser may refuse sound before the first click on the page; the moment matters more than the sound
  const play = () =>
    video.play().catch(() => {
      video.muted = true;
      video.play().catch(() => {});
    });
  const seek = (/** @type {number} */ second) => {
    if (stretch === null) video.currentTime = second;
    else if (second >= stretch && second < stretch + STRETCH_S) video.currentTime = second - stretch;
    else watch(second);
    play();
  };
  const now = () => (stretch ?? 0) + video.currentTime;
  const lines = transcript(page, hit, {
    seek,
    come: () => {
      // A stretch begins at nought, the file's subtitles at its first second: there `controls` shows the lines itself.
      const src = `/subtitles/${hit.file_id}.vtt`;
      if (stretch === null) video.append(h("track", { kind: "subtitles", label: "What is said", srclang: "und", src }));
      lines.at(video.readyState ? now() : start);
    },
  });
  const film = h("div.film", frame, lines.element);
  lines.holds(film);
  /** Play from a second on what the server converts. @param {number} second */
  const watch = (second) => {
    const number = Math.floor(second / STRETCH_S);
    if (stretch === null) {
      video.controls = false; // they would show the stretch for the whole
      video.querySelector("track")?.remove();
      frame.append(controls(video, frame, { length: () => duration, now, seek, said: () => lines.words(now()) }));
    }
    stretch = number * STRETCH_S;
    wait.hidden = false;
    video.src = `/play/${hit.file_id}/${number}.mp4#t=${second - stretch}`;
  };
  const draw = (/** @type {Hit[]} */ hits) => {
    line.replaceChildren(...hits.map(mark), head);
  };
  const mark = (/** @type {Hit} */ one) => {
    const [from, to] = [one.start_s ?? 0, one.end_s ?? duration];
    const own = one.chunk_id === hit.chunk_id;
    const name = [own ? "This moment" : "Moment", place(one), said(one)];
    return h("button", {
      class: own ? "moment this" : "moment",
      "aria-label": name.filter(Boolean).join(", "),
      title: place(one),
      style: `left:${(100 * from) / duration}%;width:${Math.max(0.8, (100 * (to - from)) / duration)}%`,
      onclick: () => seek(beginning(one)),
    });
  };
  const opened = () => {
    if (stretch !== null) return void play();
    if (!video.videoWidth && hit.width) return watch(start); // only its sound can be played
    if (Number.isFinite(video.duration)) duration = video.duration;
    if (Math.abs(video.currentTime - start) > 0.05) video.currentTime = Math.min(start, Math.max(0, duration - 0.1));
    begin();
  };
  on(video, {
    loadedmetadata: opened,
    playing() {
      wait.hidden = true;
      look();
      const next = stretch === null ? Infinity : stretch / STRETCH_S + 1;
      if (next * STRETCH_S < duration) touch(`/play/${hit.file_id}/${next}.mp4`).catch(() => {}); // made while this one plays
    },
    ended() {
      if (stretch !== null && stretch + STRETCH_S < duration) seek(stretch + STRETCH_S);
    },
    seeking: () => lines.follow(),
    timeupdate() {
      lines.at(now());
      if (!duration) return;
      head.style.left = `${(100 * now()) / duration}%`;
      head.title = clock(now());
    },
    error() {
      if (closed) return;
      if (stretch === null && video.error?.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED) {
        watch(start);
        return begin();
      }
      const sorry = (/** @type {Response} */ { ok }) => {
        const unplayable = `This browser cannot play the format of ${hit.title}.`;
        const away = "The video is no longer where it was indexed. It may have been moved or deleted.";
        frame.replaceChildren(instead(hit, ok ? unplayable : away));
      };
      touch(`/media/${hit.file_id}`).then(sorry, () => page.progress.away());
    },
  });
  const begin = () => {
    if (duration) draw([hit]);
    play();
    setTimeout(look, LOOK_AFTER);
  };
  let looked = false;
  /** Search in the film for more: not before it plays, as the server would be busy with it. */
  const look = () => {
    if (looked || closed) return;
    looked = true;
    moments();
    if (!near) return;
    const frames = strip(hit, seek);
    near.append(frames.element);
    looking.then((moment) => moment && !closed && frames.mark(moment));
  };

  /** The other moments of this file that match the same query. */
  async function moments() {
    if (!asks(page.state) || !duration) return;
    await page.attempt(async () => {
      const inside = { ...page.state, file_id: String(hit.file_id), kinds: [] };
      const { hits } = await api.search({ ...inside, sort: "relevance", fold: "" }, { k: 60, offset: 0 });
      if (closed) return;
      const others = hits.filter((one) => one.relevant && one.chunk_id !== hit.chunk_id);
      draw([...others, hit]);
    });
  }

  const opening = performance.now();
  // After the lines, as it keeps the server busy.
  const looking = lines.loaded
    .then(() => closerLook(hit, page.state))
    .catch((error) => {
      page.sorry(error);
      return null;
    });
  looking.then(() => {
    if (closed || beginning(hit) <= start || performance.now() - opening > JUMP_WITHIN) return;
    start = beginning(hit);
    if (video.readyState) seek(start);
  });
  if (video.readyState) opened();
  return {
    element: film,
    foot,
    key(event) {
      const at = /** @type {HTMLElement} */ (event.composedPath()[0]);
      if (event.key === " " && !at.matches("video, button, a")) {
        if (video.paused) play();
        else video.pause();
        return true;
      }
      return false;
    },
    close() {
      closed = true;
      lines.close();
      unload(video);
    },
  };
}

/** Ask for the first byte: whether there is any, and so that it is made. @param {string} url */
function touch(url) {
  return fetch(url, { headers: { range: "bytes=0-0" } });
}
