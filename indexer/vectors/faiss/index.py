"""The embedded engine: a vector index over FAISS segments in one folder.

Built around one immutable view at a time (`snapshot.py`): memory-mapped segments of float16 vectors
(`segment.py`), a few small ones in memory, and an open block of the newest vectors. A search uses the current view
and never waits; a writer makes the next view and swaps it in. A background thread merges everything into one file
(`segment_files.py`). It knows nothing of chunks, files or queries.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from indexer.priority import QueryPriority
from indexer.vectors.faiss import segment_files, snapshot
from indexer.vectors.faiss.segment import EXACT_BYTES, Block, Segment, SegmentError
from indexer.vectors.faiss.segment_files import GroupRows
from indexer.vectors.faiss.snapshot import View
from indexer.vectors.index import NOWHERE, VectorSource

log = logging.getLogger(__name__)

MERGE_ROWS = 8192
"""While rows keep coming, a merge starts after this many changes, or an eighth of the index if that is more."""
IDLE_ROWS = 256
IDLE_S = 2.0
"""After this long without a change, a merge starts if this many rows (or one in a hundred) have changed."""
RETRY_S = 60.0
FAR_BEHIND = 50_000
"""Changes that are added one by one; an index further behind is rebuilt, which needs less memory."""
GIVE_WAY_S = 0.05
"""A writer, and each block of a merge, lets searches go first for so long. Without it the p99 of searches while
adding was 2.9 to 4.1 times the idle one: each switch of Python's lock costs up to 5 ms."""
MOST_SEGMENTS = 64
MOST_ROOT_SETS = 8
"""Sets of roots whose ids are cached."""


class _Stopped(Exception):
    """The index was closed during a merge; its half-written file is deleted."""


