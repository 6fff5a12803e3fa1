// The dials and the filters above the lists.

import { get, Latest } from "./api.js";
import { byId, debounced, el, nameOf, plural, rangeText } from "./dom.js";

const QUIET = 200; // milliseconds a dial rests before the lists follow

/** A dial from 0 to 1; null is the service's default. */
export function dial(id, set) {
  const input = byId(id), output = byId(`${id}-value`), rest = input.value;
  const showValue = (value) => {
    const text = value === null ? "default" : `${Math.round(100 * value)} %`;
    output.textContent = text;
    input.setAttribute("aria-valuetext", value === null ? "the service's default" : text);
  };
  const follow = debounced((value) => set(value, true), QUIET);
  input.addEventListener("input", () => {
    const value = Number(input.value);
    showValue(value);
    follow(value);
  });
  input.addEventListener("change", () => {
    follow.cancel();
    set(Number(input.value), false);
  });
  return (value) => {
    follow.cancel();
    input.value = value ?? rest;
    showValue(value);
  };
}

export class Filters {
  #latest = new Latest();
  #columns = {};
  #chosen = [];
  #loaded = Promise.resolve([]);

  constructor(set) {
    this.set = set;
    document.addEventListener("keydown", (event) => {
      const open = event.key === "Escape" && byId("columns").querySelector("details[open]");
      if (!open) return;
      open.open = false;
      open.querySelector("summary").focus();
    });
    document.addEventListener("pointerdown", (event) => {
      for (const one of byId("columns").querySelectorAll("details[open]")) if (!one.contains(event.target)) one.open = false;
    });
  }

  /** The names of the columns, once they are known; none if they cannot be loaded. */
  columns() {
    return this.#loaded;
  }

  load() {
    this.#loaded = this.#load().then(() => Object.keys(this.#columns));
    return this.#loaded;
  }

  async #load() {
    const signal = this.#latest.begin();
    try {
      const response = await get("/v1/filters", {}, signal);
      if (signal.aborted) return;
      this.#columns = response.columns;
      this.#draw();
    } catch (problem) {
      if (signal.aborted) return;
      byId("columns").replaceChildren(el("p", { class: "muted" }, "No filters: ", problem.words().title, " ", el("button", { type: "button", class: "link", on: { click: () => this.load() } }, "Try again")));
    }
  }

  show(chosen) {
    this.#chosen = chosen;
    for (const box of byId("columns").querySelectorAll("input")) box.checked = chosen.includes(box.value);
    for (const one of byId("columns").querySelectorAll("details")) this.#count(one);
    byId("chips").replaceChildren(
      ...chosen.map((one) => {
        const at = one.indexOf(":");
        const words = [`${nameOf(one.slice(0, at))}: `, el("bdi", {}, rangeText(one.slice(at + 1)))];
        return el("li", {}, el("button", { type: "button", class: "chip", on: { click: () => this.#remove(one) } }, words, el("span", { "aria-hidden": "true" }, " ×"), el("span", { class: "sr-only" }, " (remove)")));
      }),
    );
  }

  #remove(one) {
    const at = this.#chosen.indexOf(one);
    this.set(this.#chosen.filter((other) => other !== one));
    const chips = byId("chips").querySelectorAll("button");
    (chips[Math.min(at, chips.length - 1)] ?? byId("columns").querySelector("summary"))?.focus();
  }

  #count(details) {
    const count = details.querySelectorAll("input:checked").length;
    details.querySelector(".count").textContent = count ? ` (${count})` : "";
  }

  #draw() {
    const columns = Object.entries(this.#columns).filter(([, values]) => values.length);
    byId("columns").replaceChildren(
      ...(columns.length ? columns.map(([column, values]) => this.#column(column, values)) : [el("p", { class: "muted" }, "Nothing to filter by.")]),
    );
    this.show(this.#chosen);
  }

  #column(column, values) {
    return el(
      "details",
      { name: "filter" },
      el("summary", {}, nameOf(column), el("span", { class: "count" })),
      el(
        "div",
        { class: "values", role: "group", "aria-label": `${nameOf(column)}, ${plural(values.length, "value")}` },
        values.map((value) =>
          el("label", {}, el("input", { type: "checkbox", value: `${column}:${value}`, on: { change: (event) => this.#tick(event.target) } }), el("span", { dir: "auto" }, rangeText(value))),
        ),
      ),
    );
  }

  #tick(box) {
    this.set(box.checked ? [...this.#chosen, box.value] : this.#chosen.filter((one) => one !== box.value));
  }
}
