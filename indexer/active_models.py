"""The model that answers, the model being built after a switch, and the loaded embedders of both.

Built around the `model` table: one row is `answering`; after a switch another is `building` until every chunk
has its vector, then it takes over in one transaction. A row holds the arguments of `model.load`, so that the
old model can be loaded again to answer meanwhile. Each embedder passes a self-check (`model/self_check.py`)
before its vectors are used. It knows nothing of files or chunks.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from indexer.catalogue.models import Models
from indexer.catalogue.rows import ModelRow
from indexer.catalogue.settings import StoredSettings
from indexer.errors import LibraryError
from indexer.priority import QueryPriority, SharedEmbedder
from model.embedder import Embedder, ModelAway, ModelError
from model.hub_models import PRECISIONS, best_precision
from model.lite.weights import EARLIER

if TYPE_CHECKING:
    from model.remote.embedder import RemoteEmbedder

log = logging.getLogger(__name__)

Loader = Callable[..., Embedder]


def load_checked(name: str, words_only: bool = False, **options: Any) -> Embedder:
    """`model.load` and the self-check, of words alone if pictures are checked later. Raises `ModelError`."""
    from model import self_check
    from model.loading import load
    from model.remote.embedder import RemoteEmbedder

    embedder = load(name, **options)
    self_check.check(embedder, words_only)
    if isinstance(embedder, RemoteEmbedder):
        _check_against_local(embedder)
    return embedder


def is_built_in(model_id: str) -> bool:
    """Whether a model is the built-in one, in the recipe of now or an earlier one."""
    from model.lite import embedder

    return model_id == embedder.current_id() or model_id in EARLIER


def load_built_in(name: str, **options: Any) -> Embedder:
    """`model.load` of the built-in model, which another process of this library has checked. Raises `ModelError` for
    any other."""
    from model.loading import load

    if name != "lite" and not is_built_in(name):
        raise ModelError(f"a second process loads the built-in model alone, not {name}")
    return load(name, **options)


def _check_against_local(remote: RemoteEmbedder) -> None:
    """Compare a server's lite model with the one installed here. Raises `ModelError` if their vectors differ.

    Other models are not loaded for a comparison of six vectors; `recognise` covers them.
    """
    from model import self_check
    from model.lite import embedder
    from model.loading import load

    if remote.id != embedder.current_id():
        return
    try:
        local = load("lite")
    except ModelError:
        return
    cosine = self_check.agreement(local.embed(self_check.inputs()), remote.canary)
    if cosine < self_check.SAME:
        raise ModelError(
            f"{remote.address} calls its model {remote.id}, but gives other vectors than the same model here"
            f" (cosine {cosine:.3f}, at least {self_check.SAME} is needed): its vectors are not used. Update the"
            " older of the two."
        )


CANARIES = "canaries"
"""The setting that holds, by model id, the vectors that servers gave for the inputs of the self-check."""


def recognise(remote: RemoteEmbedder, settings: StoredSettings, *, read_only: bool) -> None:
    """Compare a server's model with its stored canary vectors, so that vectors of two models never mix.

    A model whose server names its weights must still give the vectors that it gave at its first use. A model
    without a name of its own takes the id of the stored canary that it agrees with, else a new id, and the
    library then switches its model. Raises `ModelError`.
    """
    from model import self_check
    from model.remote.chat_server import ChatServer

    canaries: dict[str, str] = json.loads(settings.get(CANARIES) or "{}")
    if isinstance(remote, ChatServer):
        for model_id, packed in canaries.items():
            candidate = remote.id_of(model_id.partition("@canary-")[2].partition("-")[0])
            if candidate == model_id and self_check.agreement(_unpacked(packed), remote.canary) >= self_check.SAME:
                remote.id = model_id
                return
    elif remote.id in canaries:
        cosine = self_check.agreement(_unpacked(canaries[remote.id]), remote.canary)
        if cosine < self_check.SAME:
            raise ModelError(
                f"{remote.address} has {remote.id}, but gives other vectors than when this library first used it"
                f" (cosine {cosine:.3f}, at least {self_check.SAME} is needed): its vectors are not used."
            )
        return
    if not read_only:
        canaries[remote.id] = _packed(remote.canary)
        settings.set(CANARIES, json.dumps(canaries))


def _packed(vectors: np.ndarray) -> str:
    return f"{len(vectors)} {base64.b64encode(vectors.astype('<f2').tobytes()).decode()}"


def _unpacked(packed: str) -> np.ndarray:
    """float32 [n, dim]"""
    rows, _, text = packed.partition(" ")
    return np.frombuffer(base64.b64decode(text), "<f2").reshape(int(rows), -1).astype(np.float32)


def _precision(row: ModelRow) -> str | None:
    """Returns the precision in the id of a model of ONNX graphs; None for another model."""
    found = re.search(rf":({'|'.join(PRECISIONS)})[:@]", row.name)
    return found[1] if found else None


class ModelSource(Protocol):
    """What the pipeline needs: the models that this program embeds with."""

    def answering(self) -> tuple[ModelRow, SharedEmbedder]: ...

    def for_new(self) -> tuple[ModelRow, SharedEmbedder]: ...

    def building(self) -> tuple[ModelRow, SharedEmbedder] | None: ...

    def does(self, row: ModelRow) -> bool:
        """Whether this program embeds with that model."""


class ActiveModels:
    """`source`: the name and options of `model.load` that the user requested."""

    def __init__(
        self,
        models: Models,
        settings: StoredSettings,
        source: dict[str, Any],
        priority: QueryPriority,
        loader: Loader = load_checked,
        *,
        read_only: bool = False,
        before_pictures: Callable[[Embedder], None] | None = None,
    ) -> None:
        """`before_pictures`: called with an embedder before the first picture that it embeds."""
        self._models, self._settings, self._priority, self._loader = models, settings, priority, loader
        self._before_pictures = before_pictures
        self._read_only = read_only
        self._source = json.dumps(source, sort_keys=True)
        self._lock = threading.RLock()
        self._embedders: dict[str, SharedEmbedder] = {}  # by source
        self.notice: str | None = None

    def requested(self) -> tuple[ModelRow, SharedEmbedder]:
        """The model that the user requested, with its row: answering, or building beside an older one."""
        with self._lock:
            embedder = self._load(self._source)
            row = next((m for m in self._models.all() if m.name == embedder.id), None)
            if self._read_only:  # nothing is stored: an empty library is searched without finding anything
                row = row or ModelRow(0, embedder.id, embedder.dim, "answering", self._source)
            elif row is None or row.state == "old" or row.source != self._source:
                row = self._models.add(embedder.id, embedder.dim, self._source)
            elif row.state == "answering" and any(m.state == "building" for m in self._models.all()):
                self._models.promote(row.id)  # a switch was given up: its vectors are deleted
            return row, embedder

    def check(self, source: dict[str, Any]) -> None:
        """Load a model, while another one answers. Raises `ModelError`."""
        self._load(json.dumps(source, sort_keys=True))

    def request(self, source: dict[str, Any]) -> ModelRow:
        """Change the requested model to one that is loaded (`check`)."""
        with self._lock:
            self._source = json.dumps(source, sort_keys=True)
            return self.requested()[0]

    def answering(self) -> tuple[ModelRow, SharedEmbedder]:
        """The model whose vectors answer now. Raises `ModelError` if it can no longer be loaded."""
        with self._lock:
            row = self._models.answering()
            if row is None:
                return self.requested()
            embedder = self._of_row(row)
            for source in self._other_sources(row) if embedder.id != row.name else ():
                with contextlib.suppress(ModelError):
                    embedder = self._load(source)
            if embedder.id == row.name:
                return row, embedder
            # The same name now has other weights or another recipe: its old vectors cannot be searched.
            if self._read_only:
                raise ModelError(
                    f"The library was indexed with {row.name}, and {embedder.id} is installed now: "
                    "run `sightline index` once to renew it."
                )
            row, embedder = self.requested()
            if row.state == "building":
                self._models.promote(row.id, keep=False)
                row = next(m for m in self._models.all() if m.id == row.id)
            return row, embedder

    def of(self, row: ModelRow) -> tuple[dict[str, Any], SharedEmbedder]:
        """The arguments of `model.load` that give the model of a row, and the embedder. Raises `ModelError` if none do
        any more."""
        with self._lock:
            embedders = [(source, self._load(source)) for source in (row.source, *self._other_sources(row))]
            for source, embedder in embedders:
                if embedder.id == row.name:
                    return json.loads(source), embedder
            raise ModelError(f"{row.name} is not on this machine any more; in its place is {embedders[0][1].id}.")

    def _other_sources(self, row: ModelRow) -> list[str]:
        """Other arguments that may give the model of a row: the name of earlier weights of lite; the precision in its
        id, where a better one has come beside it since."""
        source, precision = json.loads(row.source), _precision(row)
        if row.name in EARLIER:
            return [json.dumps({"name": row.name})]
        if precision is not None and "dtype" not in source:
            return [json.dumps(source | {"dtype": precision}, sort_keys=True)]
        return []

    def other(self) -> tuple[ModelRow, ModelRow]:
        """The model that answers, and the one to compare it with (`beside`). Raises `LibraryError` if there is none."""
        answering, row = self._models.answering(), self.beside()
        if answering is None or row is None:
            raise LibraryError("This library has the vectors of one model only: there is no switch to compare or undo.")
        return answering, row

    def beside(self) -> ModelRow | None:
        """The model that is being built, else the one before the last switch, while its vectors are here; else None."""
        building = next((row for row in self._models.all() if row.state == "building"), None)
        previous = self._models.previous()
        return building or (previous and previous[0])

    def for_new(self) -> tuple[ModelRow, SharedEmbedder]:
        """The model for new contents: the one that answers, so that they are found at once."""
        try:
            return self.answering()
        except ModelAway:
            raise  # its server will be back; no other model takes its place meanwhile
        except ModelError as error:
            row, embedder = self.requested()
            self.notice = (
                f"The model that indexed this library cannot be loaded ({error}); everything is embedded "
                f"again with {row.name}; until then the rest is found by its words only."
            )
            log.warning(self.notice)
            if row.state == "building":
                self._models.promote(row.id)
            return self._models.add(row.name, row.dim, self._source), embedder

    def building(self) -> tuple[ModelRow, SharedEmbedder] | None:
        """The model that takes over once all its vectors are made; None if there is no switch."""
        row, embedder = self.requested()
        return (row, embedder) if row.state == "building" else None

    def does(self, row: ModelRow) -> bool:
        return True

    def is_switch(self) -> bool:
        """Whether another model answers than the requested one, judged without loading a model: by name and
        options, of the built-in model by its installed weights, of a fetched one by its best precision here."""
        row = self._models.answering()
        if row is None:
            return False
        if json.loads(self._source) == {"name": "lite"}:
            from model.lite import embedder

            return row.name != embedder.current_id()
        source = json.loads(self._source)
        best = best_precision(source["name"]) if "dtype" not in source else None
        return row.source != self._source or best not in (None, _precision(row))

    def is_tuned(self, row: ModelRow) -> bool:
        """Whether a model has a ranking profile; for a model that is not loaded, whether it is lite."""
        embedder = next((e for e in list(self._embedders.values()) if e.id == row.name), None)
        return row.name.startswith("lite@") if embedder is None else embedder.profile is not None

    def is_loaded(self) -> bool:
        """Whether any model is loaded."""
        return bool(self._embedders)

    def _of_row(self, row: ModelRow) -> SharedEmbedder:
        """The embedder of a row. If its server does not answer, the requested embedder if it is the same model
        (which moved to another address, or is now installed here)."""
        try:
            return self._load(row.source)
        except ModelAway:
            if row.source == self._source or self._load(self._source).id != row.name:
                raise
            return self._load(self._source)

    def _load(self, source: str) -> SharedEmbedder:
        if source not in self._embedders:
            options = json.loads(source)
            embedder = self._loader(options.pop("name"), **options)
            if hasattr(embedder, "canary"):  # a RemoteEmbedder
                recognise(cast("RemoteEmbedder", embedder), self._settings, read_only=self._read_only)
            self._embedders[source] = SharedEmbedder(embedder, self._priority, self._before_pictures)
        return self._embedders[source]
