// What narrows search results: the values of each column with their counts, categories as a tree, and a range of prices.

import { byId, el, nameOf, rangeText } from "./dom.js";

const SHOWN = 40;
const PRICE = "price";

export class Facets {
  #chosen = [];

  /** @param set (filters) -> called with all filters when one is ticked or unticked. */
  constructor(set) {
    this.set = set;
    this.box = byId("facets");
    this.groups = byId("facet-groups");
  }

  /** Draw the facets of a page; none without any. */
  show(facets, chosen) {
    this.#chosen = chosen;
    const focused = this.groups.contains(document.activeElement) ? document.activeElement.id : null;
    const groups = Object.entries(facets).filter(([, facet]) => facet.values.length);
    this.box.hidden = !groups.length;
    this.groups.replaceChildren(...groups.map(([column, facet]) => this.#group(column, facet)));
    if (focused) byId(focused)?.focus();
  }

  #group(column, facet) {
    const shown = facet.values.slice(0, SHOWN);
    const children = new Map([[null, []]]);
    for (const one of shown) children.set(one.value, []);
    for (const one of shown) children.get(children.has(one.parent) ? one.parent : null).push(one);
    const tree = (values) =>
      el("ul", {}, values.map((one) => el("li", {}, this.#box(column, one), children.get(one.value).length > 0 && tree(children.get(one.value)))));
    return el(
      "fieldset",
      { class: "facet" },
      el("legend", {}, nameOf(column)),
      column === PRICE && typeof facet.low === "number" && this.#range(column, facet),
      tree(children.get(null)),
    );
  }

  #box(column, { value, count }) {
    const filter = `${column}:${value}`;
    const change = (event) => this.set(event.target.checked ? [...this.#chosen, filter] : this.#chosen.filter((one) => one !== filter));
    return el(
      "label",
      {},
      el("input", { type: "checkbox", id: `facet-${filter}`, value: filter, checked: this.#chosen.includes(filter), on: { change } }),
      el("span", { dir: "auto" }, rangeText(value)),
      " ",
      el("small", {}, count),
    );
  }

  #range(column, facet) {
    const prefix = `${column}:`;
    const [low = "", high = ""] = this.#chosen.find((one) => one.startsWith(prefix) && one.includes(".."))?.slice(prefix.length).split("..") ?? [];
    const field = (name, bound, value) =>
      el("input", { type: "number", step: "any", id: `facet-${column}-${name}`, placeholder: bound, value, "aria-label": `${nameOf(column)} ${name}` });
    const from = field("from", facet.low, low), to = field("to", facet.high, high);
    const submit = (event) => {
      event.preventDefault();
      const others = this.#chosen.filter((one) => !one.startsWith(prefix));
      const range = from.value || to.value ? [`${prefix}${from.value}..${to.value}`] : [];
      this.set([...others, ...range]);
    };
    return el("form", { class: "row range", novalidate: true, on: { submit } }, from, el("span", {}, "to"), to, el("button", { type: "submit" }, "Apply"));
  }
}
