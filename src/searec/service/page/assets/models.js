// The deployed runs, their uses and their metrics: one table for each kind of evaluation.

import { get, Latest } from "./api.js";
import { el, empty, problemBox, skeleton } from "./dom.js";

const FIRST = ["ndcg", "hit", "recall", "mrr", "enr", "cnr", "serendipity", "novelty", "diversity", "coverage", "gini"];
const LOW = new Set(["gini"]); // the lower the better
const NAMES = { ndcg: "NDCG", mrr: "MRR", enr: "ENR", cnr: "CNR", gini: "Gini" };
const TASKS = { recommend: "Recommendation", search: "Search" };
const PROTOCOLS = { sampled: "among sampled candidates", full: "whole catalogue" };
const PARTS = { test: "test", val: "validation" };

function nameOf(metric) {
  const [key, depth] = metric.split("@");
  const title = NAMES[key] ?? key.charAt(0).toUpperCase() + key.slice(1);
  return depth ? `${title}@${depth}` : title;
}

// Deeper metrics first, then in the order of FIRST.
function rank(metric) {
  const [key, depth] = metric.split("@");
  return (FIRST.includes(key) ? FIRST.indexOf(key) : FIRST.length) * 1e6 - Number(depth ?? 0);
}

function titleOf(key) {
  const [task, protocol, part] = key.split(/[/ ]/);
  return `${TASKS[task] ?? task}, ${PROTOCOLS[protocol] ?? protocol}, ${PARTS[part] ?? part}`;
}

export class Models {
  #latest = new Latest();
  #models = [];
  #key = null;
  #sort = { column: null, down: true };

  constructor(place) {
    this.place = place;
  }

  async load() {
    const signal = this.#latest.begin();
    this.place.replaceChildren(skeleton(4));
    try {
      const response = await get("/v1/models", {}, signal);
      if (signal.aborted) return;
      this.#models = response.models;
      this.#draw();
    } catch (problem) {
      if (!signal.aborted) this.place.replaceChildren(problemBox(problem, () => this.load()));
    }
  }

  #draw() {
    if (!this.#models.length) {
      this.place.replaceChildren(empty("No model is deployed; the lists show popular items."));
      return;
    }
    const keys = [...new Set(this.#models.flatMap((one) => Object.keys(one.figures)))].sort();
    if (!keys.includes(this.#key)) this.#key = keys.find((key) => key.startsWith("recommend")) ?? keys[0] ?? null;
    const choice = el(
      "fieldset",
      { class: "choice" },
      el("legend", { class: "sr-only" }, "Evaluation"),
      keys.map((key) =>
        el(
          "label",
          {},
          el("input", { type: "radio", name: "evaluation", value: key, checked: key === this.#key, on: { change: () => this.#choose(key) } }),
          el("span", {}, titleOf(key)),
        ),
      ),
    );
    this.table = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of the models" });
    this.place.replaceChildren(
      keys.length ? choice : el("p", { class: "muted" }, "These runs have no metrics yet; ", el("code", {}, "searec evaluate RUN DATA"), " computes them."),
      this.table,
    );
    this.#drawTable();
  }

  #choose(key) {
    this.#key = key;
    this.#drawTable();
  }

  #drawTable() {
    const of = (model) => model.figures[this.#key] ?? {};
    const metrics = [...new Set(this.#models.flatMap((one) => Object.keys(of(one))))].sort((one, other) => rank(one) - rank(other) || (one < other ? -1 : 1));
    const best = new Map(
      metrics.map((metric) => {
        const values = this.#models.map((one) => of(one)[metric]).filter(Number.isFinite);
        return [metric, values.length > 1 ? (LOW.has(metric.split("@")[0]) ? Math.min(...values) : Math.max(...values)) : NaN];
      }),
    );
    const { column, down } = this.#sort;
    const measured = (one) => Number(this.#key in one.figures);
    const rows = [...this.#models].sort((one, other) => measured(other) - measured(one));
    if (column === "") rows.sort((one, other) => (one.label < other.label ? -1 : 1) * (down ? 1 : -1));
    else if (metrics.includes(column)) {
      const worth = (one) => (Number.isFinite(of(one)[column]) ? of(one)[column] : down ? -Infinity : Infinity);
      rows.sort((one, other) => (down ? worth(other) - worth(one) : worth(one) - worth(other)) || 0);
    }
    const head = (name, label, numeric) => {
      const sorted = column === name;
      const order = numeric === down ? "descending" : "ascending";
      return el(
        "th",
        { scope: "col", class: numeric ? "number" : null, "aria-sort": sorted ? order : null },
        el("button", { type: "button", "data-sort": name, on: { click: () => this.#sortBy(name) } }, label, el("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (order === "descending" ? "↓" : "↑") : "↕")),
      );
    };
    const cell = (one, metric) => {
      const value = of(one)[metric];
      if (!Number.isFinite(value)) return el("td", { class: "number muted" }, "–");
      const text = Math.abs(value) < 10 ? value.toFixed(4) : value.toFixed(2);
      return value === best.get(metric) ? el("td", { class: "number best" }, el("b", {}, text), el("span", { class: "sr-only" }, " best")) : el("td", { class: "number" }, text);
    };
    this.table.replaceChildren(
      el(
        "table",
        {},
        el("caption", { class: "sr-only" }, this.#key ? titleOf(this.#key) : "Models in use"),
        el("thead", {}, el("tr", {}, head("", "Model", false), el("th", { scope: "col" }, "Used for"), metrics.map((metric) => head(metric, nameOf(metric), true)))),
        el(
          "tbody",
          {},
          rows.map((one) =>
            el(
              "tr",
              {},
              el("th", { scope: "row" }, el("bdi", {}, one.label), one.label !== one.model && el("small", {}, one.model)),
              el("td", { class: "uses" }, one.uses.length ? one.uses.join(", ") : "nothing"),
              metrics.map((metric) => cell(one, metric)),
            ),
          ),
        ),
      ),
    );
  }

  #sortBy(name) {
    this.#sort = this.#sort.column === name ? { column: name, down: !this.#sort.down } : { column: name, down: !LOW.has(name.split("@")[0]) };
    this.#drawTable();
    [...this.table.querySelectorAll("th button")].find((one) => one.dataset.sort === name)?.focus();
  }
}
