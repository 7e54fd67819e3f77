// A page that was served before Gradio was imported takes Gradio in when it is ready, without a reload: its
// scripts are put into this document, and Gradio then calls `adopt` (app.js) when it has made room.

/**
 * Wait for the status to say that Gradio is there; then take it in.
 * @param {import("./app.js").Page} page
 */
export function keepUp(page) {
  if (document.querySelector("gradio-app")) return;
  const know = page.know.bind(page);
  page.know = (status) => {
    know(status);
    if (!status.gradio) return;
    page.know = know;
    takeIn().catch((error) =>
      console.warn("Gradio could not be taken in; reload the page for its settings view", error),
    );
  };
}

async function takeIn() {
  const answer = await fetch("/");
  const incoming = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!incoming.querySelector("gradio-app")) return;
  const nonce = /** @type {HTMLElement | null} */ (document.querySelector("script[nonce]"))?.nonce ?? "";
  const ours = new Set([...document.querySelectorAll("script[src]")].map((script) => script.getAttribute("src")));
  const base = document.createElement("base");
  base.href = "./";
  document.head.append(base);
  for (const link of incoming.querySelectorAll("link[rel=stylesheet]")) {
    if (!link.getAttribute("href")?.startsWith("/ui/")) document.head.append(document.importNode(link, true));
  }
  for (const style of incoming.querySelectorAll("head style")) document.head.append(document.importNode(style, true));
  const home = /** @type {HTMLElement} */ (incoming.querySelector("gradio-app"));
  document.body.append(document.importNode(home, true));
  for (const script of incoming.querySelectorAll("script")) {
    if (ours.has(script.getAttribute("src"))) continue;
    const made = document.createElement("script"); // a parsed script does not run; one made here does
    for (const { name, value } of script.attributes) if (name !== "nonce") made.setAttribute(name, value);
    made.nonce = nonce;
    made.textContent = script.textContent;
    document.head.append(made);
  }
}
