// One card of the grid: picture, place, name, folder or snippet, and how good the match is. A video card plays its
// moment muted under the pointer. CSS alone justifies the grid: a card grows in proportion to its picture, so the
// pictures of a row are equally high.

import { closerLook } from "./closer-look.js";
import { h, icon, iconButton, on, takeOver, unseen } from "./dom.js";
import { clock, counted, dayTaken, KIND_NAMES, marked, nearFolder, place, said } from "./format.js";
import { beginning, cool, warm } from "./warm.js";

/** Bounds of a card's width over its height: a panorama or a till receipt must not dominate its row. */
const [NARROWEST, WIDEST] = [0.72, 2.2];
/** A picture far beyond them is shown whole: its middle alone says little. */
const FAR = 1.3;

/** A picture's width over its height. @param {Hit} hit */
function ratio(hit) {
  return hit.width && hit.height ? hit.width / hit.height : hit.kind === "pdf" ? 0.77 : 1.5;
}

/** The same within bounds, as it is shown. @param {Hit} hit */
export function shape(hit) {
  return Math.min(WIDEST, Math.max(NARROWEST, ratio(hit)));
}

/** How good a match is compared with the best one, from 0 to 3. @param {Hit} hit @param {number} best */
export function strength(hit, best) {
  if (!hit.relevant) return 0;
  const part = best > 0 ? hit.score / best : 0;
  return part > 0.8 ? 3 : part > 0.5 ? 2 : 1;
}

/** @param {number} level from `strength` @param {Props} props @param {Child} [words] */
export function strengthDots(level, props, words) {
  return h("span", { class: `strength s${level}`, ...props }, h("i"), h("i"), h("i"), words);
}

export const STRENGTHS = ["less likely", "possible match", "good match", "strong match"];

/** @param {Hit} hit @param {CardHow} how */
export function card(hit, { best, ranked, results }) {
  const where = place(hit);
  const level = strength(hit, best);
  const onerror = () => picture.replaceWith(h("span.nothing", icon(hit.kind)));
  const how = { loading: "lazy", decoding: "async", draggable: "false", onerror };
  const picture = h("img", { src: hit.thumb_url, alt: "", ...how });
  const natural = ratio(hit);
  const whole = natural > FAR * WIDEST || natural * FAR < NARROWEST ? " whole" : "";
  const heard = said(hit) && " heard";
  const frame = h("div", { class: `picture ${hit.kind}${whole}${heard}` }, [
    picture,
    h("span.kind", icon(hit.kind), unseen(KIND_NAMES[hit.kind])),
    where ? h("span.place", h("span.span", where), spoken(hit)) : null,
  ]);
  const more = hit.folded ? h("span.more", { title: moreInside(hit) }, `+${hit.folded}`) : null;
  const title = STRENGTHS[level];
  const dots = ranked && strengthDots(level, { title }, unseen(title));
  const heart = hit.favourite ? h("span.heart", { title: "Favourite" }, icon("heart"), unseen("favourite")) : null;
  const when = hit.taken ? ` · ${dayTaken(hit)}` : "";
  const under = hit.snippet
    ? h("span.snippet", { dir: "auto" }, marked(hit.snippet))
    : h("span.folder", { title: hit.path }, h("bdi", nearFolder(hit.path)), when);
  const look = () => closerLook(hit, results.page.state).catch(() => null);
  const played = hit.kind === "video" && preview(frame, hit, look);
  const link = h("a", { href: hit.open_url, class: "open", onclick: takeOver(() => results.open(hit)), ...played }, [
    frame,
    h("span.line", h("bdi.title", { title: hit.title }, hit.title), heart, more, dots),
    under,
  ]);
  const similar = iconButton("similar", `Find similar to ${hit.title}`, () => results.similar(hit.chunk_id), {
    class: "quick",
    title: "Find similar",
  });
  const props = { class: "pick", role: "checkbox", "aria-checked": "false", tabindex: "-1", title: "Select (x)" };
  const pick = h("button", { ...props, "aria-label": `Select ${hit.title}` }, icon("check"));
  return h(
    "li.card",
    { style: `--ratio:${shape(hit)}`, "data-chunk": hit.chunk_id, "data-kind": hit.kind },
    link,
    pick,
    similar,
  );
}

/** What stands under the card of a folded answer. @param {Hit} hit */
function moreInside(hit) {
  const what = hit.kind === "video" ? "moment" : "page";
  return `${counted(hit.folded, `more ${what}`)} in this ${hit.kind === "video" ? "video" : "document"}`;
}

/** The second at which the words are said, with an icon. @param {Hit} hit */
function spoken(hit) {
  const words = said(hit);
  if (!words) return null;
  const second = h("span", { "aria-hidden": "true" }, clock(hit.at_s ?? 0));
  return h("span.spoken", { title: words }, icon("said"), second, unseen(words));
}

/** Milliseconds that the pointer rests on a card before its preview loads. */
const PREVIEW_AFTER = 100;
/** A preview has at least so many seconds, so that words at the end of a window are played to their end. */
const PREVIEW_S = 6;

/** Listeners of a card's link that play the moment while the pointer rests there, and load the video at once when it is
 * pressed. @param {HTMLElement} frame @param {Hit} hit @param {Act} look @returns {Listeners} */
function preview(frame, hit, look) {
  let timer = 0;
  const stop = () => {
    clearTimeout(timer);
    cool(hit);
  };
  const start = () => {
    look();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const from = beginning(hit);
    const to = Math.max(hit.end_s ?? from + 30, from + PREVIEW_S);
    const { video, signal } = warm(hit);
    const begin = () => {
      if (Math.abs(video.currentTime - from) > 0.05) video.currentTime = from;
    };
    const loop = () => {
      if (video.currentTime >= Math.min(to, video.duration)) video.currentTime = from;
    };
    video.className = "preview";
    video.ariaHidden = "true";
    video.tabIndex = -1;
    on(
      video,
      { timeupdate: loop, playing: () => video.classList.add("on"), error: stop, loadedmetadata: begin },
      { signal },
    );
    if (video.readyState) begin();
    frame.append(video);
    video.play().catch(() => {}); // removed before it began, or a codec that this browser lacks: the picture stays
  };
  const load = () => {
    warm(hit);
    look();
  };
  return {
    onpointerenter({ pointerType }) {
      if (pointerType !== "mouse") return;
      stop(); // a card that is redrawn under a resting pointer gets a second event
      timer = window.setTimeout(start, PREVIEW_AFTER);
    },
    onpointerdown: ({ button }) => button || load(),
    onpointerleave: ({ pointerType }) => pointerType === "mouse" && stop(), // touch: "leave" comes before the click
    onpointercancel: stop,
    onfocus(event) {
      const link = /** @type {Element} */ (event.currentTarget);
      timer = window.setTimeout(() => link.matches(":focus-visible") && load(), 2 * PREVIEW_AFTER);
    },
    onblur: stop,
  };
}
