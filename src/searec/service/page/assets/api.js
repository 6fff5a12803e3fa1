// Calls of the service: one origin, problems in words, stale answers dropped.

const KEY = "searec-key";
const PATIENCE = 2;

export class Problem extends Error {
  constructor(document, status) {
    super(document.detail || document.title);
    this.document = document;
    this.status = status;
    this.slug = String(document.type || "").replace("urn:searec:problem:", "");
  }

  /** Title, what happened, what to do, and the request's id. */
  words() {
    const { title, detail, where, got, expected, remedy, request_id } = this.document;
    const extras = [where && `at ${where}`, got && `got ${got}`, expected && `expected ${expected}`].filter(Boolean).join("; ");
    const sentence = detail ? detail.charAt(0).toUpperCase() + detail.slice(1) : "";
    return {
      title: `${title || "Something went wrong"}.`,
      detail: sentence + (extras ? ` (${extras})` : "") + (sentence && !/[.!?]$/.test(sentence + extras) ? "." : ""),
      remedy: remedy || HELPS[this.slug] || "",
      request: this.status >= 500 ? request_id : "",
    };
  }

  toString() {
    const { title, detail, remedy } = this.words();
    return [title, detail, remedy].filter(Boolean).join(" ");
  }
}

const HELPS = {
  "too-often": "wait a moment",
  overloaded: "wait a moment",
  storage: "wait a moment; if it persists, ask the operator of the service",
  forbidden: "use a key with more rights",
  "no-key": "enter a key",
  unreachable: "check that the service runs",
};

const unreachable = () =>
  new Problem({ type: "unreachable", title: "The service cannot be reached", detail: "the server of this page did not respond" }, 0);

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

let onRefused = () => {};

/** Set the listener for a missing or wrong key. */
export const whenRefused = (listener) => {
  onRefused = listener;
};

function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") query.append(name, one);
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function call(url, options, again) {
  const used = key.get();
  const headers = { Accept: "application/json", ...options.headers };
  if (used) headers.Authorization = `Bearer ${used}`;
  let response;
  try {
    response = await fetch(url, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted || error.name === "AbortError") throw error;
    throw unreachable();
  }
  const wait = Number(response.headers.get("Retry-After") || 0);
  if (again && (response.status === 429 || response.status === 503) && wait > 0 && wait <= PATIENCE) {
    await pause(wait);
    options.signal?.throwIfAborted();
    return call(url, options, false);
  }
  let body = null;
  try {
    body = await response.json();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    body = {};
  }
  if (response.ok) return body;
  const title = body.title || `The service answered with status ${response.status}`;
  const problem = new Problem({ ...body, title }, response.status);
  if (response.status === 401 && used === key.get()) onRefused(Boolean(used));
  throw problem;
}

export const get = (path, parameters, signal) => call(address(path, parameters), { signal }, true);

export const post = (path, body) =>
  call(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }, false);

/** Whether the key may write: a batch without events is refused as forbidden before it is refused as empty. */
export async function mayWrite() {
  if (!key.get()) return true; // a service that can be read without a key has no keys
  try {
    await post("/v1/events", { events: [] });
  } catch (problem) {
    return problem.status === 422;
  }
  return true;
}

/** Of several calls for the same place only the last one counts. */
export class Latest {
  #now = null;

  /** Ends what was under way. */
  begin() {
    this.#now?.abort();
    this.#now = new AbortController();
    return this.#now.signal;
  }
}

/** An id that nobody else makes; `crypto.randomUUID` is missing where the page came over plain HTTP. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return "page-" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
