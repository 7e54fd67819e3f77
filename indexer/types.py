"""The records that `app` and `indexer` share: queries, answers, status, reports.

Built around a `Query` made of `Part`s and an `Answer` made of `Hit`s; `SearchLibrary` is what a web server needs
of a library. The records hold no behaviour beyond their JSON and know nothing of how an answer is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol

from data.media.dates import unix
from data.span import PdfPart, Span, flat, part_at
from model.inputs import Cue

Kind = Literal["image", "video", "pdf"]
Fold = Literal["max", "centroid"]
KINDS: tuple[Kind, ...] = ("image", "video", "pdf")

FAVOURITES = ""
"""The album of the favourites: `is:favourite`."""

MARK, UNMARK = "\ue000", "\ue001"
"""Characters (of the private use area) around matched words in `Hit.snippet`."""


@dataclass(frozen=True)
class LibraryOptions:
    """How a library is opened. `threads`: files decoded at a time (None: two). `poll`: scan every few seconds
    instead of watching. `ocr`: off, auto or all. `speech`: off, auto or the name of a speech model. `copies`: take in
    other programs' copies: thumbnails, snapshots, recycle bins (None: the library's stored choice).
    `catalogue`: address of a PostgreSQL database, `vectors`: address of a Milvus (None: the library's folder).
    `model_token`: for a model on another machine (`model="https://…"`); it is not stored. `explicit_model`: the
    user named `model`; False: the model that was chosen on the page takes precedence. `built_in_alone`: no model but
    the built-in one is loaded, unchecked: for a second process that searches a library."""

    model: str = "lite"
    explicit_model: bool = True
    device: str = "auto"
    dtype: str = "auto"
    base: str | None = None
    dim: int | None = None
    detail: str | None = None
    threads: int | None = None
    nice: bool = True
    window_s: float = 30.0
    overlap_s: float = 0.0
    poll: bool = False
    ocr: str = "auto"
    speech: str = "auto"
    copies: bool | None = None
    catalogue: str | None = None
    vectors: str | None = None
    model_token: str | None = None
    built_in_alone: bool = False


@dataclass(frozen=True)
class Part:
    """One part of a query: words, a file (image, video or PDF), or a chunk of the library.

    `weight` is relative to the other parts; a negative weight means: avoid this.
    """

    text: str | None = None
    file: Path | None = None
    chunk_id: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Filters:
    """Conditions on every hit. An empty one allows everything."""

    kinds: tuple[Kind, ...] = ()
    under: Path | None = None
    """A folder above the file."""
    within: tuple[Path, ...] = ()
    """The folders that the visitor may see; empty: all."""
    folders: tuple[str, ...] = ()
    """Names, or parts of names, of folders above the file."""
    names: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    after: str | None = None
    before: str | None = None
    """[after, before) in the local time where it was taken, as ISO 8601 text: 2023, 2023-07-14, 2023-07-14T09:30."""
    min_s: float | None = None
    max_s: float | None = None
    """The duration of a video in seconds."""
    min_bytes: int | None = None
    max_bytes: int | None = None
    near: tuple[tuple[float, float, float], ...] = ()
    """(latitude, longitude, kilometres)"""
    cameras: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    """A hit names all of them: a name, or the beginning of one of its words."""
    labels: tuple[str, ...] = ()
    """A hit carries all of them."""
    albums: tuple[str, ...] = ()
    """A hit is in all of them."""
    file_id: int | None = None

    @property
    def only_kinds(self) -> bool:
        return self == Filters(kinds=self.kinds)


@dataclass(frozen=True)
class Query:
    """The parts of a query, and the filters on its hits."""

    parts: tuple[Part, ...]
    filters: Filters = Filters()
    sort: Literal["relevance", "date"] = "relevance"
    fold: Fold | None = None
    """One hit per file, scored by its best chunk ("max") or by the centroid of its vectors; None: every chunk."""
    rerank: str | None = None
    """A late-interaction model that puts the first pages in a new order: its name, hub id or folder."""

    @property
    def text(self) -> str:
        """The words of the query, without those to avoid."""
        return " ".join(p.text for p in self.parts if p.text and p.weight > 0)


@dataclass(frozen=True)
class Hit:
    """A chunk in an answer. The span of a moment covers all its windows."""

    rank: int
    score: float
    relevant: bool
    kind: Kind
    path: str
    also_at: tuple[str, ...]
    file_id: int
    chunk_id: int
    span: Span
    pages: int | None
    duration_s: float | None
    width: int | None
    height: int | None
    taken: str | None
    """The local date and time as ISO 8601 text, with its zone and all else that is known of it."""
    taken_from: str | None
    """What says so (`SOURCES` in data/media/dates.py); "file": the file's own date, for want of any other."""
    title: str
    snippet: str
    """Plain text; matched words stand between `MARK` and `UNMARK`."""
    at_s: float | None = None
    """In a video that was found by a cue: the second at which the cue begins."""
    note: str | None = None
    """What is wrong with the file though it can be shown; None if nothing is."""
    live: bool = False
    """An image has a video, inside it or beside it: `/live/{file_id}.mp4`."""
    folded: int = 0
    """How many further chunks of the file stand under this one; `Query.fold`."""
    inside_page: int | None = None
    """The page is of a PDF inside the PDF (`/inside/{file_id}/{page}.pdf`): its number there."""
    favourite: bool = False
    alike: int | None = None
    """An image that is near-equal to one higher in the answer: the chunk of that one."""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Hit:
        """Returns the hit that `to_json` wrote."""
        span = Span(document["start_s"], document["end_s"], document["page"])
        values = {f.name: document[f.name] for f in fields(cls) if f.name != "span"}
        return cls(**values | {"span": span, "also_at": tuple(document["also_at"])})

    def to_json(self) -> dict[str, Any]:
        return flat(self) | {
            "taken_at": unix(self.taken),
            "also_at": list(self.also_at),
            "thumb_url": f"/thumb/{self.chunk_id}.webp",
            "open_url": f"/open/{self.chunk_id}",
        }


@dataclass(frozen=True)
class Answer:
    """One page of hits in order of rank. `total` counts the hits on all pages."""

    query: Query
    model: str
    took_ms: float
    total: int
    hits: tuple[Hit, ...]
    facets: dict[str, dict[str, int]] = field(default_factory=dict)
    """Counts by facet value: {"kind": {"image": 12}, "folder": {...}, "year": {...}, "label": {...}}."""
    notice: str | None = None
    """Why nothing was found, where that is known: a sentence for a person."""
    matches: int = 0
    """How many of `total` are relevant; all of them for filters alone."""
    at_least: bool = False
    """There may be more that matches than `matches` and `total` count."""
    unread: dict[Kind, int] = field(default_factory=dict)
    """How many files of each kind are not read yet, among those that may pass the filters."""

    @classmethod
    def from_json(cls, query: Query, document: dict[str, Any]) -> Answer:
        """Returns the answer to a query that `to_json` wrote."""
        names = ("model", "took_ms", "total", "facets", "notice", "matches", "at_least", "unread")
        values = {name: document[name] for name in names}
        return cls(query, hits=tuple(map(Hit.from_json, document["hits"])), **values)

    def to_json(self) -> dict[str, Any]:
        image = next((p.file.name for p in self.query.parts if p.file), None)
        return {
            "query": {"text": self.query.text, "image": image},
            "model": self.model,
            "took_ms": round(self.took_ms, 2),
            "total": self.total,
            "matches": self.matches,
            "at_least": self.at_least,
            "unread": self.unread,
            "hits": [h.to_json() for h in self.hits],
            "facets": self.facets,
            "notice": self.notice,
        }


@dataclass(frozen=True)
class Moment:
    """A stretch of a video. `at_s` is where to start the player: the middle of the best span, or the second at
    which the words of the query are said."""

    hit: Hit
    span: Span
    at_s: float
    score: float
    closeness: float = 0.0
    """Inner product of the query with the best span of the refinement; 0 without refinement."""

    def to_json(self) -> dict[str, Any]:
        start_s, end_s = self.span.seconds
        return {
            "start_s": round(start_s, 3),
            "end_s": round(end_s, 3),
            "at_s": round(self.at_s, 3),
            "score": self.score,
            "relevant": self.hit.relevant,
            "path": self.hit.path,
            "title": self.hit.title,
            "file_id": self.hit.file_id,
            "chunk_id": self.hit.chunk_id,
            "open_url": f"/open/{self.hit.chunk_id}",
        }


@dataclass(frozen=True)
class Album:
    """`count`: its files that the visitor may see. `missing`: contents that no file of the library has any more.
    `cover`: the chunk to show of it; None if there is none. `name`: `FAVOURITES` of the favourites."""

    name: str
    count: int
    missing: int
    cover: int | None


@dataclass(frozen=True)
class Failure:
    path: str
    kind: Kind
    reason: str
    since: float
    """UNIX seconds of the first failure."""


COPIES = "copies and leftovers of other programs"
"""`LeftOutSort.why` of what `LibraryOptions.copies` takes in."""


@dataclass(frozen=True)
class LeftOutSort:
    """Files or folders that are not indexed: `what` they are (an ending, a folder's name), why, how many, and
    the path of one."""

    what: str
    why: str
    count: int
    example: str


@dataclass(frozen=True)
class FolderRules:
    """What else is left out of a root, in the syntax of a .gitignore: `rules` that the library keeps, and `in_file`,
    those of the `.sightlineignore` in it."""

    path: str
    rules: str
    in_file: str


@dataclass(frozen=True)
class RulesChange:
    """How many files of a root other rules leave out and take in. `at_least`: the folder is too large to count all."""

    left_out: int = 0
    taken_in: int = 0
    at_least: bool = False


@dataclass(frozen=True)
class IndexReport:
    """Counts of an indexing run: files, new chunks, reused contents."""

    files: int = 0
    images: int = 0
    videos: int = 0
    pdfs: int = 0
    chunks: int = 0
    reused: int = 0
    failed: int = 0
    ignored: int = 0
    seconds: float = 0.0
    left_out: tuple[LeftOutSort, ...] = ()


@dataclass(frozen=True)
class VerifyReport:
    """The problems that `verify` found, a sentence each, and how many of them are repaired. `sampled` of `contents`
    were read and embedded again; all else is checked for each."""

    problems: list[str] = field(default_factory=list)
    repaired: int = 0
    sampled: int = 0
    contents: int = 0


@dataclass(frozen=True)
class MigrationReport:
    """A catalogue copied to another engine. `rows`, `digests`: by table, the same in both catalogues.
    `written`: rows that this run wrote."""

    rows: dict[str, int]
    digests: dict[str, str]
    written: int


@dataclass(frozen=True)
class WorkerStatus:
    """A program that indexes this library. `told`: what it does now. `silent_s`: seconds since its last
    heartbeat. `holds`: contents it has leased. `lacks`: roots that it cannot see and leaves to others."""

    name: str
    host: str
    version: str
    model: str
    told: str
    silent_s: float
    holds: int
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkLeft:
    """What is still to be done: `step` is "read" (files of a `kind`), "ocr" (words in images), "speech" (videos are
    listened to), "reread" (contents of an older version) or "model" (chunks, for another model). `seconds_left`: how
    long after the steps before it the step ends, so that the sum is the time to the end of all; None where nothing
    tells it yet."""

    step: Literal["read", "ocr", "reread", "speech", "model"]
    kind: Kind | None
    left: int
    seconds_left: float | None = None


@dataclass(frozen=True)
class OtherModel:
    """The id of the model beside the one that answers, and whether it is being built; else it answered before."""

    name: str
    building: bool


@dataclass(frozen=True)
class Status:
    """The state of the library. `reading`: files being read. `boot` changes at each start of the program."""

    files: int
    images: int
    videos: int
    pdfs: int
    chunks: int
    reused: int
    failed: int
    ignored: int
    pending: int
    model: str
    roots: tuple[str, ...]
    bytes: int
    boot: str
    reading: tuple[str, ...] = ()
    chunks_per_s: float = 0.0
    seconds_left: float | None = None
    notices: tuple[str, ...] = ()
    """Sentences for a person: an unreachable root, a watcher limit, a model switch."""
    clicks: int = 0
    """The number of stored clicks (see `indexer.features.click_log`)."""
    keeps_clicks: bool = False
    workers: tuple[WorkerStatus, ...] = ()
    """Programs that index this library, if several can (a catalogue on PostgreSQL)."""
    left_out: tuple[LeftOutSort, ...] = ()
    """What of the folders is not indexed, and why; most first."""
    confinement: tuple[str, ...] = ()
    """The layers that confine the processes that decode files here (`data.media.confinement`)."""
    work: tuple[WorkLeft, ...] = ()
    """All that is still to be done; `seconds_left` is of reading alone."""
    all_seconds_left: float | None = None
    """The seconds to the end of all of it; None where nothing tells it yet."""
    other_model: OtherModel | None = None
    """What the model that answers can be compared with, and the change between the two be undone."""


@dataclass(frozen=True)
class FileInfo:
    """A file of the library."""

    file_id: int
    path: Path
    kind: Kind
    size: int
    duration_s: float | None
    pages: int | None
    width: int | None
    height: int | None
    taken: str | None
    taken_from: str | None
    """As in `Hit`."""
    note: str | None = None
    live: bool = False
    parts: tuple[PdfPart, ...] = ()
    """The PDFs inside a PDF."""
    failed: bool = False
    """The file could not be read when it was indexed."""

    @property
    def taken_at(self) -> float | None:
        """UNIX seconds of `taken`; None if no date is known."""
        return unix(self.taken)


@dataclass(frozen=True)
class ChunkInfo:
    chunk_id: int
    file: FileInfo
    ordinal: int
    span: Span
    text: str
    favourite: bool = False


@dataclass(frozen=True)
class ChunkDetails:
    """All that is known of a chunk and of the file that shows it. `place`: the nearest town. `people`: whom its
    captions name. `caption`: what stands in the files beside it. `text_is`: what `chunk.text` is: "caption", "picture"
    (a caption and the words read in it), "page" or "speech". `heard`: `Heard.state`. `albums`: their names; `also_at`:
    the paths of its copies."""

    chunk: ChunkInfo
    camera: str | None
    lat: float | None
    lon: float | None
    place: str | None
    people: tuple[str, ...]
    caption: str
    text_is: Literal["caption", "picture", "page", "speech"]
    heard: str
    albums: tuple[str, ...]
    also_at: tuple[str, ...]


@dataclass(frozen=True)
class DuplicateFile:
    """A file of a group of duplicates. `is_best`: it has the bytes of the best."""

    file: FileInfo
    chunk_id: int
    favourite: bool
    is_best: bool


@dataclass(frozen=True)
class DuplicateGroup:
    """Files that are the same (`exact`), or of which some look the same; the best is the first."""

    exact: bool
    files: tuple[DuplicateFile, ...]


@dataclass(frozen=True)
class Month:
    """How many contents a month has. `month`: "2023-07", or "1968" where no more is known; "" without a date.
    `of_file`: by the file's own date, for want of any other."""

    month: str
    of_file: bool
    count: int


@dataclass(frozen=True)
class Cluster:
    """Contents that were taken near each other: how many, their middle in degrees, and the nearest town. `near`: the
    value of the filter `near:` that finds them all."""

    lat: float
    lon: float
    count: int
    town: str | None
    near: str


@dataclass(frozen=True)
class Places:
    """Where the contents of an answer were taken. `placed`: how many of `total` say so."""

    clusters: tuple[Cluster, ...]
    placed: int
    total: int


@dataclass(frozen=True)
class SavedSearch:
    """`query`: the parameters of `/api/search` as in an address."""

    name: str
    query: str


@dataclass(frozen=True)
class ComparedQuery:
    """A query under two models. `hits`: the first ones, one for each file, under the model that answers and under the
    other. `opened`: the place, from 1, of what the person opened after this query, None if it is not among them; it
    is None if the click log has nothing of this query."""

    query: str
    hits: tuple[list[Hit], list[Hit]]
    opened: tuple[int | None, int | None] | None = None

    @property
    def agreement(self) -> float:
        """The share of the files of the longer list that are in both; 1 if both are empty."""
        first, second = ({hit.path for hit in hits} for hits in self.hits)
        return len(first & second) / max(len(first), len(second)) if first or second else 1.0


@dataclass(frozen=True)
class ModelComparison:
    """`models`: the id of the model that answers, and of the other. `chunks`: those with a vector under each."""

    models: tuple[str, str]
    chunks: tuple[int, int]
    queries: tuple[ComparedQuery, ...]

    @property
    def agreement(self) -> float:
        """The mean over the queries."""
        return sum(query.agreement for query in self.queries) / len(self.queries)

    def to_json(self) -> dict[str, Any]:
        queries = [
            {
                "query": one.query,
                "agreement": round(one.agreement, 4),
                "hits": [[hit.to_json() for hit in hits] for hits in one.hits],
                "opened": one.opened,
            }
            for one in self.queries
        ]
        return {"models": self.models, "chunks": self.chunks, "agreement": round(self.agreement, 4), "queries": queries}


@dataclass(frozen=True)
class WordPlaces:
    """A word of a query and where it stands: "name", "folder", "caption", or `ChunkDetails.text_is`."""

    word: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Nearness:
    """How near a chunk is to the query among its kind. `closer_than`: the share of the others that are farther, from 0
    to 1. `rank`, `of`: its place among all; None where only a sample was compared."""

    closer_than: float
    rank: int | None
    of: int | None


@dataclass(frozen=True)
class Why:
    """Why a chunk is a hit. `looks`: None for a query without words and chunks."""

    words: tuple[WordPlaces, ...]
    looks: Nearness | None
    model: str


def title_of(name: str, parts: Sequence[PdfPart], page: int | None) -> str:
    """Returns the title of a chunk: the name of its file, and of the PDF inside it that its page is of."""
    inside = part_at(parts, page)
    return f"{name} › {inside[0]}, page {inside[1]}" if inside else name


class ClickLog(Protocol):
    """See `indexer.features.click_log`."""

    @property
    def enabled(self) -> bool: ...
    def enable(self, agreed: bool) -> None: ...
    def add(self, text: str, chunk_id: int) -> bool: ...
    def delete(self) -> int: ...
    def __len__(self) -> int: ...


class SearchLibrary(Protocol):
    """What a web server needs of a library. `Library` has it, and so has the view of one visitor."""

    @property
    def data_dir(self) -> Path: ...
    @property
    def clicks(self) -> ClickLog: ...
    def search(self, query: Query, k: int = 10, offset: int = 0) -> Answer: ...
    def similar(self, chunk_id: int, k: int = 10, offset: int = 0) -> Answer: ...
    def moments(self, query: Query, k: int = 5) -> list[Moment]: ...
    def moment(self, query: Query, chunk_id: int) -> list[Moment]: ...
    def timeline(self, query: Query) -> list[Month]: ...
    def places(self, query: Query) -> Places: ...
    def vocabulary(self) -> dict[str, list[tuple[str, int]]]: ...
    def saved_searches(self) -> list[SavedSearch]: ...
    def save_search(self, name: str, query: str) -> None: ...
    def forget_search(self, name: str) -> bool: ...
    def duplicates(self, k: int, offset: int = 0, *, exact: bool = False) -> tuple[list[DuplicateGroup], int]: ...
    def choices(self) -> dict[str, str]: ...
    def choose(self, name: str, value: str) -> None: ...
    def folder_rules(self) -> list[FolderRules]: ...
    def change_rules(self, folder: Path, rules: str, *, check: bool = False) -> RulesChange: ...
    def give_label(self, name: str, chunk_ids: Sequence[int]) -> int: ...
    def take_label(self, name: str, chunk_ids: Sequence[int]) -> int: ...
    def albums(self) -> list[Album]: ...
    def add_to_album(self, name: str, file_ids: Sequence[int]) -> int: ...
    def remove_from_album(self, name: str, file_ids: Sequence[int]) -> int: ...
    def rename_album(self, name: str, to: str) -> None: ...
    def delete_album(self, name: str) -> int: ...
    def file(self, file_id: int) -> FileInfo | None: ...
    def chunk(self, chunk_id: int) -> ChunkInfo | None: ...
    def details(self, chunk_id: int) -> ChunkDetails | None: ...
    def why(self, query: Query, chunk_id: int) -> Why | None: ...
    def chunks(self, file_id: int) -> list[ChunkInfo]: ...
    def transcript(self, file_id: int) -> list[Cue]: ...
    def speech_state(self, file_id: int) -> str: ...
    def thumbnail(self, chunk_id: int) -> bytes | None: ...
    def status(self) -> Status: ...
    def failures(self) -> list[Failure]: ...
    def retry(self) -> int: ...
    def use_model(self, name: str) -> str: ...
    def compare_models(self, queries: Sequence[str] = ()) -> ModelComparison: ...
    def roll_back_model(self) -> str: ...
    def accept_model(self) -> bool: ...
    def add_root(self, folder: Path) -> None: ...
    def forget(self, folder: Path) -> int: ...
