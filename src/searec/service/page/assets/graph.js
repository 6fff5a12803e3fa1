// The interest graph: what was looked for or clicked, the demands behind it, the interests these lead to.

import { el, shape } from "./dom.js";

const BOX = 200, GAP = 76, ROW = 36, HIGH = 26, TOP = 30, LETTERS = 27, MOST = 24;
const HEADS = ["looked for or clicked", "demand", "interest"];
const KINDS = ["signal", "demand", "interest"];
const IDLE = new Set(["a", "an", "and", "for", "in", "of", "on", "or", "the", "to", "with"]);

/** The same rules as searec.interests.novelty: endings of plurals cut, so that "boots" and "Boot" are one node. */
function stem(word) {
  if (word.length > 4 && word.endsWith("ies")) return word.slice(0, -3) + "y";
  if (word.length > 3 && word.endsWith("ie")) return word.slice(0, -2) + "y";
  if (word.length > 4 && /(ches|shes|sses|xes)$/.test(word)) return word.slice(0, -2);
  return word.length > 3 && word.endsWith("s") && !/(ss|us|is)$/.test(word) ? word.slice(0, -1) : word;
}

function keyOf(text) {
  const words = text.toLowerCase().replace(/['’]/g, "").match(/[\p{L}\p{N}]+/gu) ?? [];
  return [...new Set(words.filter((word) => !IDLE.has(word)).map(stem))].sort().join(" ") || text;
}

/** Nodes by column, from top to bottom, and the steps between them. */
function plan(graph, wanted) {
  const ups = graph.edges.filter((edge) => edge.relation === "hypernym");
  const columns = [new Map(), new Map(), new Map()];
  wanted.slice(0, MOST).forEach((one, row) => columns[2].set(keyOf(one.text), { text: one.text, row, kind: "interest", sure: one.confidence, reason: one.reason }));
  const downs = graph.edges.filter((edge) => edge.relation !== "hypernym" && columns[2].has(keyOf(edge.target)));
  const leading = new Set(downs.map((edge) => keyOf(edge.source)));
  const steps = [];
  for (const edge of ups) {
    if (!leading.has(keyOf(edge.target))) continue;
    columns[1].set(keyOf(edge.target), { text: edge.target, kind: "demand" });
    columns[0].set(edge.source, { text: edge.source, kind: edge.signal === "click" ? "click" : "query" });
    steps.push({ edge, from: columns[0].get(edge.source), to: keyOf(edge.target), column: 0 });
  }
  for (const step of steps) step.to = columns[1].get(step.to);
  for (const edge of downs) {
    const from = columns[1].get(keyOf(edge.source));
    if (from) steps.push({ edge, from, to: columns[2].get(keyOf(edge.target)), column: 1 });
  }
  for (const column of [1, 0]) {
    const nodes = [...columns[column].values()];
    const middle = new Map();
    for (const node of nodes) {
      const rows = steps.filter((step) => step.column === column && step.from === node).map((step) => step.to.row);
      middle.set(node, rows.reduce((sum, row) => sum + row, 0) / (rows.length || 1));
    }
    nodes.sort((one, other) => middle.get(one) - middle.get(other) || (one.text < other.text ? -1 : 1));
    nodes.forEach((node, row) => (node.row = row));
  }
  return { columns: columns.map((own) => [...own.values()].sort((one, other) => one.row - other.row)), steps };
}

const did = { query: "looked for", click: "clicked", demand: "demand", interest: "interest" };

function describe(node, steps) {
  const start = `${did[node.kind]} “${node.text}”`;
  if (node.kind === "interest") return `${start}, confidence ${node.sure.toFixed(2)}; ${node.reason}`;
  const on = steps.filter((step) => step.from === node).map((step) => step.to.text);
  return on.length ? `${start}, leads to ${on.join(", ")}` : start;
}

/** A figure of the graph; `search` is called with the words of a node that is chosen. */
export function drawn(graph, wanted, search) {
  const { columns, steps } = plan(graph, wanted);
  const tallest = Math.max(1, ...columns.map((nodes) => nodes.length));
  const width = 3 * BOX + 2 * GAP, height = TOP + ROW * tallest;
  const left = (column) => column * (BOX + GAP);
  columns.forEach((nodes, column) => {
    const slack = (tallest - nodes.length) / 2; // short columns stand in the middle
    nodes.forEach((node, row) => Object.assign(node, { column, row, x: left(column), y: TOP + (row + slack) * ROW }));
  });
  const line = el("p", { class: "graph-line muted" }, "Choose a node to search for it; arrow keys move between nodes.");
  const paths = steps.map(({ edge, from, to }) => {
    const x = from.x + BOX, y = from.y + HIGH / 2, end = to.y + HIGH / 2, bend = (x + to.x) / 2;
    const words = `${edge.source} → ${edge.target}: ${edge.relation}, ${edge.confidence.toFixed(2)}${edge.evidence ? ` (${edge.evidence})` : ""}`;
    const path = shape("path", { class: `step ${edge.relation}`, d: `M${x} ${y}C${bend} ${y} ${bend} ${end} ${to.x} ${end}`, "stroke-width": (1 + 4 * edge.confidence).toFixed(1) });
    path.append(shape("title", {}, words));
    return path;
  });
  const boxes = new Map();
  for (const node of columns.flat()) {
    const letters = [...node.text];
    const short = letters.length <= LETTERS ? node.text : letters.slice(0, LETTERS - 1).join("").trimEnd() + "…";
    const words = describe(node, steps);
    const box = shape(
      "g",
      { class: `node ${KINDS[node.column]}`, role: "button", tabindex: "-1", "aria-label": `${words}. Search for it.` },
      shape("title", {}, words),
      shape("rect", { x: node.x, y: node.y, width: BOX, height: HIGH, rx: 6 }),
      shape("text", { x: node.x + 9, y: node.y + 17.5 }, short),
    );
    box.addEventListener("click", () => search(node.text));
    for (const event of ["focus", "pointerenter"]) box.addEventListener(event, () => light(node, words));
    for (const event of ["blur", "pointerleave"]) box.addEventListener(event, () => light(null));
    boxes.set(node, box);
  }

  function light(node, words) {
    const some = new Set(node ? linked(node) : []);
    paths.forEach((path, at) => path.classList.toggle("lit", Boolean(node) && some.has(steps[at])));
    if (node) line.textContent = words.charAt(0).toUpperCase() + words.slice(1) + ".";
  }

  /** Steps on the ways through a node. */
  function linked(node) {
    const back = (one) => steps.filter((step) => step.to === one).flatMap((step) => [step, ...back(step.from)]);
    const on = (one) => steps.filter((step) => step.from === one).flatMap((step) => [step, ...on(step.to)]);
    return [...back(node), ...on(node)];
  }

  function beside(node, key) {
    if (key === "ArrowUp" || key === "ArrowDown") return columns[node.column][node.row + (key === "ArrowDown" ? 1 : -1)];
    if (key === "ArrowRight") return steps.find((step) => step.from === node)?.to;
    if (key === "ArrowLeft") return steps.find((step) => step.to === node)?.from;
    return undefined;
  }

  const svg = shape("svg", { class: "graph", viewBox: `-3 0 ${width + 6} ${height}`, role: "group", "aria-label": "Interest graph" });
  HEADS.forEach((head, column) => svg.append(shape("text", { class: "head", x: left(column), y: 16 }, head)));
  svg.append(...paths, ...boxes.values());
  svg.addEventListener("keydown", (event) => {
    const node = [...boxes].find(([, box]) => box === document.activeElement)?.[0];
    if (!node) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      search(node.text);
      return;
    }
    const next = beside(node, event.key);
    if (!next) return;
    event.preventDefault();
    boxes.get(node).setAttribute("tabindex", "-1");
    boxes.get(next).setAttribute("tabindex", "0");
    boxes.get(next).focus();
  });
  boxes.values().next().value?.setAttribute("tabindex", "0");
  return el("div", {}, el("div", { class: "scroll" }, svg), line);
}
