// Play, position, sound and full screen for a film that comes in stretches: the browser's own controls would show the
// stretch for the whole. Knows the film only by its length, where it is, how to go elsewhere, and what is said now.

import { h, icon, iconButton } from "./dom.js";
import { clock } from "./format.js";

/**
 * @param {HTMLVideoElement} video
 * @param {HTMLElement} frame what fills the screen
 * @param {{length: () => number, now: () => number, seek: (second: number) => void, said: () => string | null}} film
 *   in seconds; `said` is null where nobody knows what is said in it
 */
export function controls(video, frame, film) {
  const toggle = () => (video.paused ? film.seek(film.now()) : video.pause());
  const full = () => (document.fullscreenElement ? document.exitFullscreen() : frame.requestFullscreen());
  const play = iconButton("pause", "Pause", toggle, { "data-icon": "pause" });
  const mute = () => (video.muted = !video.muted);
  const sound = iconButton("sound", "Mute", mute, { "data-icon": "sound" });
  const position = h("input", { type: "range", min: 0, step: 1, value: "0", "aria-label": "Position" });
  const time = h("span", { class: "time" });
  const caption = h("p", { class: "caption", dir: "auto" });
  const toggleCaptions = () => {
    captions.setAttribute("aria-pressed", String(captions.getAttribute("aria-pressed") !== "true"));
    draw();
  };
  const captions = iconButton("subtitles", "Subtitles", toggleCaptions, { "aria-pressed": "false" });
  const element = h("div", { class: "controls" }, [
    play,
    position,
    time,
    sound,
    captions,
    iconButton("full", "Full screen", full),
  ]);
  let held = false;
  /** @param {number} second */
  const tell = (second) => {
    const words = `${clock(second)} of ${clock(film.length())}`;
    time.textContent = words.replace(" of ", " / ");
    position.setAttribute("aria-valuetext", words);
  };
  const draw = () => {
    become(play, video.paused ? "play" : "pause", video.paused ? "Play" : "Pause");
    become(sound, video.muted ? "mute" : "sound", video.muted ? "Sound on" : "Mute");
    frame.classList.toggle("paused", video.paused);
    const words = film.said();
    captions.hidden = words === null;
    caption.textContent = captions.getAttribute("aria-pressed") === "true" ? words : "";
    if (held) return;
    position.max = String(Math.floor(film.length()));
    position.value = String(film.now());
    tell(film.now());
  };
  position.addEventListener("input", () => {
    held = true;
    tell(Number(position.value));
  });
  position.addEventListener("change", () => {
    held = false;
    film.seek(Number(position.value));
  });
  video.addEventListener("click", toggle);
  for (const event of ["play", "playing", "pause", "timeupdate", "volumechange"]) video.addEventListener(event, draw);
  draw();
  frame.append(caption);
  return element;
}

/** @param {HTMLButtonElement} it @param {keyof typeof import("./dom.js").PATHS} picture @param {string} name */
function become(it, picture, name) {
  if (it.dataset.icon === picture) return;
  it.dataset.icon = picture;
  it.title = name;
  it.setAttribute("aria-label", name);
  it.replaceChildren(icon(picture));
}
