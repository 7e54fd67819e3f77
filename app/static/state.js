// The state of the page, and its address: each is made from the other, so that links, back and forward work. Files
// have no place in an address; this tab's memory holds them for each entry of the history.

const PLAIN = /** @type {const} */ (["under", "after", "before", "min_s", "max_s", "file_id"]);

const KINDS = /** @type {const} */ (["image", "video", "pdf"]);
/** The views; the last one has no link at the top. */
export const VIEWS = /** @type {const} */ (["search", "albums", "library", "settings", "duplicates"]);

/** @type {Map<number, Part[]>} */
const filesOf = new Map();
let entries = 0;

export function unfiltered() {
  return { kinds: [], under: "", after: "", before: "", min_s: "", max_s: "", file_id: "", labels: [] };
}

/** @returns {State} */
export function empty() {
  return {
    q: "",
    avoid: [],
    parts: [],
    ...unfiltered(),
    sort: "relevance",
    fold: "",
    map: false,
    open: null,
    view: "search",
  };
}

/** The state of the address and of this history entry's files. @returns {State} */
export function read() {
  const state = stateOf(new URLSearchParams(location.search));
  state.parts.push(...(filesOf.get(history.state?.files) ?? []));
  return state;
}

/** The state that parameters describe. @param {URLSearchParams} params @returns {State} */
export function stateOf(params) {
  const state = empty();
  state.q = params.get("q") ?? "";
  state.avoid = params.getAll("avoid");
  state.kinds = KINDS.filter((kind) => params.getAll("kind").includes(kind));
  for (const name of PLAIN) state[name] = params.get(name) ?? "";
  state.labels = params.getAll("label");
  if (params.get("sort") === "date") state.sort = "date";
  const fold = params.get("fold");
  if (fold === "max" || fold === "centroid") state.fold = fold;
  state.map = params.has("map");
  const open = Number(params.get("open"));
  if (params.has("open") && Number.isInteger(open)) state.open = open;
  state.view = VIEWS.find((view) => view === params.get("view")) ?? "search";
  state.parts = ["like", "unlike"]
    .flatMap((name) => params.getAll(name).map((id) => ({ chunk: Number(id), avoid: name === "unlike" })))
    .filter((part) => Number.isInteger(part.chunk));
  return state;
}

/** The query and filters as the fields of a request. @param {State} state */
export function fields(state) {
  const params = new URLSearchParams();
  if (state.q) params.set("q", state.q);
  for (const words of state.avoid) params.append("avoid", words);
  for (const part of state.parts) {
    if (part.chunk !== undefined) params.append(part.avoid ? "unlike" : "like", String(part.chunk));
  }
  for (const kind of state.kinds) params.append("kind", kind);
  for (const label of state.labels) params.append("label", label);
  for (const name of PLAIN) if (state[name]) params.set(name, state[name]);
  if (state.sort === "date") params.set("sort", "date");
  if (state.fold) params.set("fold", state.fold);
  return params;
}

/** The address of a state. @param {State} state */
export function address(state) {
  const params = fields(state);
  if (state.open !== null) params.set("open", String(state.open));
  if (state.map) params.set("map", "1");
  if (state.view !== "search") params.set("view", state.view);
  const query = params.toString();
  return `/${query ? `?${query}` : ""}`;
}

/** Write a state to the address. @param {State} state @param {boolean} step whether to add an entry to the history */
export function write(state, step) {
  const files = state.parts.filter((part) => part.file);
  let id = null;
  if (files.length) {
    id = ++entries;
    filesOf.set(id, files);
  }
  // `opened`: the previous entry is the same page with the viewer closed, so closing the viewer goes back
  const entry = { files: id, opened: step ? state.open !== null : Boolean(history.state?.opened) };
  if (step) history.pushState(entry, "", address(state));
  else history.replaceState(entry, "", address(state));
}

/** A filter as it is typed. @param {string} name @param {string} value */
export function written(name, value) {
  return `${name}:${/\s/.test(value) ? `"${value}"` : value}`;
}

/** The value of a filter that stands among the words, and the other words. @param {string} q @param {string} name */
export function typedFilter(q, name) {
  const pattern = new RegExp(`(?:^|\\s)${name}:(?:"([^"]*)"|(\\S+))`, "i");
  const match = pattern.exec(q);
  return { value: match?.[1] ?? match?.[2] ?? "", rest: q.replace(pattern, "").trim() };
}

/** Whether there is a query. @param {State} state */
export function asks(state) {
  return Boolean(state.q.trim() || state.avoid.length || state.parts.length);
}

/** Whether the query has something to look for, not only to avoid. @param {State} state */
export function wants(state) {
  return Boolean(state.q.trim() || state.parts.some((part) => !part.avoid));
}

/** Whether any filter is set. @param {State} state */
export function filtered(state) {
  return Boolean(state.kinds.length || state.labels.length || PLAIN.some((name) => state[name]));
}
