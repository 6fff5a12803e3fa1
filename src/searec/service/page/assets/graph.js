// The interest graph: the service's drawing, which can be searched from and walked through by keyboard.

import { el, shape } from "./dom.js";

const SHAPES = new Set(["svg", "g", "rect", "path", "text", "title"]);
const ATTRIBUTES = new Set(["class", "viewBox", "x", "y", "width", "height", "rx", "d", "stroke-width", "data-node", "data-text", "data-from", "data-to"]);
const COLUMNS = ["signal", "demand", "interest"];

/** A copy of known shapes and attributes; anything else of the drawing is dropped, and texts stay texts. */
function copy(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data;
  if (!SHAPES.has(node.localName)) return null;
  const attributes = [...node.attributes].filter((one) => ATTRIBUTES.has(one.name)).map((one) => [one.name, one.value]);
  return shape(node.localName, Object.fromEntries(attributes), [...node.childNodes].map(copy));
}

/** The drawing as a figure; `search` is called with the text of a node that is chosen. */
export function interestGraph(drawing, search) {
  const unstyled = drawing.replace(/<style>[^<]*<\/style>/, ""); // the page has its own colours, and its policy blocks these
  const svg = copy(new DOMParser().parseFromString(unstyled, "image/svg+xml").documentElement);
  const nodes = [...svg.querySelectorAll(".node")];
  const byName = new Map(nodes.map((node) => [node.dataset.node, node]));
  const steps = [...svg.querySelectorAll(".step")].map((path) => ({ path, from: byName.get(path.dataset.from), to: byName.get(path.dataset.to) }));
  const columns = COLUMNS.map((kind) => nodes.filter((node) => node.classList.contains(kind)));
  const line = el("p", { class: "graph-line muted" }, "Choose a node to search for it; arrow keys move between nodes.");

  const back = (node) => steps.filter((step) => step.to === node).flatMap((step) => [step, ...back(step.from)]);
  const onward = (node) => steps.filter((step) => step.from === node).flatMap((step) => [step, ...onward(step.to)]);

  /** Highlight the paths through a node, and say what it is. */
  function highlight(node, words) {
    const through = new Set(node ? [...back(node), ...onward(node)] : []);
    for (const step of steps) step.path.classList.toggle("lit", through.has(step));
    if (node) line.textContent = words.charAt(0).toUpperCase() + words.slice(1) + ".";
  }

  function neighbour(node, key) {
    if (key === "ArrowRight") return steps.find((step) => step.from === node)?.to;
    if (key === "ArrowLeft") return steps.find((step) => step.to === node)?.from;
    if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
    const column = columns.find((one) => one.includes(node));
    return column[column.indexOf(node) + (key === "ArrowDown" ? 1 : -1)];
  }

  for (const node of nodes) {
    const words = node.querySelector("title").textContent;
    const attributes = { role: "button", tabindex: node === nodes[0] ? "0" : "-1", "aria-label": `${words}. Search for it.` };
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.addEventListener("click", () => search(node.dataset.text));
    for (const event of ["focus", "pointerenter"]) node.addEventListener(event, () => highlight(node, words));
    for (const event of ["blur", "pointerleave"]) node.addEventListener(event, () => highlight(null));
    node.addEventListener("keydown", (event) => {
      const next = neighbour(node, event.key);
      if (event.key === "Enter" || event.key === " ") search(node.dataset.text);
      else if (!next) return;
      event.preventDefault();
      if (!next) return;
      node.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  }
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", "Interest graph");
  return el("div", {}, el("div", { class: "scroll" }, svg), line);
}
