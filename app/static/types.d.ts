/** The types of the server's answers and of the page, for `tsc --checkJs` only. They are global: no module imports them. */

/** What is looked for in a page of HTML is HTML: no cast at each place. */
interface ParentNode {
  querySelector(selectors: string): HTMLElement | null;
  querySelectorAll(selectors: string): NodeListOf<HTMLElement>;
}
interface Element {
  closest(selectors: string): HTMLElement | null;
}

type Page = import("./app.js").Page;
type Results = import("./results.js").Results;
/** The symbols of icons.svg. */
type Picture =
  | "search"
  | "close"
  | "add"
  | "left"
  | "right"
  | "image"
  | "video"
  | "pdf"
  | "folder"
  | "similar"
  | "inside"
  | "copy"
  | "download"
  | "cut"
  | "plus"
  | "remove"
  | "minus"
  | "layers"
  | "avoid"
  | "retry"
  | "sort"
  | "date"
  | "length"
  | "label"
  | "play"
  | "pause"
  | "sound"
  | "mute"
  | "said"
  | "subtitles"
  | "down"
  | "full"
  | "place"
  | "globe"
  | "camera"
  | "info"
  | "saved"
  | "help"
  | "heart"
  | "check"
  | "pile"
  | "table"
  | "open";

type Kind = "image" | "video" | "pdf";

interface Hit {
  rank: number;
  score: number;
  relevant: boolean;
  kind: Kind;
  path: string;
  also_at: string[];
  file_id: number;
  chunk_id: number;
  start_s: number | null;
  end_s: number | null;
  page: number | null;
  pages: number | null;
  duration_s: number | null;
  width: number | null;
  height: number | null;
  taken_at: number | null;
  /** The local date and time where it was taken, as ISO 8601 text with as much as is known of it. */
  taken: string | null;
  /** What says so; "file": the file's own date, for want of any other. */
  taken_from: string | null;
  title: string;
  snippet: string;
  /** In a video found by a cue: the second at which the cue begins. */
  at_s: number | null;
  /** What is wrong with the file though it can be shown. */
  note: string | null;
  /** An image has a film: a live photo, a motion photo. */
  live: boolean;
  /** How many further chunks of the file stand under this one. */
  folded: number;
  /** The page is of a PDF inside the PDF: its number there. */
  inside_page?: number | null;
  favourite: boolean;
  /** An image that is near-equal to one higher in the answer: the chunk of that one. */
  alike?: number | null;
  thumb_url: string;
  open_url: string;
  /** What came of the closer look at it (closer-look.js). */
  moment?: Moment | null;
}

/** Where in a window the words come nearest, in seconds. */
interface Moment {
  at_s: number;
  start_s: number;
  end_s: number;
}

/** `best`: it has the bytes of the one to keep. */
interface DuplicateFile extends Hit {
  size: number;
  best: boolean;
}

/** The best file comes first; `exact`: all have the same bytes. */
interface DuplicateGroup {
  exact: boolean;
  files: DuplicateFile[];
}

/** All that is known of a chunk and its file (app/web/info.py). */
interface Info extends Hit {
  size: number;
  camera: string | null;
  lat: number | null;
  lon: number | null;
  /** The nearest town. */
  place: string | null;
  people: string[];
  caption: string;
  text: string;
  text_is: "caption" | "picture" | "page" | "speech";
  /** Where the transcript of a video comes from; "none" without sound. */
  heard: string;
  albums: string[];
  codecs: { container: string; video: string | null; fps: number | null; audio: string | null } | null;
}

/** Why a chunk is a hit; `sentences`: with the words marked. */
interface Why {
  sentences: string[];
  words: { word: string; places: string[] }[];
  /** `rank` and `of`: null where only a sample was compared. */
  looks: { closer_than: number; rank: number | null; of: number | null } | null;
  model: string;
}

/** help.json: filters with a sentence, an example and the values that need no library; words and keys with a sentence. */
interface HelpWords {
  filters: { name: string; about: string; example: string; values?: string[] }[];
  words: string[][];
  keys: string[][];
}

/** `query`: parameters of a search. `error`: why it cannot be run any more. */
interface SavedSearch {
  name: string;
  query: string;
  error: string | null;
}

/** `name`: empty for the favourites. `cover`: a chunk. `missing`: how many of its files are not in the library any more. */
interface Album {
  name: string;
  count: number;
  missing: number;
  cover: number | null;
}

interface Cluster {
  lat: number;
  lon: number;
  count: number;
  town: string | null;
  /** The value of `near:` that finds it. */
  near: string;
}

interface Places {
  clusters: Cluster[];
  placed: number;
  total: number;
}

interface Answer {
  query: { text: string; image: string | null };
  model: string;
  took_ms: number;
  /** Of all pages: hits, and those that match. */
  total: number;
  matches: number;
  at_least: boolean;
  hits: Hit[];
  facets: Facets;
  /** Why nothing was found, where that is known. */
  notice: string | null;
}

