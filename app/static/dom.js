// Builders of elements: `h` for any element, `icon` for a drawing, `iconButton` for a button with a drawing. Text is
// never markup, so a file called "<img onerror=…>" is shown by its name. Knows nothing of what is built.

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * An element with properties, attributes, `on…` listeners and children. A button has the type "button" by default.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Props} [props] `class`, `on…` listeners, DOM properties; all others are attributes
 * @param {...(Child | (Child | Child[])[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  if (tag === "button") element.setAttribute("type", "button");
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "style") element.style.cssText = value;
    else if (name === "value" || name === "hidden" || name === "muted") /** @type {any} */ (element)[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, String(value));
  }
  for (const child of children.flat(2)) {
    if (child !== null && child !== undefined && child !== false)
      element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/**
 * A button with a drawing. `name` is its accessible name, and its title unless `props` has one.
 * @param {Picture} picture
 * @param {string} name
 * @param {() => void} act
 * @param {Props} [props]
 */
export function iconButton(picture, name, act, props) {
  return h("button", { class: "plain", "aria-label": name, title: name, onclick: act, ...props }, icon(picture));
}

/**
 * A dialog with a title; a click beside it closes it too.
 * @param {string} id of the title
 * @param {Child} title
 * @param {Child[]} children
 * @param {string} [name] a further class
 */
export function sheet(id, title, children, name = "") {
  const dialog = h("dialog", { class: `sheet-dialog ${name}`, "aria-labelledby": id }, [
    h("div", { class: "dialog-bar" }, [h("h2", { id }, title), iconButton("close", "Close", () => dialog.close())]),
    ...children,
    h("div", { class: "notices", role: "status" }),
  ]);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return dialog;
}

/** Ask at the first click of a button, act at the second one; a question without an answer is withdrawn.
 * @param {HTMLButtonElement} button @param {string} question @param {() => void} act */
export function askTwice(button, question, act) {
  const [words, label] = [button.textContent, button.getAttribute("aria-label") ?? ""];
  const ask = (/** @type {boolean} */ sure) => {
    button.classList.toggle("sure", sure);
    button.textContent = sure ? question : words;
    button.setAttribute("aria-label", sure ? question : label);
  };
  button.addEventListener("click", () => {
    if (button.classList.contains("sure")) {
      ask(false);
      return act();
    }
    ask(true);
    setTimeout(() => ask(false), 5000);
  });
  return button;
}

/** A listener that acts instead of the browser, except for clicks that open a new tab or window. @param {() => void} act */
export function takeOver(act) {
  return (/** @type {Event & Partial<MouseEvent>} */ event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    act();
  };
}

/**
 * Replace the children of an element by those of another, and reuse nodes where possible: focus, an open menu and a
 * click in progress survive. A reused node has its old listeners, so put listeners on a parent.
 * @param {Element} element
 * @param {Element} fresh loses its children
 */
export function morph(element, fresh) {
  const nodes = [...fresh.childNodes];
  nodes.forEach((node, n) => {
    const old = element.childNodes[n];
    if (!old) element.append(node);
    else if (old.isEqualNode(node)) copyValue(old, node);
    else if (
      old instanceof Element &&
      node instanceof Element &&
      old.nodeName === node.nodeName &&
      old.getAttribute("data-key") === node.getAttribute("data-key")
    ) {
      for (const { name } of [...old.attributes])
        if (!node.hasAttribute(name) && name !== "open") old.removeAttribute(name);
      for (const { name, value } of node.attributes) old.setAttribute(name, value);
      copyValue(old, node);
      morph(old, node);
    } else old.replaceWith(node);
  });
  while (element.childNodes.length > nodes.length) element.lastChild?.remove();
}

/** Copy the value of a field, which is no attribute. @param {Node} old @param {Node} node */
function copyValue(old, node) {
  if (old instanceof HTMLInputElement && node instanceof HTMLInputElement && old.value !== node.value)
    old.value = node.value;
}

/**
 * Make `items` the children of a list, in this order; nodes that are in order are not moved.
 * @param {Element} list
 * @param {Element[]} items
 */
export function arrange(list, items) {
  const remaining = new Set(items);
  for (const child of [...list.children]) if (!remaining.has(child)) child.remove();
  let at = list.firstElementChild;
  for (const item of items) {
    if (item === at) at = at.nextElementSibling;
    else list.insertBefore(item, at);
  }
}

export const PATHS = {
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 20 20",
  close: "M6 6l12 12M18 6 6 18",
  add: "M12 5v14M5 12h14",
  left: "M14.5 5 8 12l6.5 7",
  right: "M9.5 5 16 12l-6.5 7",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  video: "M4 6h11v12H4zM15 10.5 20 8v8l-5-2.5",
  pdf: "M7 3h7l4 4v14H7zM14 3v4h4M10 12h5M10 15.5h5",
  folder: "M3 6h6l2 2h10v11H3z",
  similar: "M4 4h9v9H4zM11 16v4h9v-9h-4",
  inside: "M7 3h7l4 4v5M14 3v4h4M7 3v18h4M16 14a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM18.2 19.2 21 22",
  copy: "M8 8h11v12H8zM5 16V4h11",
  download: "M12 4v11M7.5 11 12 15.5 16.5 11M5 20h14",
  cut: "M6 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5ZM6 13.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5ZM8 9.5 20 17M8 14.5 20 7",
  plus: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 20 20M10.5 8v5M8 10.5h5",
  remove: "M5 12h14",
  minus: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 20 20M8 10.5h5",
  layers: "M12 4 3 9l9 5 9-5ZM3 14l9 5 9-5",
  avoid: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM6.5 6.5l11 11",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M17.5 3.5v4h-4",
  sort: "M7 5v14M4 16l3 3 3-3M13 7h8M13 12h6M13 17h4",
  date: "M4 6h16v14H4zM4 10h16M8 3.5V7M16 3.5V7",
  length: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM12 8v4.5l3 2",
  label: "M4 4h8l8 8-8 8-8-8zM8 8h.01",
  play: "M8 5l11 7-11 7z",
  pause: "M8.5 5v14M15.5 5v14",
  sound: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4.2 4.2 0 0 1 0 6",
  mute: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 10l4 4M19.5 10l-4 4",
  said: "M4 5h16v11h-8.5L7 20v-4H4zM8 9h8M8 12.3h5",
  subtitles: "M4 5.5h16v13H4zM7.5 15h5M15.5 15h1M7.5 11.5h2M12.5 11.5h4",
  down: "M6 9.5l6 6 6-6",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  place: "M12 21c-4-5-6-8-6-11a6 6 0 0 1 12 0c0 3-2 6-6 11ZM12 8a2 2 0 1 0 0 4 2 2 0 0 0 0-4Z",
  globe: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM4 12h16M12 4c-5 5-5 11 0 16 5-5 5-11 0-16Z",
  camera: "M4 8h4l1.5-2.5h5L16 8h4v11H4zM12 10a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6Z",
  info: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM12 11v5M12 8h.01",
  saved: "M7 4h10v16l-5-4-5 4z",
  help: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM9.7 9.7a2.4 2.4 0 1 1 3.4 2.2c-.8.4-1.1.9-1.1 1.7M12 16.2h.01",
  heart: "M12 20 4.6 12.4a4.6 4.6 0 0 1 6.5-6.5l.9.9.9-.9a4.6 4.6 0 0 1 6.5 6.5Z",
  check: "M5 12.5 10 17.5 19 7.5",
  pile: "M4 9h16v11H4zM6.5 6h11M9 3h6",
  table: "M4 5h16v14H4zM4 10h16M4 14.5h16M10 10v9",
  open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
};

/** A line drawing. @param {Picture} name */
export function icon(name) {
  const svg = drawing("0 0 24 24", [PATHS[name]]);
  svg.setAttribute("class", "icon");
  return svg;
}

/** A drawing of paths, hidden from screen readers: a text beside it says the same.
 * @param {string} box @param {string[]} paths @param {string} [transform] */
export function drawing(box, paths, transform = "") {
  const make = (/** @type {"svg" | "path"} */ tag, /** @type {Record<string, string>} */ attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const svg = make("svg", { viewBox: box, "aria-hidden": "true" });
  svg.append(...paths.map((d) => make("path", { d, transform })));
  return svg;
}

/** For a file that cannot be shown: its thumbnail, a sentence and a download. @param {Hit} hit @param {string} sentence */
export function instead(hit, sentence) {
  return h("div", { class: "instead" }, [
    h("img", { src: hit.thumb_url, alt: "" }),
    h("p", {}, sentence),
    h("a", { href: `/media/${hit.file_id}?download=1`, class: "secondary", download: "" }, "Download it"),
  ]);
}
