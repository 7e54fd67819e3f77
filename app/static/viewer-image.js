// An image: whole at first; zoomed by wheel, double click, pinch, buttons or + - 0, and moved by dragging.

import { button, h, icon, iconButton, instead, on } from "./dom.js";

const WEB = /\.(jpe?g|png|webp|gif|bmp|avif)$/i;
const DEEPEST = 12;
/** How far a small image is enlarged to fill the room; one no larger than an icon further, its pixels left square. */
const [ENLARGED, TINY, TINY_ENLARGED] = [3, 64, 8];

/** @param {Page} _page @param {Hit} hit @returns {Stage} */
export function showImage(_page, hit) {
  let [scale, x, y] = [1, 0, 0];
  const src = WEB.test(hit.path) ? `/media/${hit.file_id}` : `/view/${hit.file_id}.webp`;
  const picture = h("img", { alt: hit.title, draggable: "false", src });
  const frame = h("div.image", { tabindex: "-1" }, picture);
  picture.addEventListener("error", () => {
    if (picture.src.includes("/media/")) picture.src = `/view/${hit.file_id}.webp`;
    else frame.replaceChildren(instead(hit, "The image can no longer be read. It may have been moved or deleted."));
  });
  const size = (/** @type {number} */ width, /** @type {number} */ height) => {
    const tiny = Math.max(width, height) <= TINY;
    picture.classList.toggle("tiny", tiny);
    picture.style.width = `min(100cqw, ${(100 * width) / height}cqh, ${width * (tiny ? TINY_ENLARGED : ENLARGED)}px)`;
  };
  if (hit.width && hit.height) size(hit.width, hit.height);
  picture.addEventListener("load", () => {
    size(picture.naturalWidth, picture.naturalHeight);
    picture.classList.add("drawn");
  });
  const place = () => {
    if (scale === 1) [x, y] = [0, 0];
    picture.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    frame.classList.toggle("zoomed", scale > 1);
    out.disabled = scale <= 1;
  };
  /** @param {number} by @param {number} [cx] @param {number} [cy] where to zoom to, from the middle */
  const zoom = (by, cx = 0, cy = 0) => {
    const next = Math.min(DEEPEST, Math.max(1, scale * by));
    [x, y] = [cx - (cx - x) * (next / scale), cy - (cy - y) * (next / scale)];
    scale = next;
    place();
  };
  /** @param {MouseEvent} event @returns {[number, number]} */
  const fromMiddle = (event) => {
    const box = frame.getBoundingClientRect();
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  };
  const wheel = (/** @type {WheelEvent} */ event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...fromMiddle(event));
  };
  /** @type {Map<number, PointerEvent>} */
  const fingers = new Map();
  on(frame, { wheel }, { passive: false });
  on(frame, {
    dblclick: (event) => (scale > 1 ? zoom(0) : zoom(3, ...fromMiddle(event))),
    pointerdown(event) {
      frame.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event);
    },
    pointermove(event) {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      if (fingers.size === 2) {
        const { clientX, clientY } = [...fingers.values()].find((one) => one.pointerId !== event.pointerId) ?? event;
        const apart = (/** @type {PointerEvent} */ a) => Math.hypot(a.clientX - clientX, a.clientY - clientY);
        zoom(apart(event) / Math.max(1, apart(before)), ...fromMiddle(event));
      } else if (scale > 1) {
        [x, y] = [x + event.clientX - before.clientX, y + event.clientY - before.clientY];
        place();
      }
      fingers.set(event.pointerId, event);
    },
    lostpointercapture: ({ pointerId }) => fingers.delete(pointerId),
  });
  const out = iconButton("minus", "Zoom out (-)", () => zoom(1 / 1.5));
  const foot = h("div.zoom", [out, iconButton("plus", "Zoom in (+)", () => zoom(1.5))]);
  /** The film of a live photo over its picture, once through. */
  const play = () => {
    const over = () => film.remove();
    const how = { autoplay: true, playsinline: true, onended: over, onerror: over };
    const film = h("video.live", { src: `/live/${hit.file_id}.mp4`, ...how });
    frame.querySelector("video")?.remove();
    frame.append(film);
  };
  if (hit.live) foot.append(button([icon("play"), "Play"], play));
  place();
  return {
    element: frame,
    foot,
    key(event) {
      if (event.key === "+" || event.key === "=") zoom(1.5);
      else if (event.key === "-") zoom(1 / 1.5);
      else if (event.key === "0") zoom(0);
      else return false;
      return true;
    },
  };
}
