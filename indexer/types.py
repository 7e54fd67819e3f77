"""What goes into a library and what comes out of it, as plain records.

These are the words that `app` and `indexer` share: a `Query` made of `Part`s, an
`Answer` made of `Hit`s, the `Status`, the `Failure`s, the report of an indexing
run; and `SearchLibrary`, what a web server needs of a library. They hold no
behaviour beyond their own JSON and know nothing of how an answer is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from data.span import Span, flat
from model.inputs import Cue

Kind = Literal["image", "video", "pdf"]
KINDS: tuple[Kind, ...] = ("image", "video", "pdf")

MARK, UNMARK = "\ue000", "\ue001"
"""Around matched words in `Hit.snippet`: private use characters, never markup."""


@dataclass(frozen=True)
class LibraryOptions:
    """How a library is opened. `threads`: files decoded at a time; None: two. `poll`: scan every few seconds
    instead of watching. `ocr`: off, auto or all; `speech`: off, auto or a listener. `catalogue`: the address
    of a PostgreSQL database, `vectors`: of a Milvus; None: in the library's folder. `model_token`: for a
    model on another machine (`model="https://…"`); it is not stored. `model_given`: the model is the user's word;
    else the one that was chosen on the page, if one was."""

    model: str = "lite"
    model_given: bool = True
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
    catalogue: str | None = None
    vectors: str | None = None
    model_token: str | None = None


@dataclass(frozen=True)
class Part:
    """One part of a query: words, a file (image, video or PDF), or a chunk of the library.

    `weight` is relative to the other parts; a negative one is something to avoid.
    """

    text: str | None = None
    file: Path | None = None
    chunk_id: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Filters:
    """What must hold for every hit. Empty means anything."""

    kinds: tuple[Kind, ...] = ()
    under: Path | None = None
    """A folder above the file."""
    within: tuple[Path, ...] = ()
    """The folders that the visitor may see; none: all."""
    folders: tuple[str, ...] = ()
    """Each is (part of) the name of a folder somewhere above the file."""
    names: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    after: float | None = None
    before: float | None = None
    """UNIX seconds, compared with the date taken."""
    min_s: float | None = None
    max_s: float | None = None
    """Seconds that a video lasts."""
    min_bytes: int | None = None
    max_bytes: int | None = None
    near: tuple[tuple[float, float, float], ...] = ()
    """(latitude, longitude, kilometres)"""
    cameras: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    """A hit carries all of them."""
    file_id: int | None = None

    @property
    def only_kinds(self) -> bool:
        return self == Filters(kinds=self.kinds)


@dataclass(frozen=True)
class Query:
    """The parts of a query, and the filters that hold for every hit."""

    parts: tuple[Part, ...]
    filters: Filters = Filters()
    sort: Literal["relevance", "date"] = "relevance"

    @property
    def text(self) -> str:
        """The words asked for, without those to avoid."""
        return " ".join(p.text for p in self.parts if p.text and p.weight > 0)


@dataclass(frozen=True)
class Hit:
    """A chunk in an answer. A moment's span is that of the merged windows."""

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
    taken_at: float | None
    title: str
    snippet: str
    """Plain text; matched words stand between `MARK` and `UNMARK`."""
    at_s: float | None = None
    """In a video that was found by what is said in it: the second at which that is."""

    def to_json(self) -> dict[str, Any]:
        return flat(self) | {
            "also_at": list(self.also_at),
            "thumb_url": f"/thumb/{self.chunk_id}.webp",
            "open_url": f"/open/{self.chunk_id}",
        }


@dataclass(frozen=True)
class Answer:
    """Hits in order of rank. `total` counts all that match, of which `hits` is one page."""

    query: Query
    model: str
    took_ms: float
    total: int
    hits: tuple[Hit, ...]
    facets: dict[str, dict[str, int]] = field(default_factory=dict)
    """Counts by facet value: {"kind": {"image": 12}, "folder": {...}, "year": {...}, "label": {...}}."""

    def to_json(self) -> dict[str, Any]:
        image = next((p.file.name for p in self.query.parts if p.file), None)
        return {
            "query": {"text": self.query.text, "image": image},
            "model": self.model,
            "took_ms": round(self.took_ms, 2),
            "total": self.total,
            "hits": [h.to_json() for h in self.hits],
            "facets": self.facets,
        }