class FaissIndex:
    """The embedded engine. Safe to use from any number of threads; one process writes a folder at a time."""

    def __init__(
        self,
        folder: Path,
        key: str,
        dim: int,
        source: VectorSource | None = None,
        *,
        writable: bool = True,
        exact_bytes: int = EXACT_BYTES,
    ) -> None:
        """Open the vectors of model `key` in `folder`, and catch up with `source`.

        An index with a source follows its journal (`catch_up`); an index without one uses `add` and `remove`.
        `writable=False` keeps every change in memory (another process owns the folder).
        """
        self._folder, self._key, self._dim, self._source = folder, key, dim, source
        self._writable, self._exact_bytes = writable, exact_bytes
        self._write = threading.Lock()  # locked while a view is made, never during a search or a merge
        self._merging = threading.Lock()  # locked during a whole merge
        self._priority = QueryPriority()
        self._removed_since: list[np.ndarray] | None = None
        self._changed = threading.Condition()
        self._changes = 0
        self._stopped = threading.Event()
        self._worker: threading.Thread | None = None
        self.trouble: str | None = None
        """Why the last merge could not be written (such as a full disk). Searches go on."""
        if writable:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            segment_files.remove_half_written(folder)
        self._catching_up = threading.Lock()
        self._root_sets: dict[frozenset[int], tuple[int, np.ndarray]] = {}
        few = None if writable else self._read_few()
        segments, position = self._read_newest() if few is None else ([], few.position)
        none_removed = np.zeros(snapshot.OPEN_ROWS, bool)
        self._view = few or View(
            tuple(segments), (None,) * len(segments), snapshot.OpenBlock(dim), 0, none_removed, position
        )
        if source is not None:
            self.catch_up()
        if segments and writable:
            self._start_worker(check=True)

    def __len__(self) -> int:
        return len(self._view)

    def ids(self) -> np.ndarray:
        view = self._view
        parts = [s.ids if r is None else s.ids[~r] for s, r in zip(view.segments, view.removed, strict=True)]
        alive = ~view.open_removed[: view.open_rows]
        return np.sort(np.concatenate([*parts, view.open.ids[: view.open_rows][alive]]))

    def contents(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        view = self._view
        for segment, removed in zip(view.segments, view.removed, strict=True):
            for rows, codes, _ in segment.blocks():
                keep = np.ones(len(rows), bool) if removed is None else ~removed[rows]
                yield segment.ids[rows[keep]], codes[keep], np.full(keep.sum(), segment.group, np.uint8)
        alive = np.flatnonzero(~view.open_removed[: view.open_rows])
        yield view.open.ids[alive], view.open.vectors[alive], view.open.groups[alive]

    def add(self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray | None = None) -> None:
        ids = np.asarray(ids, np.int64)
        vectors = np.asarray(vectors)
        groups = np.zeros(len(ids), np.uint8) if groups is None else np.asarray(groups, np.uint8)
        if vectors.shape != (len(ids), self._dim):
            raise ValueError(f"{len(ids)} ids but vectors of shape {vectors.shape}; expected [n, {self._dim}]")
        if len(ids) and int(ids.min()) < 0:
            raise ValueError("ids must not be negative")
        self._priority.give_way(GIVE_WAY_S)
        last = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]  # the last vector of a repeated id
        ids, groups = ids[last], groups[last]
        vectors = vectors[last].astype(np.float16).astype(np.float32)  # so that a merge changes no score
        with self._write:
            self._remove(ids)
            start = 0
            while start < len(ids):
                view = self._view
                if view.open_rows == snapshot.OPEN_ROWS:
                    self._view = view = view.frozen()
                n = min(snapshot.OPEN_ROWS - view.open_rows, len(ids) - start)
                part = slice(start, start + n)
                self._view = view.with_rows(ids[part], vectors[part], groups[part])
                start += n
        self._note_change(len(ids))

    def remove(self, ids: np.ndarray) -> None:
        ids = np.asarray(ids, np.int64)
        with self._write:
            self._remove(ids)
        self._note_change(len(ids))

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        group: int | None = None,
        roots: Collection[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        queries = np.ascontiguousarray(np.atleast_2d(queries), np.float32)
        if roots is not None:
            under = self._under(frozenset(roots))
            allowed = under if allowed is None else np.intersect1d(under, allowed)
        with self._priority.query():
            return self._view.search(queries, k, allowed, group)

    def _under(self, roots: frozenset[int]) -> np.ndarray:
        """The ids under any of these roots, cached until the source changes."""
        assert self._source is not None
        position = self._source.position()
        cached = self._root_sets.get(roots)
        if cached is None or cached[0] != position:
            if len(self._root_sets) >= MOST_ROOT_SETS:
                self._root_sets = {}
            self._root_sets[roots] = cached = (position, self._source.under(roots))
        return cached[1]

    def misplaced(self) -> int:
        return 0  # this engine does not store roots

    def catch_up(self) -> int:
        assert self._source is not None
        with self._catching_up:
            since, end = self._view.position, self._source.position()
            if since == NOWHERE and end == 0:
                self._view = replace(self._view, position=0)
                return 0
            if since == end:
                return 0
            far = since == NOWHERE or end - since > max(FAR_BEHIND, len(self) // 2)
            # A reader never merges: with many segments in memory it reads the owner's file again.
            full = not self._writable and len(self._view.segments) >= MOST_SEGMENTS
            changes = None if far or full else self._source.changes(since)
            if changes is None:
                self.rebuild()
                changes = self._source.changes(self._view.position)
            if changes is None:
                raise RuntimeError("the journal of vectors ends before its own last position")
            if len(changes.removed):
                self.remove(changes.removed)
            if len(changes.ids):
                self.add(changes.ids, changes.vectors, changes.groups)
            with self._write:
                self._view = replace(self._view, position=changes.position)
            return len(changes.ids) + len(changes.removed)

    def follow(self, wait_s: float = 0.0) -> bool:
        self.catch_up()
        return True

    def rebuild(self) -> None:
        assert self._source is not None
        source = self._source
        with self._merging:
            with self._write:
                self._removed_since = []
                if self._view.open_rows:
                    self._view = self._view.frozen()
                before = len(self._view.segments)
            if not self._writable:  # the program that owns the folder has probably written a newer file
                segments, position = self._read_newest()
                if position > self._view.position - FAR_BEHIND and position != NOWHERE:
                    self._adopt(segments, before, position)
                    self._removed_since = None
                    return
            position = source.position()  # later changes are read again from here
            ids, groups = source.ids()
            ids_of = {int(g): np.sort(ids[groups == g]) for g in np.unique(groups)}
            rows = [GroupRows(g, i, partial(self._stream, source, g, i)) for g, i in ids_of.items()]
            self._write_and_adopt(rows, before, position)

    def merge(self) -> None:
        """Write everything into one file and swap it in. The background thread calls this; anyone may."""
        with self._merging:
            with self._write:
                if self._view.open_rows:
                    self._view = self._view.frozen()
                view = self._view
                self._removed_since = []
            self._write_and_adopt(self._rows_of(view), len(view.segments), None)

    def close(self) -> None:
        """Stop the background thread; an unfinished merge and its file are dropped."""
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()
        if self._worker is not None:
            self._worker.join()

    # -- writing -----------------------------------------------------------------------------------------

    def _remove(self, ids: np.ndarray) -> None:
        self._view = self._view.without(ids)
        if self._removed_since is not None:
            self._removed_since.append(ids)

    def _stream(self, source: VectorSource, group: int, group_ids: np.ndarray) -> Iterator[Block]:
        for ids, vectors in source.vectors(group):
            self._pause()
            present = snapshot.contains(group_ids, ids)
            if present.any():
                yield np.searchsorted(group_ids, ids[present]), vectors[present].astype(np.float16), None

    def _rows_of(self, view: View) -> list[GroupRows]:
        result = []
        for group in sorted({s.group for s in view.segments}):
            parts = [(s, r) for s, r in zip(view.segments, view.removed, strict=True) if s.group == group]
            alive = [s.ids if r is None else s.ids[~r] for s, r in parts]
            ids = np.sort(np.concatenate(alive))
            centroids = next((c for s, _ in parts if (c := s.centroids()) is not None), None)
            result.append(GroupRows(group, ids, partial(self._alive_blocks, parts, ids), centroids))
        return result

    def _alive_blocks(self, parts: Sequence[tuple[Segment, np.ndarray | None]], ids: np.ndarray) -> Iterator[Block]:
        for segment, removed in parts:
            for rows, codes, lists in segment.blocks():
                self._pause()
                if removed is not None:
                    keep = ~removed[rows]
                    rows, codes = rows[keep], codes[keep]
                    lists = None if lists is None else lists[keep]
                if len(rows):
                    yield np.searchsorted(ids, segment.ids[rows]), codes, lists

    def _write_and_adopt(self, rows: Sequence[GroupRows], before: int, position: int | None) -> None:
        """Write `rows`, and replace the first `before` segments of the view with them.

        `position`: that of the rows in the journal; None: the view's.
        """
        end = self._view.position if position is None else position
        try:
            segments = self._write_file(rows, end) if self._writable else [_in_memory(r, self._dim) for r in rows]
            self._adopt(segments, before, position)
        finally:
            self._removed_since = None

    def _adopt(self, segments: Sequence[Segment], before: int, position: int | None) -> None:
        """Replace the first `before` segments of the view; rows removed or added since are masked in the new
        ones."""
        with self._write:
            view = self._view
            newer = view.segments[before:]
            stale = [*(self._removed_since or []), *(s.ids for s in newer), view.open.ids[: view.open_rows]]
            masks = snapshot.masked(segments, (None,) * len(segments), np.concatenate(stale))
            self._view = replace(
                view,
                segments=(*segments, *newer),
                removed=(*masks, *view.removed[before:]),
                position=view.position if position is None else position,
            )

    def _write_file(self, rows: Sequence[GroupRows], position: int) -> list[Segment]:
        number = max((_generation(p) for p in self._files()), default=0) + 1
        path = self._folder / f"vectors-{number:06d}.vec"
        segment_files.write(path, self._key, self._dim, position, rows, self._exact_bytes)
        segments, _ = segment_files.read(path, self._key, self._dim)
        for old in self._files():
            if old != path:
                old.unlink(missing_ok=True)  # a program that has mapped it can still read it
        return segments

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("vectors-*.vec"), reverse=True)

    def _read_newest(self) -> tuple[list[Segment], int]:
        for path in self._files():
            try:
                return segment_files.read(path, self._key, self._dim)
            except SegmentError as error:
                log.warning("the vector index is built again: %s", error)
        return [], NOWHERE

    def _read_few(self) -> View | None:
        """The newest file's vectors in an open block, for a program that only searches, often once: FAISS, which takes
        longer to load, is not needed then. None if they are too many, or if there is no such file."""
        for path in self._files():
            try:
                few = segment_files.read_few(path, self._key, self._dim, snapshot.OPEN_ROWS)
            except SegmentError:
                return None  # `_read_newest` says so
            if few is None:
                return None
            view = View((), (), snapshot.OpenBlock(self._dim), 0, np.zeros(snapshot.OPEN_ROWS, bool), few[1])
            for group, ids, codes in few[0]:
                view = view.with_rows(ids, codes.astype(np.float32), group)
            return view
        return None

    # -- background --------------------------------------------------------------------------------------

    def _note_change(self, count: int) -> None:
        if not count or not self._writable:
            return
        with self._changed:
            self._changes += count
            self._changed.notify_all()
        if self._worker is None:
            self._start_worker(check=False)

    def _start_worker(self, check: bool) -> None:
        with self._changed:
            if self._worker is None and not self._stopped.is_set():
                self._worker = threading.Thread(target=self._work, args=(check,), name="vectors", daemon=True)
                self._worker.start()

    def _work(self, check: bool) -> None:
        try:
            if check and self._source is not None and not all(map(segment_files.is_undamaged, self._files()[:1])):
                log.warning("the vector index file is damaged; it is built again")
                self._try_to_write(self.rebuild)
            while not self._stopped.is_set():
                changes = self._wait_for_work()
                if not self._stopped.is_set() and not self._try_to_write(self.merge):
                    self._stopped.wait(RETRY_S)
                    self._changes += changes
        except _Stopped:
            return

    def _wait_for_work(self) -> int:
        """Sleep until a merge is due: after many changes, or some time after the last. Returns their number."""
        with self._changed:
            while not self._stopped.is_set():
                size = len(self._view)
                if self._changes >= max(MERGE_ROWS, size // 8):
                    break
                enough = self._changes >= max(IDLE_ROWS, size // 100)
                if not self._changed.wait(timeout=IDLE_S if enough else None):
                    break
            changes, self._changes = self._changes, 0
            return changes

    def _try_to_write(self, job: Callable[[], None]) -> bool:
        try:
            job()
        except OSError as error:
            self.trouble = f"the vector index could not be written: {error.strerror or error}"
            log.warning("%s; search goes on from memory", self.trouble)
            return False
        self.trouble = None
        return True

    def _pause(self) -> None:
        """Between two blocks of a merge: let searches go first. Raises _Stopped after `close`."""
        self._priority.give_way(GIVE_WAY_S)
        if self._stopped.is_set():
            raise _Stopped


def _in_memory(rows: GroupRows, dim: int) -> Segment:
    codes = np.zeros((len(rows.ids), dim), np.float16)
    for numbers, block, _ in rows.blocks():
        codes[numbers] = block
    return Segment.of_array(rows.group, rows.ids, codes)


def _generation(path: Path) -> int:
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0
