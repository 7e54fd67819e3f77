"""How long the rest takes, by kind: what a chunk of each kind costs, and how many are left.

Built around the seconds that the stages were at work on chunks of a kind, and how many of these seconds pass in one
second, as several stages work at once: so a single film window among a thousand photos tells what films cost. How many
chunks a file has that nobody has opened follows from its bytes and from the files that were opened. It knows nothing of
the catalogue.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from weakref import WeakSet

from indexer.pipeline.jobs import Job
from indexer.types import KINDS, Kind

IDLE_S = 5.0
"""A longer time without work is a pause, and does not count as time in which work was done."""
COST: dict[Kind, float] = {"image": 1.0, "pdf": 0.6, "video": 2.0}
"""What a chunk of a kind costs, relative to the others, until one was read."""
BYTES: dict[Kind, float] = {"pdf": 100e3, "video": 15e6}
"""Bytes of a chunk of a file until one was opened; an image is one chunk."""


class TimeLeft:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: defaultdict[tuple[str, Kind | None], float] = defaultdict(float)  # seconds
        self._chunks: Counter[tuple[str, Kind | None]] = Counter()
        self._opened: Counter[Kind] = Counter()  # chunks
        self._opened_bytes: Counter[Kind] = Counter()
        self._jobs: WeakSet[Job] = WeakSet()  # in progress
        self._working, self._since, self._wall_s = 0, 0.0, 0.0
        self._begins = 0.0  # the sum of the seconds at which the work in progress began
        self._last = -IDLE_S

    def opened(self, job: Job, chunks: int) -> None:
        """A job's file has this many chunks."""
        with self._lock:
            self._jobs.add(job)
            self._opened[job.work.kind] += chunks
            self._opened_bytes[job.work.kind] += job.work.size

    def is_new(self, kind: Kind) -> bool:
        """Whether no chunk of a kind was decoded yet."""
        return not self._chunks["decode", kind]

    @contextmanager
    def work(self, stage: str, chunks: Mapping[Kind | None, int]) -> Iterator[None]:
        """The block is the work of a stage on this many chunks of each kind; under None, on contents. `chunks` is read
        at its end."""
        began = time.monotonic()
        with self._lock:
            if not self._working:
                self._since = self._last if began - self._last < IDLE_S else began
            self._working += 1
            self._begins += began
        try:
            yield
        finally:
            now = time.monotonic()
            with self._lock:
                self._working -= 1
                self._begins -= began
                self._last = now
                if not self._working:
                    self._wall_s += now - self._since
                for kind, count in chunks.items():
                    self._busy[stage, kind] += (now - began) * count / max(1, sum(chunks.values()))
                    self._chunks[stage, kind] += count

    def to_read(self, kind: Kind, files: int, size: int) -> float | None:
        """Returns the seconds for the files of a kind that are not read, of `size` bytes together; None before
        anything was read."""
        with self._lock:
            chunks = float(files)
            if kind != "image" and files:
                bytes_of = self._opened_bytes[kind] / self._opened[kind] if self._opened[kind] else BYTES[kind]
                begun = sum(job.sent for job in self._jobs if job.work.kind == kind and job.stored is None)
                chunks = max(size / max(bytes_of, 1.0) - begun, 1.0)
            return self._seconds(chunks, self._cost_of_reading(kind))

    def to_embed(self, chunks: int) -> float | None:
        """Returns the seconds for chunks of any kind that lack a vector of another model."""
        with self._lock:
            costs = [self._cost(stage, *KINDS) for stage in ("decode", "embed")]
            return self._seconds(chunks, None if None in costs else sum(filter(None, costs)))

    def of_stage(self, stage: str, contents: int) -> float | None:
        """Returns the seconds for the contents that wait for a later stage; None before one is done."""
        with self._lock:
            return self._seconds(contents, self._cost(stage, None))

    def _seconds(self, chunks: float, cost: float | None) -> float | None:
        if not chunks:
            return 0.0
        now = time.monotonic()
        running = now - self._since if self._working else 0.0
        busy = sum(self._busy.values()) + self._working * now - self._begins
        at_once = busy / max(self._wall_s + running, 1e-3)
        return None if cost is None or at_once <= 0 else chunks * cost / at_once

    def _cost(self, stage: str, *kinds: Kind | None) -> float | None:
        """Returns the seconds of work of a stage on a chunk of these kinds; None before there was one."""
        chunks = sum(self._chunks[stage, kind] for kind in kinds)
        return sum(self._busy[stage, kind] for kind in kinds) / chunks if chunks else None

    def _cost_of_reading(self, kind: Kind) -> float | None:
        known = {k: (self._cost("decode", k) or 0.0) + (self._cost("embed", k) or 0.0) for k in KINDS}
        if known[kind]:
            return known[kind]
        scale = [cost / COST[other] for other, cost in known.items() if cost]
        return COST[kind] * sum(scale) / len(scale) if scale else None
