"""The embeddings of one model in the catalogue, as a source of the vector index.

Built around the catalogue's journal (table `change`) and the kinds of chunks, which are the index's groups. It
knows nothing of FAISS, and the index knows nothing of SQLite.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import numpy as np

from indexer.catalogue.contents import last_change_of
from indexer.catalogue.database import Database
from indexer.catalogue.settings import LIBRARY, StoredSettings
from indexer.types import Kind
from indexer.vectors.index import Changes

GROUPS: dict[Kind, int] = {"image": 0, "video": 1, "pdf": 2}
"""Stored with the vectors: these numbers never change."""
KIND_OF = {group: kind for kind, group in GROUPS.items()}

BATCH = 4096
SAME = 1e-3
"""Numbers of two vectors that differ by less are equal: float16 costs 0.0005."""


class StoredEmbeddings:
    """A `VectorSource` over the catalogue: the embeddings of model `model_id` whose contents have files."""

    def __init__(self, database: Database, model_id: int, dim: int) -> None:
        self._database, self._model_id, self.dim = database, model_id, dim

    def position(self) -> int:
        with self._database.reader() as c:
            return last_change_of(c)

    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        ids, groups = [], []
        for kind, group in GROUPS.items():
            with self._database.reader() as c:
                rows = c.exec_driver_sql(
                    "SELECT k.id FROM content c CROSS JOIN chunk k ON k.content_hash = c.hash"
                    " CROSS JOIN embedding e ON e.chunk_id = k.id AND e.model_id = ?"
                    " WHERE c.kind = ? AND c.orphaned_at IS NULL",
                    (self._model_id, kind),
                )
                ids.append(np.fromiter((r[0] for r in rows), np.int64))
            groups.append(np.full(len(ids[-1]), group, np.uint8))
        return np.concatenate(ids), np.concatenate(groups)

    def vectors(self, group: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        last = -1
        while True:
            with self._database.reader() as c:
                rows = c.exec_driver_sql(
                    "SELECT k.id, e.vector FROM chunk k CROSS JOIN content c ON c.hash = k.content_hash"
                    " CROSS JOIN embedding e ON e.chunk_id = k.id AND e.model_id = ?"
                    " WHERE k.id > ? AND c.kind = ? AND c.orphaned_at IS NULL ORDER BY k.id LIMIT ?",
                    (self._model_id, last, KIND_OF[group], BATCH),
                ).all()
            if not rows:
                return
            last = rows[-1][0]
            yield np.array([r[0] for r in rows], np.int64), self._unpacked([r[1] for r in rows])

    def changes(self, since: int, limit: int | None = None) -> Changes | None:
        with self._database.reader() as c:
            position = last_change_of(c)
            oldest = c.exec_driver_sql("SELECT min(id) FROM change").scalar()
            if since > position or (since < position and (oldest is None or oldest > since + 1)):
                return None
            if limit is not None:
                position = min(position, since + limit)
            span = (since, position)
            entries = c.exec_driver_sql("SELECT DISTINCT chunk_id FROM change WHERE id > ? AND id <= ?", span)
            ids = {row[0] for row in entries}
            rows = c.exec_driver_sql(
                "SELECT e.chunk_id, e.vector, c.kind"
                " FROM (SELECT DISTINCT chunk_id FROM change WHERE id > ? AND id <= ?) j"
                " CROSS JOIN embedding e ON e.chunk_id = j.chunk_id AND e.model_id = ?"
                " JOIN chunk k ON k.id = e.chunk_id"
                " JOIN content c ON c.hash = k.content_hash WHERE c.orphaned_at IS NULL",
                (*span, self._model_id),
            ).all()
        present = np.array([r[0] for r in rows], np.int64)
        groups = np.array([GROUPS[r[2]] for r in rows], np.uint8)
        removed = np.array(sorted(ids.difference(present.tolist())), np.int64)
        return Changes(position, present, self._unpacked([r[1] for r in rows]), groups, removed)

    def roots_of(self, ids: np.ndarray) -> list[tuple[int, ...]]:
        roots: dict[int, list[int]] = {}
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH].tolist()
            with self._database.reader() as c:
                rows = c.exec_driver_sql(
                    "SELECT DISTINCT k.id, f.root_id FROM chunk k"
                    " JOIN file f ON f.content_hash = k.content_hash"
                    f" WHERE k.id IN ({', '.join('?' * len(part))}) ORDER BY k.id, f.root_id",
                    tuple(part),
                ).all()
            for number, root in rows:
                roots.setdefault(number, []).append(root)
        return [tuple(roots.get(number, ())) for number in ids.tolist()]

    def under(self, roots: Collection[int]) -> np.ndarray:
        with self._database.reader() as c:
            rows = c.exec_driver_sql(
                "SELECT DISTINCT k.id FROM file f JOIN chunk k ON k.content_hash = f.content_hash"
                f" WHERE f.root_id IN ({', '.join('?' * len(roots))}) ORDER BY k.id",
                tuple(roots),
            )
            return np.fromiter((r[0] for r in rows), np.int64)

    def differing(self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray) -> int:
        """How many of these vectors differ from the catalogue's; ids that the catalogue lacks do not count."""
        count = 0
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            row_of = {number: row for row, number in enumerate(ids[part].tolist())}
            with self._database.reader() as c:
                rows = c.exec_driver_sql(
                    "SELECT e.chunk_id, e.vector, c.kind FROM embedding e JOIN chunk k ON k.id = e.chunk_id"
                    " JOIN content c ON c.hash = k.content_hash WHERE e.model_id = ?"
                    f" AND c.orphaned_at IS NULL AND e.chunk_id IN ({', '.join('?' * len(row_of))})",
                    (self._model_id, *row_of),
                ).all()
            order = np.array([row_of[r[0]] for r in rows], np.int64)
            expected = self._unpacked([r[1] for r in rows]).astype(np.float32)
            actual = np.asarray(vectors[part], np.float32)[order]
            other_group = np.array([GROUPS[r[2]] for r in rows], np.uint8) != groups[part][order]
            count += int((other_group | ~(np.abs(actual - expected) < SAME).all(axis=1)).sum())
        return count

    # -- for an index that several programs feed ---------------------------------------------

    def library(self) -> str:
        return StoredSettings(self._database).get(LIBRARY) or ""

    @contextmanager
    def feeding(self) -> Iterator[bool]:
        lock = self._database.dialect.feeding_lock()
        try:
            while not lock.acquire():
                time.sleep(0.05)
        except OSError:  # this program can only read the library
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _unpacked(self, blobs: list[bytes]) -> np.ndarray:
        return np.frombuffer(b"".join(blobs), "<f2").reshape(len(blobs), self.dim)
