"""What a search of the embedded engine looks at: segments, an open block, and masks of removed rows.

Built around `View`, which never changes once it is in place: every addition and removal makes
the next one. It knows nothing of files, threads and merges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexer.vectors.faiss.segment import Segment
from indexer.vectors.index import merged

OPEN_ROWS = 4096
"""Rows of the open block: a product in NumPy, under 1 ms at 640 dimensions, before it is frozen."""
FEW_REMOVED = 128
"""Up to here removed rows are looked past (k grows by them); more cost a mask, 10-25 % of a scan."""


class OpenBlock:
    """Room for `OPEN_ROWS` vectors. Rows are only ever appended, so older views may go on reading."""

    def __init__(self, dim: int) -> None:
        self.ids = np.zeros(OPEN_ROWS, np.int64)
        self.groups = np.zeros(OPEN_ROWS, np.uint8)
        self.vectors = np.zeros((OPEN_ROWS, dim), np.float32)


@dataclass(frozen=True, eq=False)
class View:
    """All that a search needs, never changed once it is in place."""

    segments: tuple[Segment, ...]
    removed: tuple[np.ndarray | None, ...]  # a bool mask [n] beside each segment
    open: OpenBlock
    open_rows: int
    open_removed: np.ndarray  # bool [OPEN_ROWS]
    position: int  # everything up to here in the source's journal is in it

    def __len__(self) -> int:
        gone = sum(int(r.sum()) for r in self.removed if r is not None)
        return sum(map(len, self.segments)) - gone + int((~self.open_removed[: self.open_rows]).sum())

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, group: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `VectorIndex.search`, of float32 [q, dim]."""
        if allowed is not None:
            allowed = _ascending(np.asarray(allowed, np.int64))
        found = [
            _search_segment(segment, removed, queries, k, allowed)
            for segment, removed in zip(self.segments, self.removed, strict=True)
            if group is None or segment.group == group
        ]
        if self.open_rows:
            found.append(self._search_open(queries, k, allowed, group))
        if not found:
            found.append(_nothing(len(queries)))
        scores, ids = found[0] if len(found) == 1 else (np.concatenate(both, 1) for both in zip(*found, strict=True))
        return merged(scores, ids, k)

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
            return _nothing(len(queries))
        product = np.where(keep, queries @ self.open.vectors[:n].T, -np.inf).astype(np.float32)
        best = _best(product, k)
        return np.take_along_axis(product, best, 1), self.open.ids[best]

    def without(self, ids: np.ndarray) -> View:
        here = np.isin(self.open.ids[: self.open_rows], ids)
        open_removed = self.open_removed
        if here.any():
            open_removed = open_removed.copy()
            open_removed[: self.open_rows] |= here
        return replace(self, removed=masked(self.segments, self.removed, ids), open_removed=open_removed)

    def frozen(self) -> View:
        """The open block as segments, and an empty open block."""
        alive = np.flatnonzero(~self.open_removed[: self.open_rows])
        made = []
        for group in np.unique(self.open.groups[alive]):
            rows = alive[self.open.groups[alive] == group]
            rows = rows[np.argsort(self.open.ids[rows])]
            codes = self.open.vectors[rows].astype(np.float16)
            made.append(Segment.of_array(int(group), self.open.ids[rows], codes))
        return replace(
            self,
            segments=(*self.segments, *made),
            removed=(*self.removed, *(None for _ in made)),
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
            return _nothing(len(queries))
        scores, rows = segment.search_among(queries, k, among)
    else:
        keep: np.ndarray | None = None
        if removed is not None:
            extra = int(removed.sum())
            if extra > FEW_REMOVED:
                keep, extra = ~removed, 0
        scores, rows = segment.search(queries, k + extra, keep)
    ids = np.where(rows >= 0, segment.ids[np.maximum(rows, 0)], -1)
    gone = rows < 0
    if extra and removed is not None:
        gone |= removed[np.maximum(rows, 0)]
    return np.where(gone, -np.inf, scores).astype(np.float32), np.where(gone, -1, ids)


def _nothing(queries: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((queries, 0), np.float32), np.zeros((queries, 0), np.int64)


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k highest of each row (fewer if there are fewer), in no order."""
    if scores.shape[1] <= k:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]


def contains(ascending: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Whether each of `ids` is in `ascending`; bool [len(ids)]."""
    if not len(ascending):
        return np.zeros(len(ids), bool)
    at = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    return ascending[at] == ids


def _ascending(ids: np.ndarray) -> np.ndarray:
    """Each once; no work where they are in order, as they come from the catalogue."""
    return ids if np.all(ids[1:] > ids[:-1]) else np.unique(ids)


def masked(
    parts: Sequence[Segment], removed: Sequence[np.ndarray | None], ids: np.ndarray
) -> tuple[np.ndarray | None, ...]:
    """The masks of `parts` with `ids` removed as well."""
    masks = list(removed)
    for number, segment in enumerate(parts):
        rows = segment.rows_of(ids)
        rows = rows[rows >= 0]
        if len(rows):
            before = masks[number]
            mask = np.zeros(len(segment), bool) if before is None else before.copy()
            mask[rows] = True
            masks[number] = mask
    return tuple(masks)
