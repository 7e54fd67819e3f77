"""The vector index on Milvus: a server that many programs share, or Milvus Lite in one file.

Built around one collection a model (`collection.py`), fed from the catalogue's journal. The program that notices a
change sends it, one program at a time. The collection stores its position in the journal, so any program can
continue from there, and sending twice changes nothing. A thread sends and retries, so that indexing never waits
for the server. It knows nothing of chunks, files or queries.
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
from indexer.vectors.index import NOWHERE, SharedSource, best_k
from indexer.vectors.milvus.collection import EXACT_ROWS, MOST_HITS, Lost, Unreachable, VectorCollection, shares

log = logging.getLogger(__name__)

SLICE = 20_000
"""Entries of the journal sent at a time; after each slice the collection stores its position."""
FEW_CHANGES = 4000
"""A search waits until at most this many changes are sent (probably the user's own), and not for more."""
BOUNDED_S = 10.0
"""Seconds after a write in which a program searches with session consistency, which includes that write.
Bounded staleness, which costs no wait, is 5 s by Milvus's default."""
RETRY_S = (1.0, 2.0, 5.0)
"""Waits between attempts at a server that does not answer; the last one repeats."""
FLUSH_ROWS_LITE, FLUSH_ROWS = 512, 4000
"""Milvus Lite searches rows outside its files a hundred times more slowly (1.2 s for 10,000). A server's graph
holds whole files only; Milvus 2.3 scans the other rows, but from 4,992 on through an inverted file of its own,
recall@10 .86 (6,000 x 640) and .90 (6,000 x 2,048) instead of 1."""

IDS_AT_A_TIME = 10_000
"""Ids in one filter: Milvus reads each in 4 µs (10,000: 44 ms)."""
COMMON = 0.02
"""From this share of allowed rows on, unfiltered hits are fetched, deeper until k are allowed; below it, filters
of ids are faster. Both are exact with an exact engine."""
MOST_HITS_A_CALL = 400_000
"""Hits times queries of one call, so that its answer has a few MB."""


class MilvusIndex:
    """A `VectorIndex` over a Milvus. It connects at the first use."""

    def __init__(self, address: Address, key: str, dim: int, source: SharedSource | None = None) -> None:
        """`key`: the model's id. Without a `source`, use `add` and `remove`."""
        self._dim, self._source = dim, source
        self._collection = VectorCollection(address, key, dim, source.library() if source is not None else "")
        self._position = NOWHERE  # the collection's last known position in the source's journal
        self._feeding = threading.Lock()
        self._counts: dict[str, int] = {}
        # Searches are strong until one has succeeded after the start and after each deletion of this program.
        self._strong_events, self._strong_done = 1, 0
        self._written_at = -np.inf
        self._unflushed = 0
        self._rows_since_count = EXACT_ROWS  # so that the first write counts
        self._wake = threading.Condition()
        self._follow_requested = False
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

    # -- contents ----------------------------------------------------------------------------

    def __len__(self) -> int:
        if "" in self._counts:
            return self._counts[""]
        with self._answering():
            return self._count("")

    def ids(self) -> np.ndarray:
        self._open()
        return self._all_ids()

    def contents(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        self._open()
        yield from self._collection.scan(vectors=True)

    def misplaced(self) -> int:
        assert self._source is not None
        self._open()
        return sum(
            actual != expected
            for ids, roots in self._collection.roots()
            for actual, expected in zip(roots, self._source.roots_of(ids), strict=True)
        )

    def _count(self, expression: str) -> int:
        """The number of rows that match, cached until the next write."""
        counts = self._counts  # which a write replaces
        if expression not in counts:
            counts[expression] = self._collection.count(expression, self._level())
        return counts[expression]

    # -- writing -----------------------------------------------------------------------------

    def add(self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray | None = None) -> None:
        ids, vectors = np.asarray(ids, np.int64), np.asarray(vectors)
        groups = np.zeros(len(ids), np.uint8) if groups is None else np.asarray(groups, np.uint8)
        if vectors.shape != (len(ids), self._dim):
            raise ValueError(f"{len(ids)} ids but vectors of shape {vectors.shape}; expected [n, {self._dim}]")
        if len(ids) and int(ids.min()) < 0:
            raise ValueError("ids must not be negative")
        last = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]  # the last vector of a repeated id
        self._open()
        self._upsert(ids[last], vectors[last], groups[last])

    def _upsert(self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray) -> None:
        for start in range(0, len(ids), FLUSH_ROWS):
            part = slice(start, start + FLUSH_ROWS)
            size = len(ids[part])
            if not self._collection.exact and self._unflushed + size > FLUSH_ROWS:
                self._flush()
            roots = [()] * size if self._source is None else self._source.roots_of(ids[part])
            self._collection.upsert(ids[part], vectors[part], groups[part], roots)
            self._note_write(size)

    def remove(self, ids: np.ndarray) -> None:
        self._open()
        self._delete(np.unique(np.asarray(ids, np.int64)))
        self._note_write(len(ids))

    def _delete(self, ids: np.ndarray) -> None:
        self._collection.delete(ids)
        self._strong_events += len(ids) > 0

    def _note_write(self, rows: int) -> None:
        if not rows:
            return
        self._written_at = time.monotonic()
        self._counts = {}
        self._unflushed += rows
        lite = self._collection.address.lite
        if lite and self._unflushed >= FLUSH_ROWS_LITE:
            self._flush()
        elif not lite and self._collection.exact:
            self._rows_since_count += rows
            if self._rows_since_count > EXACT_ROWS // 4:
                self._rows_since_count = 0
                if self._count("") > EXACT_ROWS:
                    self._flush()
                    self._collection.build_graph()

    def _flush(self) -> None:
        self._collection.flush()
        self._unflushed = 0

    def _open(self) -> int:
        """The collection's position in the journal; creates the collection if it does not exist."""
        position = self._collection.position()
        if position is None:
            if self._source is not None and self._position != NOWHERE:
                log.warning("the collection %s is missing; it is made again", self._collection.name)
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
        self._recovered()
        return changed

    def rebuild(self) -> None:
        assert self._source is not None
        with self._feeding, self._source.feeding() as may_feed:
            if not may_feed:
                raise LibraryError("The library cannot be written by this program: nothing was rebuilt.")
            try:
                try:
                    self._open()
                except IndexOutdated:
                    self._collection.drop()
                    self._open()
                self._send_all(self._source)
            except LibraryError as error:
                self._failed(error)
                raise
        self._recovered()

    def _feed(self, source: SharedSource) -> int:
        """Bring the collection to the journal's end. Other programs wait, and then have nothing left to send."""
        changed = 0
        with source.feeding() as may_feed:
            position = self._open()
            if position != self._position:  # other programs have sent rows, which may not be flushed
                self._unflushed += FLUSH_ROWS if self._position == NOWHERE else abs(position - self._position)
            while may_feed and position != source.position() and not self._stopped:
                changes = source.changes(position, SLICE) if position != NOWHERE else None
                if changes is None:
                    changed += self._send_all(source)
                else:
                    self._delete(changes.removed)
                    self._note_write(len(changes.removed))
                    self._upsert(changes.ids, changes.vectors, changes.groups)
                    self._collection.store_position(changes.position)
                    self._set_position(changes.position)
                    changed += len(changes.ids) + len(changes.removed)
                position = self._position
        if position != self._position:  # another program has sent the changes
            self._counts = {}
            self._set_position(position)
        return changed

    def _send_all(self, source: SharedSource) -> int:
        """Send all vectors, then delete the rows that the source lacks. Returns the number of both."""
        position = source.position()  # later changes are sent again from here
        ids, groups = source.ids()
        count = 0
        for group in np.unique(groups).tolist():
            group_ids = ids[groups == group]
            for part, vectors in source.vectors(group):
                present = np.isin(part, group_ids)
                self._upsert(part[present], vectors[present], np.full(present.sum(), group, np.uint8))
                count += int(present.sum())
                if self._stopped:
                    return count
        extra = np.setdiff1d(self._all_ids(), ids)
        self._delete(extra)
        self._note_write(len(extra))
        self._collection.store_position(position)
        self._set_position(position)
        return count + len(extra)

    def _all_ids(self) -> np.ndarray:
        parts = [ids for ids, _, _ in self._collection.scan(vectors=False)]
        return np.sort(np.concatenate([*parts, np.zeros(0, np.int64)]))

    def _set_position(self, position: int) -> None:
        with self._wake:
            self._position = position
            self._wake.notify_all()

    def follow(self, wait_s: float = 0.0) -> bool:
        assert self._source is not None
        target = self._source.position()
        if target == self._position:
            return True
        with self._wake:
            self._follow_requested = True
            self._start_worker()
            self._wake.notify_all()
            few = self._position == NOWHERE or target - self._position <= FEW_CHANGES
            if wait_s and few:
                self._wake.wait_for(
                    lambda: self._position >= target or self.trouble is not None or self._stopped, wait_s
                )
            return self._position >= target

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
                    self._wake.wait_for(lambda: self._stopped or self._follow_requested)
                if self._stopped:
                    return
                self._follow_requested = False
            try:
                if self._unreachable:
                    self._open()  # even if there is nothing to send: searches wait for this
                self.catch_up()
                self._recovered()
                failures = 0
            except LibraryError as error:
                failures += 1
                self._failed(error)
            except Exception:  # the thread's boundary: the next attempt follows
                failures += 1
                log.exception("sending vectors failed")
                self._failed(VectorServerError("Sending vectors failed; details are in sightline.log."))

    def _failed(self, error: LibraryError) -> None:
        with self._wake:
            if self.trouble is None:
                log.warning("%s", error)
            self.trouble, self._unreachable = str(error), isinstance(error, Unreachable)
            self._wake.notify_all()

    def _recovered(self) -> None:
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
        filters = [] if group is None else [f"kind == {group}"]
        if roots is not None:
            filters.append(f"array_contains_any(root, {sorted(roots)})")
        expression = " and ".join(filters)
        with self._answering():
            if roots is not None and not roots:
                hits = _table([[] for _ in queries], 0)
            elif allowed is None:
                hits = self._best(queries, k, expression)
            else:
                hits = self._best_allowed(queries, k, np.unique(np.asarray(allowed, np.int64)), expression)
        return best_k(*hits, k)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Surrounds each search: raises at once while the server is known to be away, so that nobody waits for a
        timeout twice. If it proves to be away now, the thread retries."""
        if self._unreachable:
            raise Unreachable(self.trouble or "")
        events = self._strong_events
        try:
            if self._strong_done < events:
                self._open()
            yield
        except (Unreachable, Lost) as error:
            self._strong_events += 1
            if isinstance(error, Lost):
                self._position = NOWHERE
            if self._source is not None:
                self._failed(error)
                with self._wake:
                    self._follow_requested = True
                    self._start_worker()
                    self._wake.notify_all()
            raise
        self._strong_done = max(self._strong_done, events)

    def _level(self) -> str:
        """Milvus's consistency level: strong after the start and after deletions (which have no time stamp in
        Milvus 2.3), session for a while after each write of this program, else bounded."""
        if self._strong_done < self._strong_events:
            return "Strong"
        return "Session" if time.monotonic() - self._written_at < BOUNDED_S else "Bounded"

    def _best(self, queries: np.ndarray, k: int, expression: str) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows (or more) that match, for each query, best first."""
        if k > MOST_HITS:
            return self._by_shares(queries, k, expression)
        rows: list[list[tuple[int, float]]] = []
        step = max(1, MOST_HITS_A_CALL // k)
        for start in range(0, len(queries), step):
            rows += self._collection.search(queries[start : start + step], k, expression, self._level())
        least = min(map(len, rows), default=k)
        if least < k:
            cacheable = "id in" not in expression  # not worth it for a filter of ids
            total = self._count(expression) if cacheable else self._collection.count(expression, self._level())
            if least < min(k, total):
                return self._by_shares(queries, k, expression)  # a graph may return fewer than k
        return _table(rows, k)

    def _by_shares(self, queries: np.ndarray, k: int, expression: str) -> tuple[np.ndarray, np.ndarray]:
        """The k best by shares of the ids, each with so few rows that Milvus scans and returns all of them."""
        and_ = f"{expression} and " if expression else ""
        limit = min(k, MOST_HITS)
        parts = []
        for share in shares(max(16, 2 * self._count("") // MOST_HITS)):
            parts.append(_table(self._collection.search(queries, limit, and_ + share, self._level()), limit))
        return _joined(parts)

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
        parts = np.array_split(allowed, -(-len(allowed) // IDS_AT_A_TIME))
        return _joined([self._best(queries, k, f"{and_}id in {part.tolist()}") for part in parts])


def _table(rows: Sequence[Sequence[tuple[int, float]]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 [q, k] and ids int64 [q, k]; empty places hold -inf and -1."""
    scores = np.full((len(rows), k), -np.inf, np.float32)
    ids = np.full((len(rows), k), -1, np.int64)
    for number, row in enumerate(rows):
        if row:
            ids[number, : len(row)] = [hit for hit, _ in row]
            scores[number, : len(row)] = [score for _, score in row]
    return scores, ids


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([s for s, _ in parts], 1), np.concatenate([i for _, i in parts], 1)
