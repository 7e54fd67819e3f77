// Progress: requests the status (each second while indexing, else every five; never from a hidden tab), draws the bar,
// and notices when the server stops answering or restarts.

import { Away, api } from "./api.js";
import { h, takeOver } from "./dom.js";
import { counted, lasting } from "./format.js";

const [BUSY, IDLE, AWAY] = [1000, 5000, 1500];
const [RETURNED, GOAL] = ["sightline-returned", "sightline-goal"];
const RESTARTED = "Sightline was restarted; this page is connected again.";

export class Progress {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.timer = 0;
    /** Counts the requests. */
    this.request = 0;
    this.boot = "";
    this.isAway = false;
    /** The most files that were to be read; kept, so that the bar goes on after a reload. */
    this.goal = Number(localStorage.getItem(GOAL));
    this.done = h("i");
    this.words = h("span.words");
    const onclick = takeOver(() => page.visit("library"));
    const props = { href: "/?view=library", hidden: true, onclick };
    this.element = h("a.progress", props, h("span.bar", this.done), this.words);
  }

  start() {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.ask();
    });
    if (sessionStorage.getItem(RETURNED)) {
      sessionStorage.removeItem(RETURNED);
      this.page.say(RESTARTED);
    }
    this.ask();
  }

  /** Request the status now, and regularly from then on. */
  async ask() {
    clearTimeout(this.timer);
    let pause = AWAY;
    const request = ++this.request;
    try {
      const status = await api.status();
      if (request !== this.request) return; // there is a newer request
      pause = status.pending || !status.gradio ? BUSY : IDLE;
      this.take(status);
    } catch (error) {
      if (error instanceof Away) this.away();
      else this.page.sorry(error);
    }
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = window.setTimeout(() => this.ask(), pause);
  }

  /** @param {Status} status */
  take(status) {
    const restarted = this.boot !== "" && this.boot !== status.boot;
    const returned = this.isAway || restarted;
    this.boot = status.boot;
    this.isAway = false;
    this.draw(status);
    this.page.update(status);
    if (!returned) return;
    const busy = this.page.viewer.open || this.page.state.parts.some((part) => part.file);
    if (restarted && !busy && document.querySelector("gradio-app")) {
      sessionStorage.setItem(RETURNED, "1"); // Gradio's own session ended with the old server
      location.reload();
      return;
    }
    this.page.say(restarted ? RESTARTED : "Sightline answers again.");
    this.page.results.query = "";
    this.page.show();
  }

  /** The server did not answer. */
  away() {
    if (!this.isAway) {
      this.isAway = true;
      clearTimeout(this.timer);
      this.timer = window.setTimeout(() => this.ask(), AWAY);
    }
    this.element.hidden = false;
    this.element.classList.add("lost");
    this.words.textContent = "Sightline does not answer; trying again …";
  }

  /** @param {Status} status */
  draw(status) {
    this.element.classList.remove("lost");
    this.element.hidden = !status.pending;
    if (!status.pending) {
      this.goal = 0;
      localStorage.removeItem(GOAL);
      return;
    }
    this.goal = Math.max(status.pending, Math.min(this.goal, status.files));
    localStorage.setItem(GOAL, String(this.goal));
    const done = this.goal - status.pending;
    const left = status.seconds_left ? `, about ${lasting(status.seconds_left)} left` : "";
    this.done.style.width = `${(100 * done) / this.goal}%`;
    this.words.textContent = `Reading ${counted(status.pending, "more file")}${left}`;
  }
}
