"""Opens the vector index of the answering model, and the searcher over it.

Built around one pair that is opened at the first query, and again when another model answers. It knows nothing
of indexing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.active_models import ActiveModels
from indexer.catalogue.catalogue import Catalogue
from indexer.errors import LibraryError
from indexer.vectors.open import open_index
from model.embedder import ModelError
from model.query_adapter import adapted

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox
    from indexer.search.searcher import Searcher
    from indexer.vectors.index import VectorIndex
    from model.embedder import Embedder

FOLLOW_S = 3.0
"""Seconds that a search waits at most until new vectors have reached an index on a server."""
ASK_S = 10.0


class Engines:
    def __init__(
        self,
        catalogue: Catalogue,
        models: ActiveModels,
        folder: Path,
        *,
        adapter: Path,
        vectors: str | None = None,
        owned: Callable[[], bool],
        sandbox: Callable[[], Sandbox],
    ) -> None:
        """`folder`: the folder of the index's files. `owned`: whether this program may write them. `adapter`: the file
        of a tuned model, which need not exist. `vectors`: the address of the index if it is not in `folder` (see
        `indexer/vectors/open.py`)."""
        self._catalogue, self._models, self._folder, self._adapter = catalogue, models, folder, adapter
        self._owned, self._sandbox, self._vectors = owned, sandbox, vectors
        self._guard = threading.RLock()
        self._index: tuple[object, VectorIndex] | None = None  # and what it was made of
        self._searcher: tuple[VectorIndex, int, Searcher] | None = None  # with the time when its adapter was written
        self._seen = threading.local()  # `last`: the searcher of this thread's last call, the catalogue's version then

    def index(self) -> VectorIndex:
        """Returns the vector index of the answering model. Raises LibraryError."""
        from indexer.vectors.source import StoredEmbeddings

        with self._guard:
            row = self._catalogue.models.answering()
            if row is None:
                try:
                    row, _ = self._models.answering()
                except ModelError as error:
                    raise LibraryError(str(error)) from error
            made_of = row.id, self._catalogue.database.identity()
            if self._index is None or self._index[0] != made_of:
                source = StoredEmbeddings(self._catalogue.database, row.id, row.dim)
                old = self._index
                self._index = (
                    made_of,
                    open_index(self._vectors, self._folder, row.name, source, writable=self._owned()),
                )
                if old is not None:
                    old[1].close()
            return self._index[1]

    def searcher(self) -> Searcher:
        """Returns the searcher over the index, which has all vectors written until now, with the adapter of now.
        Raises LibraryError."""
        try:
            written = self._adapter.stat().st_mtime_ns
        except FileNotFoundError:
            written = 0
        current = self._searcher
        version = None
        if current is not None:
            version = current[2].catalogue_version()
            if getattr(self._seen, "last", None) == (current[2], version, written):
                return current[2]
        with self._guard:
            index = self.index()
            has_all = index.follow(FOLLOW_S)
            if self._searcher is None or self._searcher[0] is not index or self._searcher[1] != written:
                # The old searcher stays open for queries that are in it; its connections end with them.
                self._searcher = (index, written, self.searcher_with())
            elif has_all and self._searcher is current:
                self._seen.last = current[2], version, written
            return self._searcher[2]

    def searcher_with(self, embedder: Embedder | None = None) -> Searcher:
        """Returns a new searcher over the index with the model that answers, tuned or not; or with another embedder
        of the same vectors. Raises LibraryError."""
        from indexer.search.searcher import Searcher

        index = self.index()
        try:
            embedder = embedder or adapted(self._models.answering()[1], self._adapter)
        except ModelError as error:
            raise LibraryError(str(error)) from error
        return Searcher(self._catalogue, index, embedder, self._sandbox())

    def follow(self) -> None:
        """The catalogue has changed: an open index reads the new journal rows. An index on a server is opened for
        that, as it takes longer."""
        if self._index is None and self._vectors and self._guard.acquire(blocking=False):
            try:
                if self._catalogue.models.answering() is not None:
                    self.index()
            finally:
                self._guard.release()
        current = self._index
        if current is not None:
            current[1].follow()

    @property
    def trouble(self) -> str | None:
        """A problem of the index as a sentence for a person; None if there is none. A server is tried once."""
        if self._index is None and self._vectors and self._catalogue.models.answering() is not None:
            self.index().follow(ASK_S)
        return self._index[1].trouble if self._index is not None else None

    def close(self) -> None:
        if self._searcher is not None:
            self._searcher[2].close()
        if self._index is not None:
            self._index[1].close()
