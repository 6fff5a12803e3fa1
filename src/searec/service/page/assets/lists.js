// A list of items, page by page: the results of a search, or the feed.

import { get, Latest } from "./api.js";
import { announce, el, empty, marked, plural, problemBox, shape, skeleton } from "./dom.js";

const PAGE = 10;
const MOST = 100;
const WHY = { late: "took too long", failed: "failed", "not ready": "not ready yet" };
const FROM = {
  fresh: "Interests are up to date.",
  last: "Interests are from the last update; new ones are being inferred.",
  own: "No inferred interests yet: these are categories the user acted on.",
  none: "No interests are known.",
  run: "Interests come from training.",
};

export class ItemList {
  #latest = new Latest();
  #parameters = null;
  #next = null;
  items = [];

  /**
   * @param place where it is drawn; name: as it is announced.
   * @param onPage (page) -> elements above the list.
   * @param emptyText () -> text of an empty list. onClick (item) -> true if the click is recorded and the item leaves the list.
   */
  constructor({ place, name, path, emptyText, onClick, novelty, onPage = () => [] }) {
    Object.assign(this, { place, name, path, emptyText, onClick, novelty, onPage });
    this.summary = el("div", { class: "summary" });
    this.rows = el("ol", { class: "items" });
    this.end = el("div", { class: "end" });
    this.clicked = new Set();
  }

  /** The first page for other parameters; keep: as many items as are shown now. True if it is drawn, null if another call overtook it. */
  async load(parameters, { keep = false } = {}) {
    const signal = this.#latest.begin();
    const k = keep ? Math.min(MOST, Math.max(PAGE, this.items.length)) : PAGE;
    this.#parameters = parameters;
    if (!this.place.contains(this.rows)) this.place.replaceChildren(skeleton(PAGE));
    this.place.setAttribute("aria-busy", "true");
    let page;
    try {
      page = await get(this.path, { ...parameters, k }, signal);
    } catch (problem) {
      if (signal.aborted) return null;
      this.#fail(problem, () => this.load(parameters));
      return false;
    }
    if (signal.aborted) return null;
    const at = this.#focused();
    this.items = [];
    this.rows.replaceChildren();
    this.place.replaceChildren(this.summary, this.rows, this.end);
    this.#add(page);
    if (at !== null) this.#focus(Math.min(at, this.items.length - 1));
    announce(`${this.name}: ${plural(this.items.length, "item")}.`);
    return true;
  }

  /** Show a text instead of a list. */
  clear(...words) {
    this.#latest.begin();
    this.items = [];
    this.rows.replaceChildren();
    this.place.removeAttribute("aria-busy");
    this.place.replaceChildren(empty(...words));
  }

