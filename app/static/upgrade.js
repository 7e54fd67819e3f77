// A page served before Gradio was imported takes Gradio in when it is ready, without a reload: Gradio's scripts are
// put into this document, and Gradio calls `adopt` (app.js).

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
  const nonce = document.querySelector("script[nonce]")?.nonce ?? "";
  const markup = (await answer.text()).replaceAll(/ nonce="[^"]*"/g, ` nonce="${nonce}"`);
  const incoming = document.createRange().createContextualFragment(markup); // unlike those of a parser, its scripts run
  const ours = "[src^='/ui/'], [href^='/ui/'], #sightline, title, meta, link:not([rel=stylesheet])";
  for (const element of incoming.querySelectorAll(ours)) element.remove();
  document.body.append(incoming);
}
