"""The vector index: nearest embeddings by inner product, with filters.

Built around the protocol `VectorIndex` of every engine (`vectors/faiss/index.py` in this process,
`vectors/milvus/index.py` on a server), and the journal that engines read, `VectorSource` (the catalogue). An
index is a cache: if it is missing or damaged, it is built again from its source.

Each vector belongs to one *group* (in a library: the kind of its chunk), stored apart, so that a search in one
group reads that group's bytes only, and to any number of *roots* (in a library: the roots that hold files of its
content). The index knows nothing of chunks, files or queries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

NOWHERE = -1
"""The position of an index that has read nothing of the journal."""


class VectorIndex(Protocol):
    """Vectors by id. Ids are int64, unique and never negative; adding a known id replaces its vector.

    Safe to use from any number of threads. The same tests run against every engine
    (`tests/indexer/vectors/test_vector_contract.py`). A server that does not answer, or refuses, raises a
    LibraryError; `trouble` holds its sentence until the server answers again.
    """

    trouble: str | None
    """A sentence for a person: what failed and is tried again. None if the index is in order."""

    def add(self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray | None = None) -> None:
        """Add ids [n] with vectors float [n, dim] of unit length and groups uint8 [n] (default 0)."""

    def remove(self, ids: np.ndarray) -> None:
        """Remove ids; unknown ids are ignored."""

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        group: int | None = None,
        roots: Collection[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best of each query, best first: scores float32 [q, k] (cosines), ids int64 [q, k].

        `allowed` ids [m], `group` and `roots` (a vector under any of them) filter inside the index: k hits come
        back as long as k vectors are allowed. Empty places hold -inf and -1. Only an index with a source has
        roots.
        """

    def __len__(self) -> int: ...

    def ids(self) -> np.ndarray:
        """All ids, ascending; int64."""

    def contents(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """All vectors, in batches and in any order: ids [m], vectors float [m, dim], groups [m]."""

    def misplaced(self) -> int:
        """The number of vectors that the index has under other roots than the source."""

    def catch_up(self) -> int:
        """Read the source's journal to its end. Returns how many vectors were added, changed or removed."""

    def follow(self, wait_s: float = 0.0) -> bool:
        """Read changes of the source now or soon; never raise for a server that does not answer. `wait_s`:
        seconds to wait for it, so that a search sees the user's latest changes. Returns whether all until the call
        are read."""

    def rebuild(self) -> None:
        """Build the index again from the source. Searches use the old vectors meanwhile."""

    def close(self) -> None: ...


class VectorSource(Protocol):
    """The store of the vectors, with a journal of their changes."""

    def position(self) -> int:
        """The end of the journal now."""

    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        """All ids int64 [n] and their groups uint8 [n], in any order."""

    def vectors(self, group: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """All vectors of a group, in batches and in any order: ids int64 [m], vectors [m, dim]."""

    def changes(self, since: int, limit: int | None = None) -> Changes | None:
        """The changes since a position, within the next `limit` entries of the journal (None: to its end).
        None if the journal does not reach back to the position. A move between roots is a change."""

    def roots_of(self, ids: np.ndarray) -> list[tuple[int, ...]]:
        """The roots of each id, ascending."""

    def under(self, roots: Collection[int]) -> np.ndarray:
        """All ids under any of these roots, ascending."""


class SharedSource(VectorSource, Protocol):
    """A source from which several programs feed one index on a server."""

    def library(self) -> str:
        """The id of the library, unique and the same in every program."""

    def feeding(self) -> AbstractContextManager[bool]:
        """A lock that one program holds at a time. False if this program cannot write to the library."""


@dataclass(frozen=True, eq=False)
class Changes:
    """Added `ids`, `vectors` and `groups` (see `VectorIndex.add`), `removed` ids int64 [m], and the position
    after the changes."""

    position: int
    ids: np.ndarray
    vectors: np.ndarray
    groups: np.ndarray
    removed: np.ndarray


def best_k(scores: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each row, ties by id; scores [q, k] and ids [q, k]. Empty places hold -inf and -1."""
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    row = np.arange(len(scores))[:, None]
    scores, ids = scores[row, order], ids[row, order]
    if scores.shape[1] < k:
        short = len(scores), k - scores.shape[1]
        scores = np.concatenate([scores, np.full(short, -np.inf, scores.dtype)], axis=1)
        ids = np.concatenate([ids, np.full(short, -1, ids.dtype)], axis=1)
    return scores, np.where(np.isneginf(scores), -1, ids)
