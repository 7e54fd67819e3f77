"""The vector index and the searcher over it, of the model that answers now.

Built around one pair that is made when it is first asked for, and made anew when another model
has taken over. It knows nothing of indexing.
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

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox
    from indexer.search.searcher import Searcher
    from indexer.vectors.index import VectorIndex

FOLLOW_S = 3.0
"""A search waits so long, at most, for what was just written to reach an index that stands elsewhere."""
ASK_S = 10.0


class Engines:
    def __init__(
        self,
        catalogue: Catalogue,
        models: ActiveModels,
        folder: Path,
        *,
        vectors: str | None = None,
        owned: Callable[[], bool],
        sandbox: Callable[[], Sandbox],
    ) -> None:
        """`folder` holds the index's files; `owned`: whether this program may write them. `vectors`: where
        the index is, when it is not there (see `vectors/open.py`)."""
        self._catalogue, self._models, self._folder = catalogue, models, folder
        self._owned, self._sandbox, self._vectors = owned, sandbox, vectors
        self._guard = threading.RLock()
        self._index: tuple[int, VectorIndex] | None = None  # of the model with that id
        self._searcher: tuple[VectorIndex, Searcher] | None = None

    def index(self) -> VectorIndex:
        """The vector index of the model that answers now."""
        from indexer.vectors.source import StoredEmbeddings

        with self._guard:
            row = self._catalogue.models.answering()
            if row is None:
                try:
                    row, _ = self._models.answering()
                except ModelError as error:
                    raise LibraryError(str(error)) from error
            if self._index is None or self._index[0] != row.id:
                source = StoredEmbeddings(self._catalogue.database, row.id, row.dim)
                old = self._index
                self._index = (
                    row.id,
                    open_index(self._vectors, self._folder, row.name, source, writable=self._owned()),
                )
                if old is not None:
                    old[1].close()
            return self._index[1]

    def searcher(self) -> Searcher:
        """The searcher over that index, with everything written until now."""
        from indexer.search.searcher import Searcher

        with self._guard:
            index = self.index()
            index.follow(FOLLOW_S)
            if self._searcher is None or self._searcher[0] is not index:
                # The one before is not closed: queries may be in it, and its connections go when they end.
                try:
                    _, embedder = self._models.answering()
                except ModelError as error:
                    raise LibraryError(str(error)) from error
                self._searcher = (index, Searcher(self._catalogue, index, embedder, self._sandbox()))
            return self._searcher[1]

    def follow(self) -> None:
        """Something was written: an open index reads on in the journal. A server is fed from the first
        vector on, for it stands elsewhere and may take long."""
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
        """What a person should know of the index; whether a server answers is asked once."""
        if self._index is None and self._vectors and self._catalogue.models.answering() is not None:
            self.index().follow(ASK_S)
        return self._index[1].trouble if self._index is not None else None

    def close(self) -> None:
        if self._searcher is not None:
            self._searcher[1].close()
        if self._index is not None:
            self._index[1].close()
