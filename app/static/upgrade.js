// A page served before Gradio was imported takes Gradio in when it is ready, without a reload: Gradio's scripts are
// put into this document, and Gradio calls `adopt` (app.js).

import { find } from "./dom.js";

/** Take Gradio in when the status says that it is ready. @param {Page} page */
export function keepUp(page) {
  if (document.querySelector("gradio-app")) return;
  const update = page.update.bind(page);
  page.update = (status) => {
    update(status);
    if (!status.gradio) return;
    page.update = update;
    takeIn().catch((error) =>
      console.warn("Gradio could not be taken in; reload the page for its settings view", error),
    );
  };
}

async function takeIn() {
  const answer = await fetch("/");
  const incoming = new DOMParser().parseFromString(await answer.text(), "text/html");
  const nonce = find(document, "script[nonce]")?.nonce ?? "";
  const present = new Set([...document.querySelectorAll("script[src]")].map((script) => script.getAttribute("src")));
  const base = document.createElement("base");
  base.href = "./";
  document.head.append(base);
  for (const link of incoming.querySelectorAll("link[rel=stylesheet]")) {
    if (!link.getAttribute("href")?.startsWith("/ui/")) document.head.append(document.importNode(link, true));
  }
  for (const style of incoming.querySelectorAll("head style")) document.head.append(document.importNode(style, true));
  const home = find(incoming, "gradio-app");
  if (!home) return;
  document.body.append(document.importNode(home, true));
  for (const script of incoming.querySelectorAll("script")) {
    if (present.has(script.getAttribute("src"))) continue;
    const copy = document.createElement("script"); // a parsed script does not run; a created one does
    for (const { name, value } of script.attributes) if (name !== "nonce") copy.setAttribute(name, value);
    copy.nonce = nonce;
    copy.textContent = script.textContent;
    document.head.append(copy);
  }
}