/** What is still to be done: files of a kind to read, or a later step. */
interface WorkLeft {
  step: "read" | "ocr" | "reread" | "speech" | "model";
  kind: Kind | null;
  left: number;
  seconds_left: number | null;
}

interface Status {
  files: number;
  images: number;
  videos: number;
  pdfs: number;
  chunks: number;
  reused: number;
  failed: number;
  ignored: number;
  pending: number;
  model: string;
  roots: string[];
  bytes: number;
  boot: string;
  reading: string[];
  chunks_per_s: number;
  seconds_left: number | null;
  work: WorkLeft[];
  all_seconds_left: number | null;
  notices: string[];
  clicks: number;
  keeps_clicks: boolean;
  /** The model being built, or the one before the last change, whose vectors are still here. */
  other_model: { name: string; building: boolean } | null;
  /** What of the folders is not indexed, and why; most first. */
  left_out: { what: string; why: string; count: number; example: string }[];
  gradio: boolean;
  /** Whether this visitor may have addresses fetched. */
  web: boolean;
  /** The kinds and endings of files that can be searched with. */
  accepts: string;
  /** Whether the server can show this visitor a file in its file manager. */
  reveals: boolean;
}

interface Failure {
  path: string;
  kind: Kind;
  reason: string;
  since: number;
}

/** A line of speech or subtitles, in seconds. */
interface Cue {
  start_s: number;
  end_s: number;
  text: string;
}

interface PageLayer {
  page: number;
  pages: number;
  words: [number, number, number, number, string][];
  marks: [number, number, number, number][];
  /** Of a page of a PDF inside the PDF: its name, and the page there. */
  inside: string | null;
}

/** A part of the query besides words: a file, or a chunk of the library. */
interface Part {
  file?: File;
  chunk?: number;
  avoid: boolean;
}

/** The state of the page, which its address holds. */
interface State {
  q: string;
  avoid: string[];
  parts: Part[];
  kinds: Kind[];
  under: string;
  after: string;
  before: string;
  min_s: string;
  max_s: string;
  file_id: string;
  labels: string[];
  sort: "relevance" | "date";
  /** One hit per file, scored by its best chunk or by the centroid of all; "": every chunk. */
  fold: "" | "max" | "centroid";
  /** Whether the map is shown. */
  map: boolean;
  open: number | null;
  view: "search" | "albums" | "library" | "settings" | "duplicates";
}

/** The element of a tag with classes: `p.quiet`. */
type ElementOf<T extends string> = HTMLElementTagNameMap[(T extends `${infer N}.${string}` ? N : T) &
  keyof HTMLElementTagNameMap];

type Child = Node | string | number | null | undefined | false;
type SearchBox = import("./chips.js").SearchBox;

/** A file as the viewer shows it. `key`: whether it uses a key. */
interface Stage {
  element: HTMLElement;
  foot?: HTMLElement;
  key?: (event: KeyboardEvent) => boolean;
  close?: () => void;
}

/** A line under the search box. */
interface Suggestion {
  icon: Picture;
  text: string;
  note?: string;
  wrong?: boolean;
  act: () => void;
}

/** A line of a menu of filters. `n`: how many hits it leaves. */
interface FilterChoice {
  label: string;
  n?: number;
  on: boolean;
  title?: string;
  change: Partial<State>;
}

type Act = () => void;

/** What a list below a field offers. */
interface Offer {
  children: Child[];
  act: Act;
}

/** The counts of an answer: of each filter, of each of its values. */
type Facets = Record<string, Record<string, number>>;

type Spanned = Pick<Hit, "start_s" | "end_s" | "page" | "pages" | "inside_page">;
type Dated = Pick<Hit, "taken" | "taken_from">;
type Step = Pick<WorkLeft, "step" | "left" | "seconds_left">;

/** How a card is drawn: `ranked` with its strength, compared with the best score; `results` handles its clicks. */
interface CardHow {
  best: number;
  ranked: boolean;
  results: Results;
}

/** A month of the timeline, and its place in the list. */
interface Month {
  key: string;
  offset: number;
  count: number;
}

/** A video that is loaded ahead. */
interface Warm {
  file: number;
  video: HTMLVideoElement;
  listening: AbortController;
}

/** What a transcript does with its video; `come` is called once there are lines. */
interface Seekable {
  seek: (second: number) => void;
  come: Act;
}

/** A film that plays in stretches, in seconds; `said` is null if it is not transcribed. */
interface WholeFilm {
  length: () => number;
  now: () => number;
  seek: (second: number) => void;
  said: () => string | null;
}

/** What happens at each event, by its name. */
type Acts = { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };

type Listeners = { [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K]) => void };

