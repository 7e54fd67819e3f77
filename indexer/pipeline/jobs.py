"""What moves through the pipeline: a job (one content), its items (chunks), and the queue of decoded items.

Built around one bound: the queue of decoded frames is limited in bytes, so memory does not grow with the
folder. It knows nothing of the stages.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.catalogue.rows import ModelRow, NewChunk, StoredChunk, Work
from indexer.priority import SharedEmbedder
from indexer.types import Kind
from model.inputs import Cue, Input

if TYPE_CHECKING:
    from data.reader import Chunk

QUEUE_BYTES = 24 << 20
"""Bytes of decoded frames that wait for the model: about a second of the work of `lite`."""

GROUP: dict[Kind, int] = {"image": 1, "pdf": 8, "video": 2}
"""Chunks per call of a child process: many enough to open a file seldom, few enough to be fair to other files."""

GROUP_PIXELS, PAGES_MOST = 8 * 1280**2, 32
"""Of the pages of a call: the pixels, each page taken as a square, and the number."""

GONE = ("gone", "no permission", "disk")
"""Causes of an error that lie in one path and not in the content: another copy may be readable."""

NO_VECTOR = np.empty(0, np.float32)


@dataclass(eq=False)
class Job:
    """One content on its way through the stages."""

    work: Work
    model: ModelRow
    embedder: SharedEmbedder
    path: str = ""
    stored: list[StoredChunk] | None = None
    """Set if the catalogue has the chunks and only vectors are missing."""
    again: bool = False
    """An older version read this content before."""
    facts: dict[str, Any] = field(default_factory=dict)
    has_sound: bool = False
    cues: tuple[Cue, ...] = ()
    """The subtitles inside or beside the video."""
    needs_ocr: bool = False
    """A page may have words in its image that its text lacks."""
    caption: str = ""
    """The title and description of the whole file; they go with the first chunk's text."""
    is_half: bool = False
    """The content is the video of a live photo, whose image is the one hit of both."""
    done: dict[int, NewChunk] = field(default_factory=dict)
    """Embedded chunks by their ordinal."""
    chunks: int = 0
    """What it has, or those that lack a vector; 0 until its file was opened."""
    sent: int = 0
    """Chunks that were decoded."""
    scans: int = 0
    """Pages of these that OCR is to read."""
    error: str | None = None
    dropped: bool = False
    """The job ended without a result and without an error; its content stays pending."""


@dataclass(eq=False)
class JobItem:
    """A chunk on its way to the model; the end of its job if `chunk` is None."""

    job: Job
    chunk: Chunk | None = None
    input: Input | None = None
    bytes: int = 0


class ByteQueue:
    """A queue of at most `max_bytes`; a single item always fits."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._items: deque[JobItem] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: JobItem, stop: Callable[[], bool]) -> None:
        with self._changed:
            while self._items and self._bytes + item.bytes > self._max_bytes and not stop():
                self._changed.wait(0.2)
            self._items.append(item)
            self._bytes += item.bytes
            self._changed.notify_all()

    def take(self, limit: int, timeout_s: float) -> list[JobItem]:
        """Returns the waiting items with up to `limit` chunks; an empty list if none comes within `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._closed, timeout_s)
            items: list[JobItem] = []
            while self._items and sum(i.chunk is not None for i in items) < limit:
                items.append(self._items.popleft())
            self._bytes -= sum(i.bytes for i in items)
            self._changed.notify_all()
            return items

    def close(self) -> None:
        """Let `take` return at once from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@dataclass
class Tally:
    """Counts of one run."""

    chunks: int = 0
    reused: int = 0
    contents: int = 0
    failed: int = 0


class Pace:
    """The present speed, over the last minute or, if they took longer, the last eight contents: one large PDF
    among photos must not change it. The time runs from the end of one content to the end of the last one, so
    that neither the first burst nor a pause counts."""

    WINDOW_S, CONTENTS, IDLE_S = 60.0, 8, 300.0

    def __init__(self) -> None:
        self._done: deque[tuple[float, int, int]] = deque(maxlen=4096)  # time, chunks, files

    def add(self, chunks: int, files: int) -> None:
        now = time.monotonic()
        if self._done and now - self._done[-1][0] > self.IDLE_S:
            self._done.clear()
        self._done.append((now, chunks, files))

    def now(self) -> tuple[float, float]:
        """Returns (chunks, files) per second; zeros before two contents are done."""
        now, done = time.monotonic(), list(self._done)
        if len(done) < 2:
            return 0.0, 0.0
        young = next((n for n, row in enumerate(done) if now - row[0] <= self.WINDOW_S), len(done))
        base = max(0, min(young - 1, len(done) - 1 - self.CONTENTS))
        span = max(now - done[base][0], 0.5)
        return sum(r[1] for r in done[base + 1 :]) / span, sum(r[2] for r in done[base + 1 :]) / span


def group_of(kind: Kind, side: int) -> int:
    """Returns the number of chunks of a call whose decoded images have a longest side of `side`. Opening a PDF takes as
    long as two of its pages, so small pages come in larger groups, of at most `GROUP_PIXELS`."""
    return max(GROUP[kind], min(PAGES_MOST, GROUP_PIXELS // side**2)) if kind == "pdf" else GROUP[kind]
