// The page: choices go into the address, and what depends on them is loaded again.

import { get, key, Latest, mayWrite, newId, post, whenRefused } from "./api.js";
import { combobox } from "./combobox.js";
import { dial, Filters } from "./controls.js";
import { bdi, byId, el, empty, toast } from "./dom.js";
import { Facets } from "./facets.js";
import { ItemList } from "./lists.js";
import { Models } from "./models.js";
import { Person } from "./person.js";
import { changed, read, SORTS, write } from "./state.js";

const RECORD = "searec-record";
const SHOWN = 1000;
const FACETS = 8;
const DEFAULTS = { user: "", q: "", sort: "relevance", exact: "", quota: null, diversity: null, filters: [] };
let state = read();
let search = null; // the recorded search whose results are shown: {id, user, stored: promise of whether it was stored}
let allowed = null; // whether events may be written; null while unknown, when the service decides on each
let turns = 0;
const starts = new Latest();

// --- lists ---

const results = new ItemList({
  place: byId("search-list"),
  name: "Search",
  path: "/v1/search",
  novelty: false,
  onPage: notes,
  emptyText: () =>
    empty(
      "Nothing found for “", bdi(state.q), "”",
      ...(state.filters.length ? [" with these filters. ", link("Remove the filters", () => set({ filters: [] }))] : [". Try fewer or other words."]),
    ),
  onClick: (item) => {
    clicked(item, results);
    return false;
  },
});
const feed = new ItemList({
  place: byId("feed-list"),
  name: "Feed",
  path: "/v1/recommend",
  novelty: true,
  emptyText: () => empty(state.filters.length ? "No items match these filters." : "No items to show."),
  onClick: (item) => clicked(item, feed),
});
const person = new Person({ history: byId("history"), interests: byId("interests"), search: (text) => searchFor(text, true) });
const models = new Models(byId("models"));
const filters = new Filters((chosen) => set({ filters: chosen }));
const facets = new Facets((chosen) => set({ filters: chosen }));
const showQuota = dial("quota", (quota, moving) => set({ quota }, { replace: moving || state.quota !== null }));
const showDiversity = dial("diversity", (diversity, moving) => set({ diversity }, { replace: moving || state.diversity !== null }));

const listParameters = () => ({ user_id: state.user || null, filter: state.filters, diversity: state.diversity });

async function loadResults({ record = false } = {}) {
  search = null;
  turns++;
  byId("sort-box").hidden = !state.q;
  if (!state.q) {
    facets.show({}, []);
    results.clear("Search for something; suggestions appear while you type.");
    return;
  }
  results.clicked.clear();
  const { user, q, sort } = state;
  const turn = turns;
  const columns = await filters.columns();
  if (turn !== turns) return; // a later call loads what is chosen by now
  const done = await results.load({ ...listParameters(), q, sort, spelling: !state.exact, highlight: true, facets: columns.slice(0, FACETS) });
  if (!done || !record || !recording() || user !== state.user) return;
  const event = { event_id: newId(), user_id: user, type: "search", timestamp: new Date().toISOString(), query: q, shown: results.items.map((one) => one.item_id).slice(0, SHOWN) };
  search = { id: event.event_id, user, stored: store(event) };
  if (await search.stored) effects(user);
}

const link = (text, click) => el("button", { type: "button", class: "link", on: { click } }, text);

/** How the query was read, above its results; also draws the facets. */
function notes(page) {
  const { typed, text, suggestion, redirect, relaxed } = page.query;
  facets.show(page.facets, state.filters);
  const lines = [];
  if (text !== typed) lines.push(["Results for ", el("b", {}, bdi(text)), ". ", link(["Search for “", bdi(typed), "” instead"], () => set({ exact: "1" }))]);
  if (suggestion) lines.push(["Did you mean ", link(bdi(suggestion), () => searchFor(suggestion)), "?"]);
  if (redirect && /^(https?:\/)?\/[^/\\]/i.test(redirect)) lines.push(["There is a page for this: ", el("a", { href: redirect, rel: "noreferrer" }, redirect)]);
  if (relaxed && page.items.length) {
    const missing = relaxed.missing.flatMap((word, at) => [at ? ", “" : " Not found: “", bdi(word), "”"]);
    const words = { "most words": "No item has all words; these have most of them.", "any word": "No item has all words; these have one.", "no word": "No item has these words; these are close in meaning." };
    lines.push([words[relaxed.step], ...missing, missing.length > 0 && "."]);
  }
  return lines.map((line) => el("p", { class: "note" }, line));
}

function loadFeed({ keep = false } = {}) {
  return feed.load({ ...listParameters(), quota: state.quota }, { keep });
}

// --- what the user does ---

const recording = () => allowed !== false && byId("record").checked && Boolean(state.user);

/** Store an event; whether it was stored. */
async function store(event) {
  try {
    await post("/v1/events", { events: [event] });
    return true;
  } catch (problem) {
    if (problem.status === 403) permit(false);
    toast(`Not recorded. ${problem}`, { problem: true });
    return false;
  }
}

/** What a recorded event changes, at once. */
function effects(user) {
  if (user !== state.user) return;
  loadFeed({ keep: true });
  person.load(user, { again: true });
}

const sending = new Set();