/** Properties of `h`: `on…` listeners with typed events, and attributes of any name. */
type Props = Listeners & Record<string, any>;

/** A setting: one of some options (value, words), or a text. */
interface Choice {
  name: string;
  title: string;
  about: string;
  value: string;
  options: string[][];
}

/** The first hits under each of two models. */
interface Comparison {
  models: [string, string];
  queries: { query: string; hits: [Hit[], Hit[]] }[];
}

/** What else is left out of a folder: by rules of the library, and of the file in it. */
interface FolderRules {
  path: string;
  rules: string;
  in_file: string;
}

interface ModelFetch {
  name: string;
  state: "idle" | "fetching" | "measuring" | "ready" | "failed";
  line: string;
  /** Seconds per image, page and window on this machine. */
  seconds: { image: number; page: number; window: number } | null;
}

/** The requests to the server. Each throws `Refused` or `Away`. */
interface Api {
  /** One page of an answer. */
  search(state: State, page: { k: number; offset: number; signal?: AbortSignal }): Promise<Answer>;
  /** How many hits each month has, newest first. */
  timeline(state: State): Promise<{ months: { month: string; of_file: boolean; count: number }[] }>;
  /** Where all hits were taken. */
  places(state: State, signal: AbortSignal): Promise<Places>;
  /** For each filter the values that the library has, with their numbers. */
  vocabulary(): Promise<Record<string, [string, number][]>>;
  searches(): Promise<{ searches: SavedSearch[] }>;
  saveSearch(name: string, query: string): Promise<void>;
  forgetSearch(name: string): Promise<void>;
  /** Groups of duplicates, and the number of all groups. */
  duplicates(k: number, offset: number): Promise<{ total: number; groups: DuplicateGroup[] }>;
  /** Give chunks a label. */
  label(name: string, chunk_ids: number[]): Promise<{ labelled: number }>;
  albums(): Promise<{ albums: Album[] }>;
  /** Put files into an album; "" is that of the favourites. */
  addToAlbum(name: string, file_ids: number[]): Promise<{ added: number }>;
  /** Take files out of an album; with null, delete it. */
  removeFromAlbum(name: string, file_ids: number[] | null): Promise<{ removed: number }>;
  renameAlbum(name: string, to: string): Promise<void>;
  /** What a download of files (`/api/zip`) or chunks (`/api/reel`) would hold. */
  check(action: string, ids: string): Promise<{ files: number; gone: number }>;
  status(): Promise<Status>;
  failures(): Promise<Failure[]>;
  retry(): Promise<{ retried: number }>;
  /** Where in the window of a hit the query happens. */
  nearest(q: string, chunk: number): Promise<{ moments: Moment[] }>;
  /** The cues of a video, with the words of a query marked; empty until it is transcribed. */
  transcript(file: number, q: string): Promise<{ cues: Cue[] }>;
  chunk(id: number): Promise<Hit>;
  /** All that is known of a chunk. */
  info(chunk: number): Promise<Info>;
  /** Why a chunk is a hit. */
  why(state: State, chunk: number): Promise<Why>;
  browse(path: string): Promise<{ path: string; exists: boolean; folders: string[] }>;
  addRoot(path: string): Promise<{ roots: string[] }>;
  forgetRoot(path: string): Promise<{ forgotten: number; roots: string[] }>;
  /** Words led to a chunk; the server stores it only if the person has agreed. */
  clicked(q: string, chunk_id: number): Promise<void>;
  settings(): Promise<{ settings: Choice[]; rules: { title: string; about: string; folders: FolderRules[] } | null }>;
  choose(name: string, value: string): Promise<unknown>;
  /** Give a folder other rules; with `check` only count the files. */
  changeRules(
    path: string,
    rules: string,
    check: boolean,
  ): Promise<{ left_out: number; taken_in: number; at_least: boolean }>;
  models(): Promise<any[]>;
  /** The download of a model. */
  modelFetch(): Promise<ModelFetch>;
  fetchModel(name: string, precision: string): Promise<ModelFetch>;
  useModel(name: string): Promise<{ model: string }>;
  /** The first hits of queries (none: the last ones that the server knows) under the model that answers and the other. */
  compareModels(queries: string[]): Promise<Comparison>;
  /** "accept": delete the vectors of the model before; "rollback": go back to it. */
  endChange(how: "accept" | "rollback"): Promise<unknown>;
  /** Show a file in the file manager of this machine. */
  reveal(file_id: number): Promise<void>;
  /** Fetch the file at an address, to search with. */
  fetchFile(url: string, signal: AbortSignal): Promise<File>;
  /** Fetch the file at an address into the library. */
  keepAddress(url: string, signal: AbortSignal): Promise<{ path: string; name: string }>;
  /** The words and marks of a page. */
  pageLayer(file: number, page: number, words: string): Promise<PageLayer>;
}