@dataclass(frozen=True)
class Moment:
    """A stretch of a video; `at_s` is where to jump to: the middle of the best span, or the second at which
    the words of the query are said."""

    hit: Hit
    span: Span
    at_s: float
    score: float
    closeness: float = 0.0
    """Inner product of the query with the best span of the closer look; 0 where there was none."""

    def to_json(self) -> dict[str, Any]:
        """What is played: the video, the stretch, and the link that opens it."""
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
class Failure:
    path: str
    kind: Kind
    reason: str
    since: float
    """UNIX seconds of the first failure."""


@dataclass(frozen=True)
class IndexReport:
    """What an indexing run did: counts of files, of chunks made, of contents reused."""

    files: int = 0
    images: int = 0
    videos: int = 0
    pdfs: int = 0
    chunks: int = 0
    reused: int = 0
    failed: int = 0
    ignored: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found: one sentence a problem, and how many of them were repaired."""

    problems: list[str] = field(default_factory=list)
    repaired: int = 0


@dataclass(frozen=True)
class MigrationReport:
    """A catalogue copied to another engine. `rows`, `digests`: by table, the same in both catalogues.
    `written`: rows that this run wrote."""

    rows: dict[str, int]
    digests: dict[str, str]
    written: int


@dataclass(frozen=True)
class WorkerStatus:
    """A program that indexes this library. `silent_s`: since it was last heard of; `holds`: contents it has
    claimed; `lacks`: folders of the library that it cannot see, whose files others do."""

    name: str
    host: str
    version: str
    model: str
    told: str
    silent_s: float
    holds: int
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """The library now. `reading` names the files being read; `boot` changes at each start."""

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
    """Sentences for a person: a root that is away, a watcher limit, a model switch under way."""
    clicks: int = 0
    """Searches and what was opened after them, kept to train with; only where `keeps_clicks` is or was."""
    keeps_clicks: bool = False
    workers: tuple[WorkerStatus, ...] = ()
    """Programs that index this library, where several may (a catalogue on PostgreSQL)."""


@dataclass(frozen=True)
class FileInfo:
    """A file of the library, for whoever serves it."""

    file_id: int
    path: Path
    kind: Kind
    size: int
    duration_s: float | None
    pages: int | None
    width: int | None
    height: int | None
    taken_at: float | None


@dataclass(frozen=True)
class ChunkInfo:
    chunk_id: int
    file: FileInfo
    ordinal: int
    span: Span
    text: str


class ClickLog(Protocol):
    """Searches in words and what was opened after them; see `indexer.features.click_log`."""

    @property
    def kept(self) -> bool: ...
    def keep(self, agreed: bool) -> None: ...
    def add(self, text: str, chunk_id: int) -> bool: ...
    def delete(self) -> int: ...
    def __len__(self) -> int: ...


class SearchLibrary(Protocol):
    """What a web server needs of a library: `Library` itself has it, and so does a view for one visitor."""

    @property
    def clicks(self) -> ClickLog: ...
    def search(self, query: Query, k: int = 10, offset: int = 0) -> Answer: ...
    def similar(self, chunk_id: int, k: int = 10, offset: int = 0) -> Answer: ...
    def moments(self, query: Query, k: int = 5) -> list[Moment]: ...
    def moment(self, query: Query, chunk_id: int) -> list[Moment]: ...
    def file(self, file_id: int) -> FileInfo | None: ...
    def chunk(self, chunk_id: int) -> ChunkInfo | None: ...
    def transcript(self, file_id: int) -> list[Cue]: ...
    def thumbnail(self, chunk_id: int) -> bytes | None: ...
    def status(self) -> Status: ...
    def failures(self) -> list[Failure]: ...
    def retry(self) -> int: ...
    def use_model(self, name: str) -> str: ...
    def add_root(self, folder: Path) -> None: ...
    def forget(self, folder: Path) -> int: ...
