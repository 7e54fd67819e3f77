"""Which model answers and which is being built, and the loaded embedders of both.

Built around the `model` table: one row is `answering`; after a switch another is `building`
until every chunk has its vector, then it takes over in one transaction. A row keeps what
`model.load` was given, so the old model can be loaded again to answer meanwhile. Each
embedder passes its self-check (`model/self_check.py`) before a vector of it is believed.
It knows nothing of files or chunks.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from indexer.catalogue.models import Models
from indexer.catalogue.rows import ModelRow
from indexer.catalogue.settings import StoredSettings
from indexer.priority import QueryPriority, SharedEmbedder
from model.embedder import Embedder, ModelAway, ModelError
from model.lite.weights import EARLIER

if TYPE_CHECKING:
    from model.remote.client import RemoteEmbedder

log = logging.getLogger(__name__)

Loader = Callable[..., Embedder]


def load_checked(name: str, **options: Any) -> Embedder:
    """`model.load`, and the self-check. Raises `ModelError`."""
    from model import self_check
    from model.loading import load
    from model.remote.client import RemoteEmbedder

    embedder = load(name, **options)
    self_check.check(embedder)
    if isinstance(embedder, RemoteEmbedder):
        _check_against_own(embedder)
    return embedder


def _check_against_own(remote: RemoteEmbedder) -> None:
    """Where this machine has the very model of a server at hand, both must see alike."""
    from model import self_check
    from model.lite import embedder
    from model.loading import load

    if remote.id != embedder.current_id():
        return  # loading gigabytes for six vectors is not worth it; the library remembers the canary instead
    try:
        own = load("lite")
    except ModelError:
        return
    least = self_check.agreement(own.embed(self_check.inputs()), remote.canary)
    if least < self_check.SAME:
        raise ModelError(
            f"{remote.address} calls its model {remote.id}, and sees otherwise than the same model here"
            " (cosine"
            f" {least:.3f}; at least {self_check.SAME} is asked): its vectors are not used. Update the older"
            " of the two."
        )


def recognise(remote: RemoteEmbedder, settings: StoredSettings, *, read_only: bool) -> None:
    """Hold a server's model against what the library remembers of it, so that vectors of two never mix.

    A model whose server names its weights must still give the vectors it gave when it was first used here.
    One without a name of its own takes the id of the remembered canary that it agrees with, else a new one,
    and the library then changes its model as for any other. Raises `ModelError`.
    """
    from model import self_check
    from model.remote.client import ChatServer

    kept = settings.get(REMEMBERED)
    known: dict[str, str] = json.loads(kept) if kept else {}
    if isinstance(remote, ChatServer):
        for model_id, packed in known.items():
            told = remote.id_of(model_id.partition("@canary-")[2].partition("-")[0])
            if told == model_id and self_check.agreement(_unpacked(packed), remote.canary) >= self_check.SAME:
                remote.id = model_id
                return
    elif remote.id in known:
        least = self_check.agreement(_unpacked(known[remote.id]), remote.canary)
        if least < self_check.SAME:
            raise ModelError(
                f"{remote.address} has {remote.id}, and sees otherwise than when this library first used it"
                f" (cosine {least:.3f}; at least {self_check.SAME} is asked): its vectors are not used."
            )
        return
    if not read_only:
        known[remote.id] = _packed(remote.canary)
        settings.set(REMEMBERED, json.dumps(known))


REMEMBERED = "canaries"
"""The setting that holds, by model id, what servers made of the canary's inputs."""


def _packed(vectors: np.ndarray) -> str:
    return f"{len(vectors)} {base64.b64encode(vectors.astype('<f2').tobytes()).decode()}"


def _unpacked(packed: str) -> np.ndarray:
    """float32 [n, dim]"""
    rows, _, text = packed.partition(" ")
    return np.frombuffer(base64.b64decode(text), "<f2").reshape(int(rows), -1).astype(np.float32)


class ModelSource(Protocol):
    """What the pipeline asks for: the models that this program embeds with."""

    def answering(self) -> tuple[ModelRow, SharedEmbedder]: ...

    def for_new(self) -> tuple[ModelRow, SharedEmbedder]: ...

    def building(self) -> tuple[ModelRow, SharedEmbedder] | None: ...

    def does(self, row: ModelRow) -> bool:
        """Whether this program embeds for that model at all."""