  #fail(problem, again) {
    this.items = [];
    this.rows.replaceChildren();
    this.place.removeAttribute("aria-busy");
    this.place.replaceChildren(problemBox(problem, again));
    announce(`${this.name}: ${problem.words().title}`);
  }

  async #more() {
    const signal = this.#latest.begin();
    const first = this.items.length;
    this.place.setAttribute("aria-busy", "true");
    try {
      const page = await get(this.path, { ...this.#parameters, k: PAGE, cursor: this.#next }, signal);
      if (signal.aborted) return;
      this.#add(page);
      this.#focus(first);
      announce(`${this.name}: ${plural(page.items.length, "more item", "more items")}, ${this.items.length} in all.`);
    } catch (problem) {
      if (signal.aborted) return;
      this.place.removeAttribute("aria-busy");
      this.end.replaceChildren(problemBox(problem, () => this.#more()));
    }
  }

  #add(page) {
    this.#next = page.next;
    this.rows.append(...page.items.map((item) => this.#row(item)));
    this.items.push(...page.items);
    this.place.removeAttribute("aria-busy");
    this.summary.replaceChildren(...this.#summary(page));
    const more = page.next && this.items.length && el("button", { type: "button", class: "more", on: { click: () => this.#more() } }, "Show more");
    this.end.replaceChildren(...[this.items.length ? null : this.emptyText(), more].filter(Boolean));
  }

  #summary(page) {
    const lines = this.onPage(page);
    const count = this.items.length;
    if (this.novelty && count && page.user_id !== null) {
      const novel = this.items.filter((one) => one.novel).length;
      const fromInterests = this.items.filter((one) => one.channel === "interest").length;
      const enr = count === page.items.length ? page.enr : novel / count;
      lines.push(
        el(
          "p",
          { class: "figures" },
          el("span", { class: "enr" }, el("abbr", { title: "exposure novelty rate" }, "ENR"), " ", el("b", { "data-enr": "" }, enr.toFixed(2))),
          el("span", {}, `${novel} of ${count} novel, `, el("b", { class: "from-interest", "data-interest-count": "" }, fromInterests), ` from interests`),
        ),
        strip(this.items),
      );
      lines.push(el("p", { class: "muted" }, page.known ? FROM[page.interests] ?? "" : "This user is new: the list is the same for everybody."));
    } else if (count) {
      const few = page.total !== null && page.total < count && !page.query?.relaxed;
      const total = page.total > count ? `${count} of ${plural(page.total, "result")}.` : few ? `${plural(page.total, "item")} with all words, then others.` : `${plural(count, "item")} shown.`;
      lines.push(el("p", { class: "muted" }, total, page.user_id === null && " Not personalised."));
    }
    if (page.left_out.length) {
      const parts = page.left_out.map((one) => `${one.part} (${WHY[one.why] ?? one.why})`).join(", ");
      lines.push(el("p", { class: "note" }, `Missing: ${parts}.`));
    }
    return lines;
  }

  #row(item) {
    const button = el("button", { type: "button", class: "title", dir: "auto", "data-item": item.item_id }, marked(item.title, item.highlights?.title));
    const snippet = item.highlights?.description;
    const about = el("div", { class: "about", hidden: true });
    const row = el(
      "li",
      { class: item.channel === "interest" ? "item from-interest" : "item" },
      button,
      el(
        "p",
        { class: "meta" },
        item.categories.length > 0 && el("span", { class: "path", dir: "auto" }, item.categories.join(" › ")),
        el("span", { class: item.channel === "interest" ? "badge accent" : "badge" }, item.channel),
        item.novel && this.#parameters.user_id && el("span", { class: "badge novel", title: "all its categories are new to the user" }, "novel"),
        this.clicked.has(item.item_id) && el("span", { class: "badge" }, "clicked"),
      ),
      snippet?.spans.length > 0 && el("p", { class: "snippet", dir: "auto" }, marked(snippet.text, snippet.spans)),
      item.reason && el("p", { class: "reason", dir: "auto" }, item.reason),
      about,
    );
    button.addEventListener("click", () => {
      if (!this.onClick(item)) this.#toggleDetails(item, button, about);
    });
    return row;
  }

  /** Show or hide the details of an item below it. */
  async #toggleDetails(item, button, about) {
    about.hidden = !about.hidden;
    button.setAttribute("aria-expanded", String(!about.hidden));
    if (about.hidden || about.childNodes.length) return;
    about.append(el("p", { class: "muted" }, "Loading…"));
    try {
      const response = await get(`/v1/items/${encodeURIComponent(item.item_id)}`);
      const rows = Object.entries({ item_id: response.item_id, ...response.about }).filter(([name, value]) => name !== "title" && value !== null && value !== "");
      about.replaceChildren(
        el("dl", {}, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", { dir: "auto" }, Array.isArray(value) ? value.join(" › ") : String(value))))),
      );
    } catch (problem) {
      about.replaceChildren(problemBox(problem));
    }
  }

  /** Mark an item of the list as clicked. */
  mark(id) {
    this.clicked.add(id);
    const row = [...this.rows.children].find((one) => one.querySelector(".title").dataset.item === id);
    if (row && !row.querySelector(".clicked")) row.querySelector(".meta").append(el("span", { class: "badge clicked" }, "clicked"));
  }

  #focused() {
    const at = [...this.rows.children].findIndex((row) => row.contains(document.activeElement));
    return at < 0 ? null : at;
  }

  #focus(at) {
    this.rows.children[at]?.querySelector(".title").focus();
  }
}

/** One square for each item shown: filled for one from interests, outlined for a novel one. */
function strip(items) {
  const shown = items.slice(0, 60);
  const squares = shown.map((one, at) =>
    shape("rect", { x: 12 * at + 1, y: 1, width: 9, height: 9, rx: 2, class: one.channel === "interest" ? "from-interest" : one.novel ? "novel" : "usual" }),
  );
  return shape("svg", { class: "strip", viewBox: `0 0 ${12 * shown.length} 11`, width: 12 * shown.length, height: 11, "aria-hidden": "true" }, squares);
}