/** A click on an item; true if it is recorded and the item will leave its list. */
function clicked(item, list) {
  if (!recording()) {
    if (state.user && allowed !== false) toast("Not recorded: “Record what I do” is off.");
    return false;
  }
  const { user } = state;
  const name = `${user} ${item.item_id}`;
  if (sending.has(name) || (list === results && results.clicked.has(item.item_id))) return list === feed;
  sending.add(name);
  const event = { event_id: newId(), user_id: user, type: "click", timestamp: new Date().toISOString(), item_id: item.item_id };
  const within = list === results && search?.user === user ? search : null;
  const storeClick = async () => store((await within?.stored) ? { ...event, search_id: within.id } : event);
  storeClick().then((stored) => {
    sending.delete(name);
    if (!stored) return;
    if (list === results) results.mark(item.item_id);
    toast(`Recorded: clicked “${item.title}”.`);
    effects(user);
  });
  return list === feed;
}

/** Show whether the key may write. The box is the user's from the start: what it says never turns on by itself. */
function permit(may) {
  allowed = may;
  const box = byId("record"), why = byId("record-why");
  box.disabled = may === false;
  box.checked = may !== false && sessionStorage.getItem(RECORD) !== "no";
  why.textContent = may === false ? "This key can only read." : may === null ? "" : state.user ? "" : "Choose a user first.";
}

byId("record").addEventListener("change", (event) => {
  sessionStorage.setItem(RECORD, event.target.checked ? "yes" : "no");
});

// --- what is chosen ---

function searchFor(q, jump = false) {
  byId("query").value = q;
  if (q === state.q && !state.exact) loadResults({ record: true });
  else set({ q, exact: "" }, { record: true });
  if (jump) {
    byId("query").focus({ preventScroll: true });
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    byId("search-panel").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  }
}

function set(patch, { replace = false, record = false } = {}) {
  const before = state;
  state = { ...state, ...patch };
  write(state, { replace });
  follow(changed(before, state), { record });
}

/** Draw and load what depends on the names that changed. */
function follow(names, { record = false } = {}) {
  const has = (...keys) => keys.some((name) => names.includes(name));
  if (!names.length) return;
  document.title = [state.q, state.user, "searec"].filter(Boolean).join(" · ");
  if (has("user")) {
    byId("user").value = state.user;
    byId("clear-user").hidden = !state.user;
    permit(allowed);
  }
  if (has("q")) byId("query").value = state.q;
  if (has("sort")) byId("sort").value = state.sort;
  if (has("quota")) showQuota(state.quota);
  if (has("diversity")) showDiversity(state.diversity);
  if (has("filters")) filters.show(state.filters);
  byId("reset").hidden = !state.filters.length && state.quota === null && state.diversity === null;
  if (has("user", "q", "sort", "exact", "filters", "diversity")) loadResults({ record });
  if (has("user", "filters", "quota", "diversity")) loadFeed();
  if (has("user")) person.load(state.user);
}

combobox({
  input: byId("user"),
  place: byId("user-combo"),
  label: "Users",
  propose: async (prefix, signal) => (await get("/v1/users", { prefix, count: 8 }, signal)).user_ids.map((value) => ({ value })),
  take: (user) => set({ user }),
  restore: () => state.user,
  strict: true,
});
const query = combobox({
  input: byId("query"),
  place: byId("query-combo"),
  label: "Suggested searches",
  propose: async (q, signal) =>
    (await get("/v1/suggest", { user_id: state.user || null, q, k: 8 }, signal)).queries.map((one) => ({ value: one.query, note: one.reason })),
  take: (q) => searchFor(q),
});
byId("sort").append(...Object.entries(SORTS).map(([value, text]) => el("option", { value }, text)));
byId("sort").addEventListener("change", (event) => set({ sort: event.target.value }));
byId("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  query.submit();
});
byId("user-form").addEventListener("submit", (event) => event.preventDefault());
byId("clear-user").addEventListener("click", () => {
  set({ user: "" });
  byId("user").focus();
});
byId("reset").addEventListener("click", () => {
  set({ filters: [], quota: null, diversity: null });
  byId("quota").focus();
});
window.addEventListener("popstate", () => {
  const before = state;
  state = read();
  follow(changed(before, state));
});

// --- the key ---

whenRefused((wrong) => {
  const form = byId("key-form");
  const words = wrong ? "The key is not valid." : "";
  byId("key-why").textContent = words;
  if (form.hidden) {
    form.hidden = false;
    byId("key").focus();
  } else if (wrong) byId("key").focus();
  permit(null);
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(text)) {
    byId("key-why").textContent = "A key has neither spaces nor letters beyond ASCII.";
    return;
  }
  key.set(text);
  byId("key").value = "";
  start();
});
byId("forget-key").addEventListener("click", () => {
  key.forget();
  start();
});

/** Load everything; the responses show whether a key is needed and what it may do. */
async function start() {
  const signal = starts.begin();
  byId("forget-key").hidden = !key.get();
  permit(null);
  const loading = filters.load();
  follow(Object.keys(DEFAULTS));
  models.load();
  try {
    await loading;
    await get("/v1/users", { count: 1 }, signal);
  } catch (problem) {
    if (!signal.aborted && problem.status !== 401) await askPermission(signal);
    return;
  }
  const form = byId("key-form");
  if (!form.hidden) {
    form.hidden = true;
    byId("query").focus();
  }
  await askPermission(signal);
}

async function askPermission(signal) {
  const may = await mayWrite();
  if (!signal.aborted) permit(may);
}

start();
