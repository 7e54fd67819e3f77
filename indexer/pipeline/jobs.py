"""What moves through the pipeline: a job (one content), its items (chunks), and what they wait in.

Built around one bound: decoded pictures wait in a queue that is full by its bytes, so memory
stays flat however big the folder. It knows nothing of who works on them.
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
from model.embedder import Embedder
from model.inputs import Cue, Input

if TYPE_CHECKING:
    from data.reader import Chunk

QUEUE_BYTES = 96 << 20
"""Decoded pictures that wait for the model: some seconds of work for it."""

GROUP: dict[Kind, int] = {"image": 1, "pdf": 8, "video": 2}
"""Chunks a trip to a child: enough to open the file seldom, few enough that others get their turn."""

SIDE: dict[Kind, int] = {"image": 1280, "pdf": 1280, "video": 640}
"""Longest side of decoded pictures; smaller where the model says so (`side_for`)."""

GONE = ("gone", "no permission", "disk")
"""Causes that are one path's fault, not the content's: another copy of it may do."""

NO_VECTOR = np.empty(0, np.float32)


@dataclass(eq=False)
class Job:
    """One content on its way."""

    work: Work
    model: ModelRow
    embedder: SharedEmbedder
    path: str = ""
    stored: list[StoredChunk] | None = None
    """Set when the catalogue has the chunks and only vectors are missing."""
    again: bool = False
    """It was read before, by an older program."""
    facts: dict[str, Any] = field(default_factory=dict)
    sounds: bool = False
    """It has a sound track."""
    cues: tuple[Cue, ...] = ()
    """The subtitles that came with it."""
    unread: bool = False
    """Words of one of its pages may stand in the picture alone."""
    caption: str = ""
    """What the file says of itself as a whole: it goes with the first chunk's text."""
    is_half: bool = False
    """It is the film of a live photo, which is the one hit of both."""
    done: dict[int, NewChunk] = field(default_factory=dict)
    sent: int = 0
    error: str | None = None
    dropped: bool = False


@dataclass(eq=False)
class JobItem:
    """A chunk on its way to the model; without a chunk, the end of its job."""

    job: Job
    chunk: Chunk | None = None
    input: Input | None = None
    bytes: int = 0


class ByteQueue:
    """A queue that is full by the bytes in it; one item always fits."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._items: deque[JobItem] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: JobItem, stop: Callable[[], bool]) -> None:
        with self._changed:
            while self._items and self._bytes + item.bytes > self._most and not stop():
                self._changed.wait(0.2)
            self._items.append(item)
            self._bytes += item.bytes
            self._changed.notify_all()

    def take(self, most: int, timeout_s: float) -> list[JobItem]:
        """What is there, at least one, up to `most` chunks; empty after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._closed, timeout_s)
            taken: list[JobItem] = []
            while self._items and sum(i.chunk is not None for i in taken) < most:
                taken.append(self._items.popleft())
            self._bytes -= sum(i.bytes for i in taken)
            self._changed.notify_all()
            return taken

    def close(self) -> None:
        """Nobody waits to take any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@dataclass
class Tally:
    """What this run did."""

    chunks: int = 0
    reused: int = 0
    contents: int = 0
    failed: int = 0


class Pace:
    """How fast it goes, over the last minute, or the last eight contents where those took longer: a large PDF
    among photos is not another pace. Counted from one content's end to the last one's, so that neither the
    first burst nor a pause counts as speed."""

    WINDOW_S, CONTENTS, IDLE_S = 60.0, 8, 300.0

    def __init__(self) -> None:
        self._done: deque[tuple[float, int, int]] = deque(maxlen=4096)  # time, chunks, files

    def add(self, chunks: int, files: int) -> None:
        now = time.monotonic()
        if self._done and now - self._done[-1][0] > self.IDLE_S:
            self._done.clear()
        self._done.append((now, chunks, files))

    def now(self) -> tuple[float, float]:
        """(chunks, files) a second; zeros before there is anything to tell from."""
        now, done = time.monotonic(), list(self._done)
        if len(done) < 2:
            return 0.0, 0.0
        young = next((n for n, row in enumerate(done) if now - row[0] <= self.WINDOW_S), len(done))
        base = max(0, min(young - 1, len(done) - 1 - self.CONTENTS))
        span = max(now - done[base][0], 0.5)
        return sum(r[1] for r in done[base + 1 :]) / span, sum(r[2] for r in done[base + 1 :]) / span


def side_for(embedder: Embedder, kind: Kind) -> int:
    """Returns the longest side of a model's images: at most `max_side` of the model; of pages, its `page_side`."""
    if kind == "pdf" and hasattr(embedder, "page_side"):
        return int(embedder.page_side)
    return min(getattr(embedder, "max_side", SIDE[kind]), SIDE[kind])
