"""Which model answers and which is being built, and the loaded embedders of both.

Built around the `model` table: one row is `answering`; after a switch another is `building`
until every chunk has its vector, then it takes over in one transaction. A row keeps what
`model.load` was given, so the old model can be loaded again to answer meanwhile. Each
embedder passes its self-check (`model/canary.py`) before a vector of it is believed.
It knows nothing of files or chunks.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from indexer.catalogue import Catalogue, ModelRow
from indexer.turns import SharedEmbedder, Turns
from model.embedder import Embedder, ModelError

log = logging.getLogger(__name__)

Loader = Callable[..., Embedder]


def load_checked(name: str, **options: Any) -> Embedder:
    """`model.load`, and the self-check. Raises `ModelError`."""
    from model import canary
    from model.embedder import load

    embedder = load(name, **options)
    canary.check(embedder)
    return embedder


class Models:
    """`source` is what the user asked for: the name and options of `model.load`."""

    def __init__(
        self,
        catalogue: Catalogue,
        source: dict[str, Any],
        turns: Turns,
        loader: Loader = load_checked,
        *,
        read_only: bool = False,
    ) -> None:
        self._catalogue, self._turns, self._loader = catalogue, turns, loader
        self._read_only = read_only
        self._source = json.dumps(source, sort_keys=True)
        self._lock = threading.RLock()
        self._loaded: dict[str, SharedEmbedder] = {}  # by source
        self.notice: str | None = None

    def asked_for(self) -> tuple[ModelRow, SharedEmbedder]:
        """The model that the user wants, registered: answering, or building beside an older one."""
        with self._lock:
            embedder = self._load(self._source)
            row = next((m for m in self._catalogue.models() if m.name == embedder.id), None)
            if row is None or row.state == "old" or row.source != self._source:
                row = self._catalogue.set_model(embedder.id, embedder.dim, self._source)
            elif row.state == "answering":
                self._drop_others(row)
            return row, embedder

    def answering(self) -> tuple[ModelRow, SharedEmbedder]:
        """The model whose vectors answer now. Raises `ModelError` when it cannot be loaded any more."""
        with self._lock:
            row = self._catalogue.answering()
            if row is None:
                return self.asked_for()
            embedder = self._load(row.source)
            if embedder.id == row.name:
                return row, embedder
            # The same name gives other weights or another recipe now: its old vectors cannot be asked.
            if self._read_only:
                raise ModelError(
                    f"The library was indexed with {row.name}, and {embedder.id} is installed now: "
                    "run `sightline index` once to renew it."
                )
            asked, loaded = self.asked_for()
            if asked.state == "building":
                self._catalogue.promote(asked.id)
                asked = next(m for m in self._catalogue.models() if m.id == asked.id)
            return asked, loaded

    def for_new(self) -> tuple[ModelRow, SharedEmbedder]:
        """The model for new contents: the one that answers, so that they are found at once."""
        try:
            return self.answering()
        except ModelError as error:
            asked, embedder = self.asked_for()
            self.notice = (
                f"The model that indexed this library cannot be loaded ({error}); everything is embedded "
                f"again with {asked.name}, and until then only words are searched in what is not done."
            )
            log.warning(self.notice)
            if asked.state == "building":
                self._catalogue.promote(asked.id)
            return self._catalogue.set_model(asked.name, asked.dim, self._source), embedder

    def building(self) -> tuple[ModelRow, SharedEmbedder] | None:
        """The model that is to take over, if there is one."""
        row, embedder = self.asked_for()
        return (row, embedder) if row.state == "building" else None

    def is_switch(self) -> bool:
        """Whether the model that answers is not the one that is asked for, as far as can be told without
        loading it: by name and options, and for the built-in one by the weights that are installed."""
        row = self._catalogue.answering()
        if row is None:
            return False
        if json.loads(self._source) == {"name": "lite"}:
            from model import lite

            return row.name != lite.current_id()
        return row.source != self._source

    def _drop_others(self, answering: ModelRow) -> None:
        """A switch that was given up: what was built of it goes."""
        if any(m.state == "building" for m in self._catalogue.models()):
            self._catalogue.promote(answering.id)

    def _load(self, source: str) -> SharedEmbedder:
        if source not in self._loaded:
            options = json.loads(source)
            embedder = self._loader(options.pop("name"), **options)
            self._loaded[source] = SharedEmbedder(embedder, self._turns)
        return self._loaded[source]