class ActiveModels:
    """`source` is what the user asked for: the name and options of `model.load`."""

    def __init__(
        self,
        models: Models,
        settings: StoredSettings,
        source: dict[str, Any],
        priority: QueryPriority,
        loader: Loader = load_checked,
        *,
        read_only: bool = False,
    ) -> None:
        self._models, self._settings, self._priority, self._loader = models, settings, priority, loader
        self._read_only = read_only
        self._source = json.dumps(source, sort_keys=True)
        self._lock = threading.RLock()
        self._loaded: dict[str, SharedEmbedder] = {}  # by source
        self.notice: str | None = None

    def asked_for(self) -> tuple[ModelRow, SharedEmbedder]:
        """The model that the user wants, registered: answering, or building beside an older one."""
        with self._lock:
            embedder = self._load(self._source)
            row = next((m for m in self._models.all() if m.name == embedder.id), None)
            if row is None or row.state == "old" or row.source != self._source:
                row = self._models.add(embedder.id, embedder.dim, self._source)
            elif row.state == "answering":
                self._drop_others(row)
            return row, embedder

    def answering(self) -> tuple[ModelRow, SharedEmbedder]:
        """The model whose vectors answer now. Raises `ModelError` when it cannot be loaded any more."""
        with self._lock:
            row = self._models.answering()
            if row is None:
                return self.asked_for()
            embedder = self._of_row(row)
            if embedder.id != row.name and row.name in EARLIER:
                embedder = self._load(json.dumps({"name": row.name}))
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
                self._models.promote(asked.id)
                asked = next(m for m in self._models.all() if m.id == asked.id)
            return asked, loaded

    def for_new(self) -> tuple[ModelRow, SharedEmbedder]:
        """The model for new contents: the one that answers, so that they are found at once."""
        try:
            return self.answering()
        except ModelAway:
            raise  # its server will be back; no other model takes its place meanwhile
        except ModelError as error:
            asked, embedder = self.asked_for()
            self.notice = (
                f"The model that indexed this library cannot be loaded ({error}); everything is embedded "
                f"again with {asked.name}, and until then only words are searched in what is not done."
            )
            log.warning(self.notice)
            if asked.state == "building":
                self._models.promote(asked.id)
            return self._models.add(asked.name, asked.dim, self._source), embedder

    def building(self) -> tuple[ModelRow, SharedEmbedder] | None:
        """The model that is to take over, if there is one."""
        row, embedder = self.asked_for()
        return (row, embedder) if row.state == "building" else None

    def does(self, row: ModelRow) -> bool:
        return True

    def is_switch(self) -> bool:
        """Whether the model that answers is not the one that is asked for, as far as can be told without
        loading it: by name and options, and for the built-in one by the weights that are installed."""
        row = self._models.answering()
        if row is None:
            return False
        if json.loads(self._source) == {"name": "lite"}:
            from model.lite import embedder

            return row.name != embedder.current_id()
        return row.source != self._source

    def _drop_others(self, answering: ModelRow) -> None:
        """A switch that was given up: what was built of it goes."""
        if any(m.state == "building" for m in self._models.all()):
            self._models.promote(answering.id)

    def is_tuned(self, row: ModelRow) -> bool:
        """Whether a model brings a ranking profile; of one that is not loaded, whether it is lite."""
        loaded = next((e for e in list(self._loaded.values()) if e.id == row.name), None)
        return row.name.startswith("lite@") if loaded is None else loaded.profile is not None

    def is_loaded(self) -> bool:
        """Whether any model has been loaded by now."""
        return bool(self._loaded)

    def _of_row(self, row: ModelRow) -> SharedEmbedder:
        """The embedder behind a row; where its server is away, the one that is asked for if it has the same
        model (it moved to another address, or is installed here now)."""
        try:
            return self._load(row.source)
        except ModelAway:
            if row.source == self._source:
                raise
            asked = self._load(self._source)
            if asked.id != row.name:
                raise
            return asked

    def _load(self, source: str) -> SharedEmbedder:
        if source not in self._loaded:
            options = json.loads(source)
            embedder = self._loader(options.pop("name"), **options)
            if hasattr(embedder, "canary"):  # a server's
                recognise(cast("RemoteEmbedder", embedder), self._settings, read_only=self._read_only)
            self._loaded[source] = SharedEmbedder(embedder, self._priority)
        return self._loaded[source]
