// The page: what is chosen goes into the address, and what depends on it is asked for again.

import { get, key, mayWrite, newId, post, whenRefused } from "./api.js";
import { combobox } from "./combobox.js";
import { dial, Filters } from "./controls.js";
import { byId, empty, toast } from "./dom.js";
import { ItemList } from "./lists.js";
import { Models } from "./models.js";
import { Person } from "./person.js";
import { changed, read, write } from "./state.js";

const RECORD = "searec-record";
const SHOWN = 1000;
const FAR_LEFT = { user: "", q: "", quota: null, diversity: null, filters: [] };
let state = read();
let search = null; // the search whose results are shown, if it is recorded: {id, user, kept: whether it could be}
let allowed = null; // whether events may be told; null while nobody knows

// --- lists ---

const results = new ItemList({
  place: byId("search-list"),
  name: "Search",
  path: "/v1/search",
  novelty: false,
  nothing: () => empty("Nothing fits “", bdi(state.q), "”", state.filters.length ? " with these filters." : "."),
  touch: (item) => {
    clicked(item, results);
    return false;
  },
});
const feed = new ItemList({
  place: byId("feed-list"),
  name: "Feed",
  path: "/v1/recommend",
  novelty: true,
  nothing: () => empty(state.filters.length ? "Nothing is left with these filters." : "Nothing is left to show."),
  touch: (item) => clicked(item, feed),
});
const person = new Person({ history: byId("history"), interests: byId("interests"), search: (text) => searchFor(text, true) });
const models = new Models(byId("models"));
const filters = new Filters((chosen) => set({ filters: chosen }));
const showQuota = dial("quota", (quota, moving) => set({ quota }, { replace: moving || state.quota !== null }));
const showDiversity = dial("diversity", (diversity, moving) => set({ diversity }, { replace: moving || state.diversity !== null }));

function bdi(text) {
  const element = document.createElement("bdi");
  element.textContent = text;
  return element;
}

const asked = () => ({ user_id: state.user || null, filter: state.filters, diversity: state.diversity });

async function loadResults({ tell = false } = {}) {
  search = null;
  if (!state.q) {
    results.clear("Search for something; proposals come while you type.");
    return;
  }
  results.clicked.clear();
  const { user, q } = state;
  const done = await results.load({ ...asked(), q });
  if (!done || !tell || !recording() || user !== state.user) return;
  const event = { event_id: newId(), user_id: user, type: "search", timestamp: new Date().toISOString(), query: q, shown: results.items.map((one) => one.item_id).slice(0, SHOWN) };
  search = { id: event.event_id, user, kept: told(event) };
  if (await search.kept) effects(user);
}

function loadFeed({ keep = false } = {}) {
  return feed.load({ ...asked(), quota: state.quota }, { keep });
}

// --- what the user does ---

const recording = () => allowed === true && byId("record").checked && Boolean(state.user);

/** Tell what happened; whether it is kept. */
async function told(event) {
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

const under = new Set();

/** A click on an item; true if it is recorded and the item will leave its list. */
function clicked(item, list) {
  if (!recording()) {
    if (state.user && allowed === true) toast("Not recorded: “Record what I do” is off.");
    return false;
  }
  const { user } = state;
  const name = `${user} ${item.item_id}`;
  if (under.has(name) || (list === results && results.clicked.has(item.item_id))) return list === feed;
  under.add(name);
  const event = { event_id: newId(), user_id: user, type: "click", timestamp: new Date().toISOString(), item_id: item.item_id };
  const within = list === results && search?.user === user ? search : null;
  const tell = async () => told((await within?.kept) ? { ...event, search_id: within.id } : event);
  tell().then((kept) => {
    under.delete(name);
    if (!kept) return;
    if (list === results) results.mark(item.item_id);
    toast(`Recorded: clicked “${item.title}”.`);
    effects(user);
  });
  return list === feed;
}

function permit(may) {
  allowed = may;
  const box = byId("record"), why = byId("record-why");
  box.disabled = may !== true;
  box.checked = may === true && sessionStorage.getItem(RECORD) !== "no";
  why.textContent = may === false ? "This key may only read." : may === null ? "" : state.user ? "" : "For a user, once one is chosen.";
}

byId("record").addEventListener("change", (event) => {
  sessionStorage.setItem(RECORD, event.target.checked ? "yes" : "no");
});

// --- what is chosen ---

function searchFor(q, jump = false) {
  byId("query").value = q;
  if (q === state.q) loadResults({ tell: true });
  else set({ q }, { tell: true });
  if (jump) {
    byId("query").focus({ preventScroll: true });
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    byId("search-panel").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  }
}

function set(patch, { replace = false, tell = false } = {}) {
  const before = state;
  state = { ...state, ...patch };
  write(state, { replace });
  follow(changed(before, state), { tell });
}

/** Draw and ask for what depends on the names that changed. */
function follow(names, { tell = false } = {}) {
  const has = (...some) => some.some((name) => names.includes(name));
  if (!names.length) return;
  document.title = [state.q, state.user, "searec"].filter(Boolean).join(" · ");
  if (has("user")) {
    byId("user").value = state.user;
    byId("nobody").hidden = !state.user;
    permit(allowed);
  }
  if (has("q")) byId("query").value = state.q;
  if (has("quota")) showQuota(state.quota);
  if (has("diversity")) showDiversity(state.diversity);
  if (has("filters")) filters.show(state.filters);
  byId("reset").hidden = !state.filters.length && state.quota === null && state.diversity === null;
  if (has("user", "q", "filters", "diversity")) loadResults({ tell });
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
  label: "Proposed searches",
  propose: async (q, signal) =>
    (await get("/v1/suggest", { user_id: state.user || null, q, k: 8 }, signal)).queries.map((one) => ({ value: one.query, note: one.reason })),
  take: (q) => searchFor(q),
});
byId("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  query.submit();
});
byId("user-form").addEventListener("submit", (event) => event.preventDefault());
byId("nobody").addEventListener("click", () => {
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
  const words = wrong ? "The one given is not valid." : "";
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

/** Ask for everything; whether a key is needed and what it may do shows itself. */
async function start() {
  byId("forget-key").hidden = !key.get();
  permit(null);
  follow(Object.keys(FAR_LEFT));
  models.load();
  try {
    await filters.load();
    await get("/v1/users", { count: 1 });
  } catch (problem) {
    if (problem.status !== 401) permit(await mayWrite());
    return;
  }
  const form = byId("key-form");
  if (!form.hidden) {
    form.hidden = true;
    byId("query").focus();
  }
  permit(await mayWrite());
}

start();
