// A user: attributes, history, interests and the graph behind them.

import { get, Latest } from "./api.js";
import { announce, el, empty, plural, problemBox, skeleton } from "./dom.js";
import { drawn } from "./graph.js";

const SHORT = 12;
const SOURCES = {
  fresh: "up to date",
  last: "those made last; new ones are on their way",
  own: "the user's own demands; none are inferred yet",
  none: "none yet",
  run: "from training",
};
const whenText = (text) => new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(text));
const when = (text) => el("time", { datetime: text }, whenText(text));

export class Person {
  #past = new Latest();
  #wishes = new Latest();
  #all = false;

  /** search (text): what a query or a node does when it is chosen. */
  constructor({ history, interests, search }) {
    Object.assign(this, { history, interests, search });
  }

  load(user, { again = false } = {}) {
    if (!again) this.#all = false;
    if (!user) {
      this.#past.begin();
      this.#wishes.begin();
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
      const found = await get(path, {}, signal);
      return signal.aborted ? null : found;
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
      const found = await this.#fetch(this.history, this.#past, `/v1/users/${encodeURIComponent(user)}`, 6);
      if (found) this.#drawHistory(found);
    } catch (problem) {
      if (problem.status === 404) this.#show(this.history, empty("Nothing is known of ", el("bdi", {}, user), " yet. What they do from now on counts at once."));
      else this.#show(this.history, problemBox(problem, () => this.#loadHistory(user)));
    }
  }

  #drawHistory(found) {
    const attributes = Object.entries(found.attributes);
    const rows = this.#all ? found.history : found.history.slice(0, SHORT);
    const rest = found.history.length - rows.length;
    const more = el(
      "button",
      {
        type: "button",
        class: "more",
        on: {
          click: () => {
            this.#all = true;
            this.#drawHistory(found);
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
      found.history.length ? el("ol", { class: "past" }, rows.map((one) => this.#event(one))) : empty("Nothing has happened yet."),
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
      const found = await this.#fetch(this.interests, this.#wishes, `/v1/users/${encodeURIComponent(user)}/interests`, 6);
      if (found) this.#drawInterests(found);
    } catch (problem) {
      this.#show(this.interests, problemBox(problem, () => this.#loadInterests(user)));
    }
  }

  #drawInterests(found) {
    if (!found.interests.length) {
      this.#show(this.interests, empty("No interests are known yet. They are inferred from searches and clicks."));
      return;
    }
    const made = found.inferred_at ? [", as of ", when(found.inferred_at)] : [];
    this.#show(
      this.interests,
      el("p", { class: "muted" }, `${plural(found.interests.length, "interest")}, ${SOURCES[found.source] ?? found.source}`, made, "."),
      found.graph && drawn(found.graph, found.interests, this.search),
      el("h3", {}, "The same in words"),
      el(
        "ol",
        { class: "reasons" },
        found.interests.map((one) =>
          el("li", {}, el("button", { type: "button", class: "link", dir: "auto", on: { click: () => this.search(one.text) } }, one.text), el("span", { class: "sure", title: "confidence" }, one.confidence.toFixed(2)), el("p", { class: "reason", dir: "auto" }, one.reason)),
        ),
      ),
    );
    announce(`${plural(found.interests.length, "interest")}.`);
  }
}
