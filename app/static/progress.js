// Progress: requests the status (never from a hidden tab), draws one bar over all that is still to be done, and notices
// when the server stops answering or restarts.

import { Away, api } from "./api.js";
import { h, takeOver } from "./dom.js";
import { counted, lasting } from "./format.js";

const [BUSY, IDLE, AWAY] = [1000, 5000, 1500];
const [RETURNED, GOAL] = ["sightline-returned", "sightline-goal"];
/** What is done in a step, and with what. @type {Record<WorkLeft["step"], string[]>} */
const STEPS = {
  read: ["Reading", "more file"],
  ocr: ["Reading the words in", "file"],
  reread: ["Reading again", "file"],
  speech: ["Listening to", "video"],
  model: ["Embedding", "chunk"],
};
const RESTARTED = "Sightline was restarted; this page is connected again.";

export class Progress {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.timer = 0;
    this.request = 0;
    this.boot = "";
    this.isAway = false;
    /** The most that was to be done, kept over a reload. */
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
      pause = steps(status).length || !status.gradio ? BUSY : IDLE;
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
    const left = steps(status).reduce((sum, step) => sum + step.left, 0);
    this.element.hidden = !left;
    if (!left) {
      this.goal = 0;
      localStorage.removeItem(GOAL);
      return;
    }
    this.goal = Math.max(left, this.goal);
    localStorage.setItem(GOAL, String(this.goal));
    this.done.style.width = `${(100 * (this.goal - left)) / this.goal}%`;
    this.words.textContent = doing(status);
  }
}

/** All that is still to be done, in its order. @param {Status} status @returns {Step[]} */
function steps({ pending, seconds_left, work }) {
  const later = work.filter(({ step }) => step !== "read");
  return pending ? [{ step: "read", left: pending, seconds_left }, ...later] : later;
}

/** What is being done, and how long all takes yet; "" if nothing is. @param {Status} status */
export function doing(status) {
  const [now] = steps(status);
  if (!now) return "";
  const [verb, what] = STEPS[now.step];
  const left = status.all_seconds_left ?? now.seconds_left;
  return `${verb} ${counted(now.left, what)}${left ? `, about ${lasting(left)} left` : ""}`;
}
