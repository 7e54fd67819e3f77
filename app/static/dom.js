// Builders of elements: `h` for any element, `icon` for a drawing, `iconButton` for a button with a drawing. Text is
// never markup, so a file called "<img onerror=…>" is shown by its name. Knows nothing of what is built.

/**
 * An element with classes, properties, attributes, `on…` listeners and children. A button has the type "button" by
 * default, a list the role "list", which a browser drops with its bullets.
 * @template {string} T
 * @param {T} tag the name and classes: `p.quiet`
 * @param {Props | Child | (Child | Child[])[]} [props] `on…` listeners, DOM properties; all others are attributes; or the
 *   first child
 * @param {...(Child | (Child | Child[])[])} children
 * @returns {ElementOf<T>}
 */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (name === "button") element.setAttribute("type", "button");
  if (name === "ul" || name === "ol") element.setAttribute("role", "list");
  if (classes.length) element.className = classes.join(" ");
  const first = typeof props !== "object" || props instanceof Node || Array.isArray(props);
  for (const [name, value] of Object.entries((!first && props) || {})) {
    const stated = name.startsWith("aria-"); // "false" is a state of its own
    if (value === null || value === undefined || (value === false && !stated)) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "style") element.style.cssText = value;
    else if (name === "value" || name === "hidden" || name === "muted") /** @type {any} */ (element)[name] = value;
    else element.setAttribute(name, value === true && !stated ? "" : String(value));
  }
  for (const child of [first ? props : null, ...children].flat(2)) {
    if (child !== null && child !== undefined && child !== false) element.append(/** @type {Node | string} */ (child));
  }
  return /** @type {any} */ (element);
}

/** Listen to events. @param {EventTarget} target @param {Acts} acts @param {AddEventListenerOptions} [how] */
export function on(target, acts, how) {
  for (const [name, act] of Object.entries(acts)) target.addEventListener(name, /** @type {any} */ (act), how);
}

/** How far along an element a click is, from 0 to 1. @param {Element} element @param {MouseEvent} event */
export function part(element, { clientX }) {
  const { left, width } = element.getBoundingClientRect();
  return (clientX - left) / width;
}

/** The nearest element around the target of an event that fits. @param {Event} event @param {string} selector */
export function around(event, selector) {
  return /** @type {Element} */ (event.target).closest?.(selector) ?? null;
}

/** Words for screen readers alone. @param {Child} words */
export function unseen(words) {
  return h("span.unseen", words);
}

/**
 * A button with a drawing. `name` is its accessible name, and its title unless `props` has one.
 * @param {Picture} picture
 * @param {string} name
 * @param {Act} act
 * @param {Props} [props]
 */
export function iconButton(picture, name, act, props) {
  return h("button.plain", { "aria-label": name, title: name, onclick: act, ...props }, icon(picture));
}

/** A button of words. @param {Child | Child[]} words @param {Act} act @param {Props} [props] */
export function button(words, act, props) {
  return h("button.secondary", { onclick: act, ...props }, words);
}

/** Fields and a button that sends them. @param {Child[]} fields @param {string} word @param {Act} act */
export function form(fields, word, act) {
  return h("form.add", { onsubmit: takeOver(act) }, fields, h("button.main", { type: "submit" }, word));
}

/**
 * A dialog with a title; a click beside it closes it too.
 * @param {string} id of the title
 * @param {Child} title
 * @param {Child[]} children
 * @param {string} [name] a further class
 */
export function sheet(id, title, children, name = "") {
  const dialog = h("dialog", { class: `sheet-dialog ${name}`, "aria-labelledby": id, closedby: "any" }, [
    h(
      "div.dialog-bar",
      h("h2", { id }, title),
      iconButton("close", "Close", () => dialog.close()),
    ),
    ...children,
    h("div.notices", { role: "status" }),
  ]);
  return dialog;
}

/** A sheet that asks for a name, above what else it shows; `act` gets the name.
 * @param {string} id @param {Child} title @param {string} word of the button @param {string} label of the field
 * @param {(name: string) => void} act @param {Child[]} [rest] */
export function nameSheet(id, title, word, label, act, rest = []) {
  const field = h("input", { type: "text", maxlength: 100, autocomplete: "off", "aria-label": label });
  const take = () => {
    const name = field.value.trim();
    if (name) act(name);
    else field.focus();
  };
  const dialog = sheet(id, title, [form([field], word, take), ...rest]);
  const open = (name = "") => {
    field.value = name;
    dialog.showModal();
    field.focus();
    field.select();
  };
  return { dialog, open };
}

/** Ask at the first click of a button, act at the second one; a question without an answer is withdrawn.
 * @param {HTMLButtonElement} button @param {string} question @param {Act} act */
export function askTwice(button, question, act) {
  const [words, label] = [button.textContent, button.ariaLabel ?? ""];
  const ask = (/** @type {boolean} */ sure) => {
    button.classList.toggle("sure", sure);
    button.textContent = sure ? question : words;
    button.ariaLabel = sure ? question : label;
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

/** A listener that acts instead of the browser, except for clicks that open a new tab or window. @param {Act} act */
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

/** A line drawing: a symbol of icons.svg, which the page holds. @param {Picture} name */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, [svg("use", { href: `#${name}` })]);
}

/** An element of a drawing. @param {string} tag @param {Record<string, string>} attributes @param {Node[]} [children] */
export function svg(tag, attributes, children = []) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** For a file that cannot be shown: its thumbnail, a sentence and a download. @param {Hit} hit @param {string} sentence */
export function instead(hit, sentence) {
  return h("div.instead", [
    h("img", { src: hit.thumb_url, alt: "" }),
    h("p", sentence),
    h("a", { href: `/media/${hit.file_id}?download=1`, class: "secondary", download: "" }, "Download it"),
  ]);
}
