// What is chosen, as the address of the page has it: user, q, sort, exact, quota, diversity, filter=COLUMN:VALUE.

export const SORTS = { relevance: "Relevance", newest: "Newest", price: "Price, low first", "-price": "Price, high first", popularity: "Popularity" };

const share = (text) => {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return value >= 0 && value <= 1 ? value : null;
};

export function read(search = location.search) {
  const given = new URLSearchParams(search);
  return {
    user: given.get("user") || "",
    q: given.get("q") || "",
    sort: given.get("sort") in SORTS ? given.get("sort") : "relevance",
    exact: given.get("exact") === "1" ? "1" : "",
    quota: share(given.get("quota")),
    diversity: share(given.get("diversity")),
    filters: [...new Set(given.getAll("filter"))].filter((one) => /^[^:]+:./s.test(one)),
  };
}

export function write(state, { replace = false } = {}) {
  const query = new URLSearchParams();
  for (const name of ["user", "q", "quota", "diversity"]) {
    if (state[name] !== null && state[name] !== "") query.set(name, state[name]);
  }
  if (state.sort !== "relevance") query.set("sort", state.sort);
  if (state.exact) query.set("exact", state.exact);
  for (const one of state.filters) query.append("filter", one);
  const text = query.toString();
  const url = location.pathname + (text ? `?${text}` : "");
  if (url === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", url);
}

/** Names of what differs. */
export const changed = (before, after) => Object.keys(after).filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
