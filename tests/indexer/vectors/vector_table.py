"""A source of vectors that cannot be wrong, a dictionary and a journal, and a full scan to compare with."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from indexer.vectors.index import Changes, VectorIndex

DIM = 16


def unit(rng: np.random.Generator, n: int, dim: int = DIM) -> np.ndarray:
    x = rng.standard_normal((n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


class Table:
    """A source of vectors, as the catalogue is one, and the model that the index is compared with."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[np.ndarray, int]] = {}
        self.roots: dict[int, tuple[int, ...]] = {}
        self.journal: list[int] = []
        self.oldest = 0
        self.name = uuid.uuid4().hex
        self.lock = threading.Lock()

    def put(self, ids: np.ndarray, x: np.ndarray, groups: np.ndarray) -> None:
        for i, v, g in zip(ids, x, groups, strict=True):
            self.rows[int(i)] = (v.astype(np.float16), int(g))
            self.journal.append(int(i))

    def place(self, ids: Iterable[int], *roots: int) -> None:
        """These lie under these roots from now on."""
        for i in ids:
            self.roots[int(i)] = roots
            self.journal.append(int(i))

    def roots_of(self, ids: np.ndarray) -> list[tuple[int, ...]]:
        return [self.roots.get(i, ()) for i in ids.tolist()]

    def under(self, roots: Collection[int]) -> np.ndarray:
        wanted = set(roots)
        return np.array(sorted(i for i in self.rows if wanted & set(self.roots.get(i, ()))), np.int64)

    def drop(self, ids: Iterable[int]) -> None:
        for i in ids:
            if self.rows.pop(int(i), None) is not None:
                self.journal.append(int(i))

    def position(self) -> int:
        return len(self.journal)

    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(list(self.rows), np.int64), np.array([g for _, g in self.rows.values()], np.uint8)

    def vectors(self, group: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        ids = np.array([i for i, (_, g) in self.rows.items() if g == group], np.int64)
        for part in np.array_split(ids, 3):
            if len(part):
                yield part, np.stack([self.rows[int(i)][0] for i in part])

    def changes(self, since: int, limit: int | None = None) -> Changes | None:
        if since < self.oldest or since > len(self.journal):
            return None
        end = len(self.journal) if limit is None else min(len(self.journal), since + limit)
        touched = set(self.journal[since:end])
        ids = [i for i in touched if i in self.rows]
        return Changes(
            end,
            np.array(ids, np.int64),
            np.array([self.rows[i][0] for i in ids], np.float16).reshape(len(ids), DIM),
            np.array([self.rows[i][1] for i in ids], np.uint8),
            np.array([i for i in touched if i not in self.rows], np.int64),
        )

    def library(self) -> str:
        return self.name

    @contextmanager
    def feeding(self) -> Iterator[bool]:
        with self.lock:
            yield True

    def best(
        self,
        query: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        group: int | None = None,
        roots: Collection[int] | None = None,
    ) -> dict[int, float]:
        rows = {
            i: float(v.astype(np.float32) @ query)
            for i, (v, g) in self.rows.items()
            if (allowed is None or i in allowed) and (group is None or g == group)
            if roots is None or set(roots) & set(self.roots.get(i, ()))
        }
        return dict(sorted(rows.items(), key=lambda r: -r[1])[:k])


def assert_same(index: VectorIndex, table: Table, query: np.ndarray, k: int, **narrowed: object) -> None:
    scores, ids = index.search(query[None], k, **narrowed)  # type: ignore[arg-type]
    wanted = table.best(query, k, **narrowed)  # type: ignore[arg-type]
    found = {int(i): float(s) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0}
    assert len(found) == len(wanted)
    np.testing.assert_allclose(sorted(found.values()), sorted(wanted.values()), atol=2e-5)
    for i, s in found.items():
        assert abs(float(table.rows[i][0].astype(np.float32) @ query) - s) < 2e-5
    assert list(scores[0][: len(found)]) == sorted(scores[0][: len(found)], reverse=True)
