"""The vector index and the searcher over it, of the model that answers now.

Built around one pair that is made when it is first asked for, and made anew when another model
has taken over. It knows nothing of indexing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.catalogue import Catalogue
from indexer.engine import check_engine
from indexer.models import Models
from indexer.records import LibraryError
from model.embedder import ModelError

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox
    from indexer.moments import Moments
    from indexer.search import Searcher
    from indexer.vectors import FaissIndex


class Engines:
    def __init__(
        self,
        catalogue: Catalogue,
        models: Models,
        folder: Path,
        *,
        owned: Callable[[], bool],
        sandbox: Callable[[], Sandbox],
    ) -> None:
        """`folder` holds the index's files; `owned`: whether this program may write them."""
        self._catalogue, self._models, self._folder = catalogue, models, folder
        self._owned, self._sandbox = owned, sandbox
        self._guard = threading.RLock()
        self._index: tuple[int, FaissIndex] | None = None  # of the model with that id
        self._searcher: tuple[FaissIndex, Searcher] | None = None
        self._moments: tuple[Searcher, Moments] | None = None

    def index(self) -> FaissIndex:
        """The vector index of the model that answers now."""
        from indexer.embeddings import StoredEmbeddings
        from indexer.vectors import FaissIndex

        with self._guard:
            row = self._catalogue.answering()
            if row is None:
                try:
                    row, _ = self._models.answering()
                except ModelError as error:
                    raise LibraryError(str(error)) from error
            if self._index is None or self._index[0] != row.id:
                check_engine()
                old = self._index
                self._index = (
                    row.id,
                    FaissIndex(
                        self._folder,
                        row.name,
                        row.dim,
                        StoredEmbeddings(self._catalogue, row.id, row.dim),
                        writable=self._owned(),
                    ),
                )
                if old is not None:
                    old[1].close()
            return self._index[1]

    def searcher(self) -> Searcher:
        """The searcher over that index, with everything written until now."""
        from indexer.search import Searcher

        with self._guard:
            index = self.index()
            index.catch_up()
            if self._searcher is None or self._searcher[0] is not index:
                if self._searcher is not None:
                    self._searcher[1].close()
                try:
                    _, embedder = self._models.answering()
                except ModelError as error:
                    raise LibraryError(str(error)) from error
                self._searcher = (index, Searcher(self._catalogue, index, embedder, self._sandbox()))
            return self._searcher[1]

    def moments(self) -> Moments:
        """The closer look into films; it keeps what it saw as long as the searcher stays."""
        from indexer.moments import Moments

        with self._guard:
            searcher = self.searcher()
            if self._moments is None or self._moments[0] is not searcher:
                self._moments = (searcher, Moments(searcher))
            return self._moments[1]

    def catch_up(self) -> None:
        """Read on in the journal, when the index is open."""
        current = self._index
        if current is not None:
            current[1].catch_up()

    @property
    def trouble(self) -> str | None:
        return self._index[1].trouble if self._index is not None else None

    def close(self) -> None:
        if self._searcher is not None:
            self._searcher[1].close()
        if self._index is not None:
            self._index[1].close()
