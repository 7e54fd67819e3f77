"""The vector index: nearest embeddings by inner product, within what is allowed.

Built around one protocol, `VectorIndex`, that every engine speaks (`vectors/faiss/index.py` in this
process, `vectors/milvus/index.py` beyond it), and the journal they read, `VectorSource` (the catalogue). An
index is a cache of what its source holds: missing or damaged, it is built again from there.

Every vector belongs to a *group* (for the library: the kind of its chunk), kept apart, so that
a search inside one group reads that group's bytes only, and lies under any number of *roots* (for the
library: the folders its content has files in). The index knows nothing of chunks, files or queries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

NOWHERE = -1
"""The position of an index that has read nothing."""


class VectorIndex(Protocol):
    """Vectors by id. Ids are int64, unique and never negative; adding a known id replaces its vector.

    Safe to use from any number of threads. The same contract tests run against every engine
    (`tests/indexer/vectors/test_vector_contract.py`). An engine beyond this process that does not answer, or
    refuses, raises a LibraryError of one sentence, and says the same in `trouble` until it is over.
    """

    trouble: str | None
    """What a person should know of it now: what failed and is tried again. Answers go on where they can."""

    def add(self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray | None = None) -> None:
        """ids [n], vectors float [n, dim] of unit length, groups uint8 [n] (default 0)."""

    def remove(self, ids: np.ndarray) -> None:
        """Forget ids; unknown ones are nothing to it."""

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        group: int | None = None,
        roots: Collection[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best of each query, best first: scores float32 [q, k] (cosines), ids int64 [q, k].

        `allowed` ids [m], `group` and `roots` (any of these) narrow what is looked at, inside the index:
        k come back while k are allowed. Empty places hold -inf and -1. Only an index with a source
        knows of roots.
        """

    def __len__(self) -> int: ...

    def ids(self) -> np.ndarray:
        """All ids, ascending; int64."""

    def contents(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """All that it holds, some at a time and in any order: ids [m], vectors float [m, dim], groups [m]."""

    def misplaced(self) -> int:
        """How many it keeps under other roots than the source does."""

    def catch_up(self) -> int:
        """Read on in the source's journal, to its end. How many vectors came, changed or went."""

    def follow(self, wait_s: float = 0.0) -> None:
        """The source may have changed: take it in now or soon, and never raise for an engine that does not
        answer. `wait_s`: how long to wait, so that a search sees what its user just did."""

    def rebuild(self) -> None:
        """Make it again from the source, whatever it held. Searches go on with what there was."""

    def close(self) -> None: ...


class VectorSource(Protocol):
    """Where the vectors truly are, with a journal of what changed."""

    def position(self) -> int:
        """The end of the journal now."""

    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        """All ids int64 [n] and their groups uint8 [n], in any order."""

    def vectors(self, group: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """All of a group: ids int64 [m] and vectors [m, dim], some at a time, in any order."""

    def changes(self, since: int, limit: int | None = None) -> Changes | None:
        """What has changed since a position, within the next `limit` entries of the journal (None: to its
        end); None when the journal does not reach back that far. A move between roots is a change."""

    def roots_of(self, ids: np.ndarray) -> list[tuple[int, ...]]:
        """The roots that each of these lies under, ascending."""

    def under(self, roots: Collection[int]) -> np.ndarray:
        """All ids that lie under one of these, ascending."""


class SharedSource(VectorSource, Protocol):
    """A source that several programs feed one index from (an index that stands elsewhere)."""

    def library(self) -> str:
        """A name that no other library has, the same in every program."""

    def feeding(self) -> AbstractContextManager[bool]:
        """One program at a time. False: this one may not feed at all (it cannot write to the library)."""


@dataclass(frozen=True, eq=False)
class Changes:
    """`ids`, `vectors` and `groups` as for `VectorIndex.add`; `gone` int64 ids; the position after them."""

    position: int
    ids: np.ndarray
    vectors: np.ndarray
    groups: np.ndarray
    gone: np.ndarray


def merged(scores: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of all parts' bests, ties by id; places that nothing fills hold -inf and -1."""
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    row = np.arange(len(scores))[:, None]
    scores, ids = scores[row, order], ids[row, order]
    if scores.shape[1] < k:
        short = ((0, 0), (0, k - scores.shape[1]))
        scores, ids = np.pad(scores, short, constant_values=-np.inf), np.pad(ids, short, constant_values=-1)
    return scores, np.where(np.isneginf(scores), -1, ids)
