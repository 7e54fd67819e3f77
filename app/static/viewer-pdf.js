// A page of a PDF or a TIFF: its image, marks on the words of the query, and a layer of selectable text.

import { api } from "./api.js";
import { h, iconButton, instead, on } from "./dom.js";

/** The text layer's font need not be the page's: each word is stretched to its box. */
const FONT = "sans-serif";

/** @param {Page} page @param {Hit} hit @returns {Stage} */
export function showPage(page, hit) {
  let [n, pages, closed] = [hit.page ?? 1, hit.pages ?? 0, false];
  const picture = h("img", { alt: "", draggable: "false" });
  const layer = h("div.text");
  const marks = h("div.marks", { "aria-hidden": "true" });
  const sheet = h("div.sheet-of-paper", picture, marks, layer);
  const frame = h("div.pdf", { tabindex: "0", role: "document", "aria-label": "Page" }, sheet);
  const where = h("span.where", { role: "status" });
  const back = iconButton("left", "Previous page (Page Up)", () => go(n - 1));
  const next = iconButton("right", "Next page (Page Down)", () => go(n + 1));
  const foot = h("div.pages", back, where, next);

  on(picture, {
    load() {
      drawn = true;
      sheet.style.aspectRatio = `${picture.naturalWidth} / ${picture.naturalHeight}`;
      sheet.classList.add("drawn");
      fit();
      if (pages > n) new Image().src = source(n + 1);
    },
    error() {
      if (closed || !picture.getAttribute("src")) return;
      frame.replaceChildren(instead(hit, "This page can no longer be read. The file may have been moved or deleted."));
    },
  });

  /** @param {number} which */
  const source = (which) => {
    const side = Math.max(frame.clientWidth, 600) * 1.4 * Math.min(2, devicePixelRatio);
    return `/page/${hit.file_id}/${which}.webp?width=${side > 1300 ? 1920 : 1280}`;
  };

  /** @type {PageLayer | null} */
  let known = null;
  let drawn = false;
  /** Words and marks onto the page, once both the picture and the words are here: once, as a selection would not
   * outlive a second time. */
  const fit = () => {
    if (!known || !drawn) return;
    const shape = picture.naturalWidth / picture.naturalHeight;
    layer.replaceChildren(...spans(known, shape));
    marks.replaceChildren(...known.marks.map(([x0, y0, x1, y1]) => h("i", { style: box(x0, y0, x1, y1) })));
    const first = marks.querySelector("i");
    if (first && first.offsetTop > frame.clientHeight * 0.8)
      frame.scrollTop = first.offsetTop - frame.clientHeight * 0.3;
    frame.ariaLabel = `Page ${n} of ${hit.title}`;
  };

  /** @param {number} which */
  async function go(which) {
    if (which < 1 || (pages && which > pages)) return;
    n = which;
    known = null;
    drawn = false;
    layer.replaceChildren();
    marks.replaceChildren();
    sheet.classList.remove("drawn");
    picture.src = source(n);
    frame.scrollTop = 0;
    sheet.dataset.page = String(n);
    label();
    await page.attempt(async () => {
      const answer = await api.pageLayer(hit.file_id, n, page.state.q);
      if (closed || n !== which) return;
      [known, pages] = [answer, answer.pages];
      label();
      fit();
    });
  }

  function label() {
    const inside = known?.inside ? `: ${known.inside}` : "";
    where.textContent = (pages ? `Page ${n} of ${pages}` : `Page ${n}`) + inside;
    back.disabled = n <= 1;
    next.disabled = pages > 0 && n >= pages;
  }

  requestAnimationFrame(() => go(n));
  return {
    element: frame,
    foot,
    key(event) {
      if (event.key === "PageDown") go(n + 1);
      else if (event.key === "PageUp") go(n - 1);
      else return false;
      return true;
    },
    close() {
      closed = true;
    },
  };
}

/** @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 relative to the page */
function box(x0, y0, x1, y1) {
  return `left:${100 * x0}%;top:${100 * y0}%;width:${100 * (x1 - x0)}%;height:${100 * (y1 - y0)}%`;
}

/** A transparent word over each word of the picture. @param {PageLayer} known @param {number} shape width over height of the page */
function spans(known, shape) {
  const ruler = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  ruler.font = `100px ${FONT}`;
  return known.words.flatMap(([x0, y0, x1, y1, word]) => {
    const size = y1 - y0; // of the page's height; the font is as high as its box
    const stretch = (((x1 - x0) * shape) / size) * (100 / Math.max(1, ruler.measureText(word).width));
    const place = `left:${100 * x0}%;top:${100 * y0}%;font-size:${100 * size}cqh`;
    return [h("span", { dir: "auto", style: `${place};transform:scaleX(${stretch.toFixed(4)})` }, word), " "];
  });
}
