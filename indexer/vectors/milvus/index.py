"""The vector index on Milvus: a server that many programs share, or Milvus Lite in one file.

Built around one collection a model (`collection.py`) that is fed from the catalogue's journal.
Whichever program notices a change sends it on, one program at a time; how far the collection has come
stands in the collection itself, so any program can go on from there, and sending twice changes nothing.
A thread sends, so that indexing never waits for the server, and tries again while it does not answer.
It knows nothing of chunks, files or queries.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from indexer.errors import IndexOutdated, LibraryError, VectorServerError
from indexer.vectors.address import Address
from indexer.vectors.index import NOWHERE, SharedSource, merged
from indexer.vectors.milvus.collection import (
    EXACT_ROWS,
    MOST_HITS,
    Lost,
    Unreachable,
    VectorCollection,
    concatenated,
    shares,
)

log = logging.getLogger(__name__)

SLICE = 20_000
"""Entries of the journal taken at a time; after each the collection remembers how far it has come."""
SOON = 4000
"""A search waits for so many changes to be sent (the user's own, most likely), and not for more."""
BOUNDED_S = 10.0
"""After a write of its own a program asks for no less than that write for so long. Bounded staleness, which
costs no wait, is 5 s by Milvus's default."""
RETRY_S = (1.0, 2.0, 5.0)
"""Waits between attempts at a server that does not answer; the last goes on."""
FLUSH_ROWS_LITE, FLUSH_ROWS = 512, 4000
"""Milvus Lite searches rows that are not in a file yet a hundred times more slowly (1.2 s for 10,000). A
server's graph takes in whole files only; rows in none it looks through one by one, but from 4,992 on (2.3) by
an inverted file of its own, recall@10 .86 (6,000 x 640) and .90 (6,000 x 2,048) in place of 1."""

IDS_AT_A_TIME = 10_000
"""Ids in one filter: Milvus reads 4 µs each (10,000: 44 ms)."""
COMMON = 0.02
"""Where this share is allowed or more, the best of all are looked through, deeper until k are allowed; below
it, filters of ids are quicker. Both are exact with an exact engine."""
MOST_NUMBERS = 400_000
"""Hits times queries in one call, for answers of a few MB."""


class MilvusIndex:
    """A `VectorIndex` over a Milvus. Opening it waits for nothing: it connects with the first use."""

    def __init__(self, address: Address, key: str, dim: int, source: SharedSource | None = None) -> None:
        """`key`: the model's id. Without a `source` it holds what `add` and `remove` say."""
        self._dim, self._source = dim, source
        self._collection = VectorCollection(address, key, dim, source.library() if source is not None else "")
        self._position = NOWHERE  # in the source's journal: what the collection is known to hold
        self._feeding = threading.Lock()
        self._counts: dict[str, int] = {}
        self._to_see, self._seen = 1, 0  # strong until this is seen: the start, and each of our own deletions
        self._wrote = -np.inf
        self._unflushed = 0
        self._grown = EXACT_ROWS  # looked at with the first write
        self._wake = threading.Condition()
        self._asked_to_follow = False
        self._worker: threading.Thread | None = None
        self._stopped = False
        self.trouble: str | None = None
        self._unreachable = False

    def close(self) -> None:
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        if self._worker is not None:
            self._worker.join(30)
        self._collection.disconnect()

    # -- what it holds -----------------------------------------------------------------------

    def __len__(self) -> int:
        known = self._counts.get("")
        if known is not None:
            return known
        with self._answering():
            return self._count("")

    def ids(self) -> np.ndarray:
        self._open()
        return np.sort(concatenated([ids for ids, _, _ in self._collection.scan(vectors=False)], np.int64))

    def contents(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        self._open()
        yield from self._collection.scan(vectors=True)

    def misplaced(self) -> int:
        assert self._source is not None
        self._open()
        return sum(
            held != true
            for ids, places in self._collection.places()
            for held, true in zip(places, self._source.roots_of(ids), strict=True)
        )

    def _count(self, expression: str) -> int:
        """Kept until something changes, for a search asks how large the library is."""
        known = self._counts.get(expression)
        if known is None:
            counts = self._counts
            known = counts[expression] = self._collection.count(expression, self._level())
        return known

    # -- writing -----------------------------------------------------------------------------

    def add(self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray | None = None) -> None:
        ids, vectors = np.asarray(ids, np.int64), np.asarray(vectors)
        groups = np.zeros(len(ids), np.uint8) if groups is None else np.asarray(groups, np.uint8)
        if vectors.shape != (len(ids), self._dim):
            raise ValueError(f"{len(ids)} ids but vectors of shape {vectors.shape}; wanted [n, {self._dim}]")
        if len(ids) and int(ids.min()) < 0:
            raise ValueError("ids must not be negative")
        last = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]  # of an id given twice the last holds
        self._open()
        self._upsert(ids[last], vectors[last], groups[last])

    def _upsert(self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray) -> None:
        for at in range(0, len(ids), FLUSH_ROWS):
            part = ids[at : at + FLUSH_ROWS]
            if not self._collection.exact and self._unflushed + len(part) > FLUSH_ROWS:
                self._flush()
            roots = [()] * len(part) if self._source is None else self._source.roots_of(part)
            there = slice(at, at + FLUSH_ROWS)
            self._collection.upsert(part, vectors[there], groups[there], roots)
            self._note_write(len(part))

    def remove(self, ids: np.ndarray) -> None:
        self._open()
        self._delete(np.unique(np.asarray(ids, np.int64)))
        self._note_write(len(ids))

    def _delete(self, ids: np.ndarray) -> None:
        self._collection.delete(ids)
        self._to_see += len(ids) > 0

    def _note_write(self, rows: int) -> None:
        if not rows:
            return
        self._wrote = time.monotonic()
        self._counts = {}
        self._unflushed += rows
        lite = self._collection.address.lite
        if lite and self._unflushed >= FLUSH_ROWS_LITE:
            self._flush()
        elif not lite and self._collection.exact:
            self._grown += rows
            if self._grown > EXACT_ROWS // 4:
                self._grown = 0
                if self._count("") > EXACT_ROWS:
                    self._flush()
                    self._collection.build_graph()

    def _flush(self) -> None:
        self._collection.flush()
        self._unflushed = 0

    def _open(self) -> int:
        """Where the collection stands in the journal; made when it is not there."""
        position = self._collection.position()
        if position is None:
            if self._source is not None and self._position != NOWHERE:
                log.warning("the collection %s is gone; it is made again", self._collection.name)
            self._position = NOWHERE
            self._collection.create()
            position = self._collection.position()
        return NOWHERE if position is None else position

    # -- following the source ----------------------------------------------------------------

    def catch_up(self) -> int:
        assert self._source is not None
        if self._source.position() == self._position:
            return 0
        with self._feeding:
            try:
                changed = self._feed(self._source)
            except LibraryError as error:
                self._failed(error)
                raise
        self._mended()
        return changed

    def rebuild(self) -> None:
        assert self._source is not None
        with self._feeding, self._source.feeding() as may:
            if not may:
                raise LibraryError("The library cannot be written by this program: nothing was rebuilt.")
            try:
                try:
                    self._open()
                except IndexOutdated:  # made for this library and model alone: its vectors are the catalogue's
                    self._collection.drop()
                    self._open()
                self._send_all(self._source)
            except LibraryError as error:
                self._failed(error)
                raise
        self._mended()

    def _feed(self, source: SharedSource) -> int:
        """Bring the collection to the journal's end; other programs wait, and find nothing left to do."""
        changed = 0
        with source.feeding() as may:
            at = self._open()
            if at != self._position:  # others have sent as well, and may have left it in memory
                self._unflushed += FLUSH_ROWS if self._position == NOWHERE else abs(at - self._position)
            while may and at != source.position() and not self._stopped:
                changes = source.changes(at, SLICE) if at != NOWHERE else None
                if changes is None:
                    changed += self._send_all(source)
                else:
                    self._delete(changes.gone)
                    self._note_write(len(changes.gone))
                    self._upsert(changes.ids, changes.vectors, changes.groups)
                    self._collection.note(changes.position)
                    self._take(changes.position)
                    changed += len(changes.ids) + len(changes.gone)
                at = self._position
        if at != self._position:  # another program has sent it
            self._counts = {}
            self._take(at)
        return changed

    def _send_all(self, source: SharedSource) -> int:
        """Everything anew, over what is there; then what is there too much goes."""
        position = source.position()  # what changes meanwhile is sent again from here
        ids, groups = source.ids()
        sent = 0
        for group in np.unique(groups).tolist():
            own = np.sort(ids[groups == group])
            for part, vectors in source.vectors(group):
                here = np.isin(part, own)
                self._upsert(part[here], vectors[here], np.full(here.sum(), group, np.uint8))
                sent += int(here.sum())
                if self._stopped:
                    return sent
        held = concatenated([part for part, _, _ in self._collection.scan(vectors=False)], np.int64)
        extra = np.setdiff1d(held, ids)
        self._delete(extra)
        self._note_write(len(extra))
        self._collection.note(position)
        self._take(position)
        return sent + len(extra)

    def _take(self, position: int) -> None:
        with self._wake:
            self._position = position
            self._wake.notify_all()

    def follow(self, wait_s: float = 0.0) -> None:
        assert self._source is not None
        wanted = self._source.position()
        if wanted == self._position:
            return
        with self._wake:
            self._asked_to_follow = True
            self._start_worker()
            self._wake.notify_all()
            few = self._position == NOWHERE or wanted - self._position <= SOON
            if wait_s and few:
                self._wake.wait_for(
                    lambda: self._position >= wanted or self.trouble is not None or self._stopped, wait_s
                )

    def _start_worker(self) -> None:
        if self._worker is None and not self._stopped:
            self._worker = threading.Thread(target=self._work, name="vectors-milvus", daemon=True)
            self._worker.start()

    def _work(self) -> None:
        failures = 0
        while True:
            with self._wake:
                if failures:
                    self._wake.wait_for(lambda: self._stopped, RETRY_S[min(failures, len(RETRY_S)) - 1])
                else:
                    self._wake.wait_for(lambda: self._stopped or self._asked_to_follow)
                if self._stopped:
                    return
                self._asked_to_follow = False
            try:
                if self._unreachable:
                    self._open()  # also where nothing is to be sent: searches wait for this
                self.catch_up()
                self._mended()
                failures = 0
            except LibraryError as error:
                failures += 1
                self._failed(error)
            except Exception:  # the thread's boundary: what is left to do is tried again
                failures += 1
                log.exception("sending vectors failed")
                self._failed(VectorServerError("Sending vectors failed; details are in sightline.log."))

    def _failed(self, error: LibraryError) -> None:
        with self._wake:
            if self.trouble is None:
                log.warning("%s", error)
            self.trouble, self._unreachable = str(error), isinstance(error, Unreachable)
            self._wake.notify_all()

    def _mended(self) -> None:
        if self.trouble is not None:
            log.info("the vector server answers again")
        self.trouble, self._unreachable = None, False

    # -- searching ---------------------------------------------------------------------------

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        group: int | None = None,
        roots: Collection[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        queries = np.ascontiguousarray(np.atleast_2d(queries), np.float32)
        narrowed = [] if group is None else [f"kind == {group}"]
        if roots is not None:
            narrowed.append(f"array_contains_any(root, {sorted(roots)})")
        expression = " and ".join(narrowed)
        with self._answering():
            if roots is not None and not roots:
                found = _table([[] for _ in queries], 0)
            elif allowed is None:
                found = self._best(queries, k, expression)
            else:
                found = self._best_allowed(queries, k, np.unique(np.asarray(allowed, np.int64)), expression)
        return merged(*found, k)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Around what somebody waits for: a server that is known to be away is not asked again (the thread is
        at it, and nobody waits for a timeout twice), and one that turns out to be is left to the thread."""
        if self._unreachable:
            raise Unreachable(self.trouble or "")
        to_see = self._to_see
        try:
            if self._seen < to_see:
                self._open()
            yield
        except (Unreachable, Lost) as error:
            self._to_see += 1
            if isinstance(error, Lost):
                self._position = NOWHERE
            if self._source is not None:
                self._failed(error)
                with self._wake:
                    self._asked_to_follow = True
                    self._start_worker()
                    self._wake.notify_all()
            raise
        self._seen = max(self._seen, to_see)

    def _level(self) -> str:
        """Milvus's consistency: strong for all that was there at the start and after deletions (which Milvus
        2.3 gives no time stamp), this program's own writes for a while after each, bounded staleness else."""
        if self._seen < self._to_see:
            return "Strong"
        return "Session" if time.monotonic() - self._wrote < BOUNDED_S else "Bounded"

    def _best(self, queries: np.ndarray, k: int, expression: str) -> tuple[np.ndarray, np.ndarray]:
        """The k best (or more) of what an expression leaves, in order for each query."""
        if k > MOST_HITS:
            return self._by_parts(queries, k, expression)
        rows: list[list[tuple[int, float]]] = []
        step = max(1, MOST_NUMBERS // k)
        for at in range(0, len(queries), step):
            rows += self._collection.search(queries[at : at + step], k, expression, self._level())
        if min(map(len, rows), default=k) < k and min(map(len, rows)) < min(k, self._count_now(expression)):
            return self._by_parts(queries, k, expression)  # a graph may end before k are found
        return _table(rows, k)

    def _count_now(self, expression: str) -> int:
        """Filters of ids are counted each time, a group once."""
        if "id in" in expression:
            return self._collection.count(expression, self._level())
        return self._count(expression)

    def _by_parts(self, queries: np.ndarray, k: int, expression: str) -> tuple[np.ndarray, np.ndarray]:
        """By shares of the ids: so few rows each that Milvus scans them whole and returns them all."""
        size = max(1, self._count(""))
        parts = max(16, 2 * size // MOST_HITS)
        and_ = f"{expression} and " if expression else ""
        found = []
        for which in shares(parts):
            rows = self._collection.search(queries, min(k, MOST_HITS), and_ + which, self._level())
            found.append(_table(rows, min(k, MOST_HITS)))
        return _joined(found)

    def _best_allowed(
        self, queries: np.ndarray, k: int, allowed: np.ndarray, expression: str
    ) -> tuple[np.ndarray, np.ndarray]:
        if not len(allowed):
            return _table([[] for _ in queries], 0)
        size = self._count(expression) if len(allowed) > IDS_AT_A_TIME else 0
        if len(allowed) > IDS_AT_A_TIME and len(allowed) >= COMMON * size:
            depth = int(min(MOST_HITS, max(4 * k, 2 * k * size / len(allowed))))
            while True:
                scores, ids = self._best(queries, depth, expression)
                keep = np.isin(ids, allowed)
                if keep.sum(axis=1).min() >= k or depth >= size:
                    return np.where(keep, scores, -np.inf), np.where(keep, ids, -1)
                if depth == MOST_HITS:
                    break
                depth = min(MOST_HITS, 4 * depth)
        and_ = f"{expression} and " if expression else ""
        return _joined(
            [
                self._best(queries, k, f"{and_}id in {part.tolist()}")
                for part in np.array_split(allowed, -(-len(allowed) // IDS_AT_A_TIME))
            ]
        )


def _table(rows: Sequence[Sequence[tuple[int, float]]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 [q, k] and ids int64 [q, k]; empty places hold -inf and -1."""
    scores = np.full((len(rows), k), -np.inf, np.float32)
    ids = np.full((len(rows), k), -1, np.int64)
    for number, row in enumerate(rows):
        if row:
            ids[number, : len(row)] = [hit for hit, _ in row]
            scores[number, : len(row)] = [score for _, score in row]
    return scores, ids


def _joined(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([s for s, _ in found], 1), np.concatenate([i for _, i in found], 1)
