// Elements from tags, properties and texts. What comes from the service becomes text nodes and nothing else.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** el("p", {class: "muted", on: {click}}, "text", child) */
export const el = (tag, properties = {}, ...children) => filled(document.createElement(tag), properties, children);

/** The same for shapes. */
export const shape = (tag, properties = {}, ...children) => filled(document.createElementNS(SVG, tag), properties, children);

export const byId = (id) => document.getElementById(id);

/** Text of any direction within a sentence. */
export const bdi = (text) => el("bdi", {}, text);

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

const names = { categories: "Category" };

/** The name of a column of items, for people. */
export const nameOf = (column) => names[column] ?? (column.charAt(0).toUpperCase() + column.slice(1)).replaceAll("_", " ");

/** A value to filter by, for people: ranges in words. */
export function rangeText(value) {
  const range = /^(-?[\d.-]*?)\.\.(-?[\d.-]*)$/.exec(value);
  if (!range || !(range[1] || range[2])) return value;
  const [, low, high] = range;
  return !low ? `up to ${high}` : !high ? `from ${low}` : low === high ? low : `${low} to ${high}`;
}

/** A text whose spans, counted in Unicode characters, are marked. */
export function marked(text, spans = []) {
  const characters = Array.from(text), parts = [];
  let at = 0;
  for (const [start, end] of spans) {
    parts.push(characters.slice(at, start).join(""), el("mark", {}, characters.slice(start, end).join("")));
    at = end;
  }
  return [...parts, characters.slice(at).join("")];
}

let announcing = 0;

/** Announce a change to screen readers; changes of one moment are announced together. */
export function announce(text) {
  const live = byId("live");
  clearTimeout(announcing);
  live.pending = live.pending ? `${live.pending} ${text}` : text;
  announcing = setTimeout(() => {
    live.textContent = live.pending;
    live.pending = "";
  }, 250);
}

let leaving = 0;

/** Show a short message, which disappears by itself unless it is a problem. */
export function toast(text, { problem = false } = {}) {
  const place = byId("toast");
  clearTimeout(leaving);
  place.classList.toggle("bad", problem);
  const close = el("button", { type: "button", class: "quiet", "aria-label": "Close the message", on: { click: () => place.replaceChildren() } }, "×");
  place.replaceChildren(el("span", {}, text), close);
  if (!problem) leaving = setTimeout(() => place.replaceChildren(), 6000);
}

/** Text of an empty panel. */
export const empty = (...words) => el("p", { class: "empty" }, ...words);

/** Placeholder rows. */
export const skeleton = (rows) => el("div", { class: "skeleton", "aria-hidden": "true" }, Array.from({ length: rows }, () => el("div")));

/** A problem in words, and a button to try again. */
export function problemBox(problem, again) {
  if (problem.status === 401) return empty("Waiting for a key.");
  const words = problem.words();
  return el(
    "div",
    { class: "problem", role: "group", "aria-label": "Problem" },
    el("p", {}, el("strong", {}, words.title), " ", words.detail),
    words.remedy && el("p", {}, "What to do: ", words.remedy, "."),
    words.request && el("p", { class: "muted" }, `Request ${words.request}`),
    again && el("button", { type: "button", on: { click: again } }, "Try again"),
  );
}

/** A later call replaces an earlier one that has not run yet. */
export function debounced(call, wait) {
  let timer = 0;
  const later = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), wait);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}
