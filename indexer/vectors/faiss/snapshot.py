"""A snapshot of the embedded engine: segments, an open block, and masks of removed rows.

Built around `View`, which is immutable: every addition and removal makes the next one. It knows nothing of files,
threads and merges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexer.vectors.faiss.segment import Segment
from indexer.vectors.index import best_k

OPEN_ROWS = 4096
"""Rows of the open block, which is searched by a product in NumPy: under 1 ms at 640 dimensions."""
FEW_REMOVED = 128
"""Up to this many removed rows, k grows by their number; more are masked, which costs 10-25 % of a scan."""


class OpenBlock:
    """Room for `OPEN_ROWS` vectors. Rows are only appended, so older views stay valid."""

    def __init__(self, dim: int) -> None:
        self.ids = np.zeros(OPEN_ROWS, np.int64)
        self.groups = np.zeros(OPEN_ROWS, np.uint8)
        self.vectors = np.zeros((OPEN_ROWS, dim), np.float32)


@dataclass(frozen=True, eq=False)
class View:
    """All that a search needs; immutable."""

    segments: tuple[Segment, ...]
    removed: tuple[np.ndarray | None, ...]  # a bool mask [n] for each segment
    open: OpenBlock
    open_rows: int
    open_removed: np.ndarray  # bool [OPEN_ROWS]
    position: int  # in the source's journal

    def __len__(self) -> int:
        removed = sum(int(r.sum()) for r in self.removed if r is not None)
        return sum(map(len, self.segments)) - removed + int((~self.open_removed[: self.open_rows]).sum())

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, group: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `VectorIndex.search`; queries float32 [q, dim]."""
        if allowed is not None:
            allowed = _ascending(np.asarray(allowed, np.int64))
        parts = [
            _search_segment(segment, removed, queries, k, allowed)
            for segment, removed in zip(self.segments, self.removed, strict=True)
            if group is None or segment.group == group
        ]
        if self.open_rows:
            parts.append(self._search_open(queries, k, allowed, group))
        if not parts:
            parts.append(_no_hits(len(queries)))
        scores, ids = parts[0] if len(parts) == 1 else (np.concatenate(both, 1) for both in zip(*parts, strict=True))
        return best_k(scores, ids, k)

    def _search_open(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, group: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        n = self.open_rows
        keep = ~self.open_removed[:n]
        if group is not None:
            keep &= self.open.groups[:n] == group
        if allowed is not None:
            keep &= contains(allowed, self.open.ids[:n])
        if not keep.any():
            return _no_hits(len(queries))
        product = np.where(keep, queries @ self.open.vectors[:n].T, -np.inf).astype(np.float32)
        best = _best(product, k)
        return np.take_along_axis(product, best, 1), self.open.ids[best]

    def with_rows(self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray | int) -> View:
        """With more rows in the open block, which must have room for them."""
        to = slice(self.open_rows, self.open_rows + len(ids))
        self.open.ids[to], self.open.groups[to], self.open.vectors[to] = ids, groups, vectors
        return replace(self, open_rows=to.stop)

    def without(self, ids: np.ndarray) -> View:
        in_open = np.isin(self.open.ids[: self.open_rows], ids)
        open_removed = self.open_removed
        if in_open.any():
            open_removed = open_removed.copy()
            open_removed[: self.open_rows] |= in_open
        return replace(self, removed=masked(self.segments, self.removed, ids), open_removed=open_removed)

    def frozen(self) -> View:
        """A view with the open block's rows as segments, and an empty open block."""
        alive = np.flatnonzero(~self.open_removed[: self.open_rows])
        segments = []
        for group in np.unique(self.open.groups[alive]):
            rows = alive[self.open.groups[alive] == group]
            rows = rows[np.argsort(self.open.ids[rows])]
            codes = self.open.vectors[rows].astype(np.float16)
            segments.append(Segment.of_array(int(group), self.open.ids[rows], codes))
        return replace(
            self,
            segments=(*self.segments, *segments),
            removed=(*self.removed, *(None for _ in segments)),
            open=OpenBlock(self.open.vectors.shape[1]),
            open_rows=0,
            open_removed=np.zeros(OPEN_ROWS, bool),
        )


def _search_segment(
    segment: Segment, removed: np.ndarray | None, queries: np.ndarray, k: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    extra = 0
    if allowed is not None:
        among = segment.rows_of(allowed)
        among = among[among >= 0]
        if removed is not None:
            among = among[~removed[among]]
        if not len(among):
            return _no_hits(len(queries))
        scores, rows = segment.search_among(queries, k, among)
    else:
        keep: np.ndarray | None = None
        if removed is not None:
            extra = int(removed.sum())
            if extra > FEW_REMOVED:
                keep, extra = ~removed, 0
        scores, rows = segment.search(queries, k + extra, keep)
    ids = np.where(rows >= 0, segment.ids[np.maximum(rows, 0)], -1)
    empty = rows < 0
    if extra and removed is not None:
        empty |= removed[np.maximum(rows, 0)]
    return np.where(empty, -np.inf, scores).astype(np.float32), np.where(empty, -1, ids)


def _no_hits(queries: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((queries, 0), np.float32), np.zeros((queries, 0), np.int64)


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k highest scores of each row (all if there are fewer), unordered."""
    if scores.shape[1] <= k:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]


def contains(ascending: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Whether each of `ids` is in `ascending`; bool [len(ids)]."""
    if not len(ascending):
        return np.zeros(len(ids), bool)
    places = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    is_member: np.ndarray = ascending[places] == ids
    return is_member


def _ascending(ids: np.ndarray) -> np.ndarray:
    """Sorted ids without repeats; those from the catalogue are sorted already."""
    return ids if np.all(ids[1:] > ids[:-1]) else np.unique(ids)


def masked(
    segments: Sequence[Segment], removed: Sequence[np.ndarray | None], ids: np.ndarray
) -> tuple[np.ndarray | None, ...]:
    """The masks of removed rows of `segments`, with `ids` removed as well."""
    masks = list(removed)
    for number, segment in enumerate(segments):
        rows = segment.rows_of(ids)
        rows = rows[rows >= 0]
        if len(rows):
            before = masks[number]
            mask = np.zeros(len(segment), bool) if before is None else before.copy()
            mask[rows] = True
            masks[number] = mask
    return tuple(masks)
