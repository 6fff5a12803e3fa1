// A user: attributes, history, interests and the graph behind them.

import { get, Latest } from "./api.js";
import { announce, bdi, el, empty, plural, problemBox, skeleton } from "./dom.js";
import { interestGraph } from "./graph.js";

const SHORT = 12;
const SOURCES = {
  fresh: "up to date",
  last: "from the last update; new ones are being inferred",
  own: "categories the user acted on; none are inferred yet",
  none: "none yet",
  run: "from training",
};
const whenText = (text) => new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(text));
const when = (text) => el("time", { datetime: text }, whenText(text));

export class Person {
  #latestHistory = new Latest();
  #latestInterests = new Latest();
  #all = false;

  /** search (text): what a query or a node does when it is chosen. */
  constructor({ history, interests, search }) {
    Object.assign(this, { history, interests, search });
  }

  load(user, { again = false } = {}) {
    if (!again) this.#all = false;
    if (!user) {
      this.#latestHistory.begin();
      this.#latestInterests.begin();
      this.#show(this.history, empty("Choose a user above to see what they did."));
      this.#show(this.interests, empty("Choose a user above to see what they may want, and why."));
      return;
    }
    this.#loadHistory(user);
    this.#loadInterests(user);
  }

  async #fetch(place, latest, path, rows) {
    const signal = latest.begin();
    if (!place.childNodes.length || place.querySelector(".empty, .problem")) place.replaceChildren(skeleton(rows));
    place.setAttribute("aria-busy", "true");
    try {
      const response = await get(path, {}, signal);
      return signal.aborted ? null : response;
    } catch (problem) {
      if (signal.aborted) return null;
      throw problem;
    }
  }

  #show(place, ...children) {
    place.removeAttribute("aria-busy");
    place.replaceChildren(...children.filter(Boolean));
  }

  async #loadHistory(user) {
    try {
      const response = await this.#fetch(this.history, this.#latestHistory, `/v1/users/${encodeURIComponent(user)}`, 6);
      if (response) this.#drawHistory(response);
    } catch (problem) {
      if (problem.status === 404) this.#show(this.history, empty("There is no history of ", bdi(user), " yet. New events count at once."));
      else this.#show(this.history, problemBox(problem, () => this.#loadHistory(user)));
    }
  }

  #drawHistory(response) {
    const attributes = Object.entries(response.attributes);
    const rows = this.#all ? response.history : response.history.slice(0, SHORT);
    const rest = response.history.length - rows.length;
    const more = el(
      "button",
      {
        type: "button",
        class: "more",
        on: {
          click: () => {
            this.#all = true;
            this.#drawHistory(response);
            this.history.querySelectorAll(".past > li")[SHORT]?.setAttribute("tabindex", "-1");
            this.history.querySelectorAll(".past > li")[SHORT]?.focus();
          },
        },
      },
      `Show ${rest} older`,
    );
    this.#show(
      this.history,
      attributes.length > 0 && el("ul", { class: "facts", "aria-label": "About the user" }, attributes.map(([name, value]) => el("li", {}, el("span", {}, name.replaceAll("_", " ")), " ", el("bdi", {}, value)))),
      response.history.length ? el("ol", { class: "past" }, rows.map((one) => this.#event(one))) : empty("No events yet."),
      rest > 0 && more,
    );
  }

  #event(one) {
    const query = one.query !== null && el("button", { type: "button", class: "link", dir: "auto", on: { click: () => this.search(one.query) } }, one.query);
    const words = one.type === "search" ? [el("span", { class: "verb" }, "searched for"), " ", query] : [el("span", { class: "verb" }, "clicked"), " ", el("bdi", { class: "what" }, one.title ?? one.item_id)];
    return el("li", { class: one.type, "data-item": one.item_id }, el("div", {}, words, one.type === "click" && query && el("span", { class: "after" }, " found by ", query)), when(one.timestamp));
  }

  async #loadInterests(user) {
    try {
      const response = await this.#fetch(this.interests, this.#latestInterests, `/v1/users/${encodeURIComponent(user)}/interests`, 6);
      if (response) this.#drawInterests(response);
    } catch (problem) {
      this.#show(this.interests, problemBox(problem, () => this.#loadInterests(user)));
    }
  }

  #drawInterests(response) {
    if (!response.interests.length) {
      this.#show(this.interests, empty("No interests are known yet. They are inferred from searches and clicks."));
      return;
    }
    const asOf = response.inferred_at ? [", as of ", when(response.inferred_at)] : [];
    this.#show(
      this.interests,
      el("p", { class: "muted" }, `${plural(response.interests.length, "interest")}, ${SOURCES[response.source] ?? response.source}`, asOf, "."),
      response.picture && interestGraph(response.picture, this.search),
      el("h3", {}, "The same in words"),
      el(
        "ol",
        { class: "reasons" },
        response.interests.map((one) =>
          el("li", {}, el("button", { type: "button", class: "link", dir: "auto", on: { click: () => this.search(one.text) } }, one.text), el("span", { class: "sure", title: "confidence" }, one.confidence.toFixed(2)), el("p", { class: "reason", dir: "auto" }, one.reason)),
        ),
      ),
    );
    announce(`${plural(response.interests.length, "interest")}.`);
  }
}
