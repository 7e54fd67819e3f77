// Controls for a video that comes in stretches: the browser's own controls would show one stretch only. They know the
// video by its length, its position, how to seek in it, and its current cue.

import { h, icon, iconButton, on } from "./dom.js";
import { clock } from "./format.js";

/**
 * @param {HTMLVideoElement} video
 * @param {HTMLElement} frame what fills the screen
 * @param {WholeFilm} whole
 */
export function controls(video, frame, whole) {
  const toggle = () => (video.paused ? whole.seek(whole.now()) : video.pause());
  const full = () => (document.fullscreenElement ? document.exitFullscreen() : frame.requestFullscreen());
  const play = iconButton("pause", "Pause", toggle);
  const mute = () => (video.muted = !video.muted);
  const sound = iconButton("sound", "Mute", mute);
  const position = h("input", {
    type: "range",
    min: 0,
    step: 1,
    value: "0",
    "aria-label": "Position",
    oninput() {
      dragging = true;
      tell(Number(position.value));
    },
    onchange() {
      dragging = false;
      whole.seek(Number(position.value));
    },
  });
  const time = h("span.time");
  const caption = h("p.caption", { dir: "auto" });
  const toggleCaptions = () => {
    captions.ariaPressed = `${captions.ariaPressed !== "true"}`;
    draw();
  };
  const captions = iconButton("subtitles", "Subtitles", toggleCaptions, { "aria-pressed": false });
  const element = h("div.controls", [play, position, time, sound, captions, iconButton("full", "Full screen", full)]);
  let dragging = false;
  /** @param {number} second */
  const tell = (second) => {
    const words = `${clock(second)} of ${clock(whole.length())}`;
    time.textContent = words.replace(" of ", " / ");
    position.ariaValueText = words;
  };
  const draw = () => {
    become(play, video.paused ? "play" : "pause", video.paused ? "Play" : "Pause");
    become(sound, video.muted ? "mute" : "sound", video.muted ? "Sound on" : "Mute");
    frame.classList.toggle("paused", video.paused);
    const words = whole.said();
    captions.hidden = words === null;
    caption.textContent = captions.ariaPressed === "true" ? words : "";
    if (dragging) return;
    position.max = String(Math.floor(whole.length()));
    position.value = String(whole.now());
    tell(whole.now());
  };
  on(video, { click: toggle, play: draw, playing: draw, pause: draw, timeupdate: draw, volumechange: draw });
  draw();
  frame.append(caption);
  return element;
}

/** @param {HTMLButtonElement} it @param {Picture} picture @param {string} name */
function become(it, picture, name) {
  if (it.dataset.icon === picture) return;
  it.dataset.icon = picture;
  it.title = name;
  it.ariaLabel = name;
  it.replaceChildren(icon(picture));
}
