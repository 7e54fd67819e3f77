"""A small linear change of a model's text queries, learnt from one person's words; documents keep their vectors.

Built around `QueryAdapter`: a text query q becomes unit(q + M q). M is learnt by `indexer/features/tune.py`, so
"Bella" comes near the pictures of that dog. The vectors of a library stay as they are, so a switch takes no time. It
knows nothing of how M is learnt, nor of libraries.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.embedder import Embedder, ModelError, unit_rows
from model.inputs import Input


@dataclass(frozen=True, eq=False)
class QueryAdapter:
    """`shift`: M, float32 [dim, dim]. `open_`: bool [dim], the components that M may fill in a query that has zeros
    there; other zeros stay, as some models say with them in which language a query is."""

    model_id: str
    shift: np.ndarray
    open_: np.ndarray

    def adapt(self, queries: np.ndarray) -> np.ndarray:
        """Returns the queries [n, dim] of unit length after the change."""
        may_change = self.open_ | (queries != 0)
        return np.asarray(unit_rows(queries + may_change * (queries @ self.shift.T)), np.float32)

    def write(self, path: Path) -> None:
        """Write the adapter whole or not at all."""
        temporary = path.with_suffix(".new")
        with temporary.open("wb") as file:
            np.savez(file, model_id=np.array(self.model_id), shift=self.shift, open=self.open_)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> QueryAdapter:
        """Raises `ModelError` if the file is no adapter."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                adapter = cls(str(stored["model_id"]), stored["shift"], stored["open"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(f"{path} is damaged ({error}): undo it with `sightline tune --undo`.") from error
        dim = len(adapter.open_)
        if adapter.shift.shape != (dim, dim) or not np.isfinite(adapter.shift).all():
            raise ModelError(f"{path} holds no usable matrix: undo it with `sightline tune --undo`.")
        return adapter


class AdaptedEmbedder:
    """An `Embedder` whose queries of text alone pass through an adapter. It keeps the id of its inner model: the
    vectors of documents are the same."""

    def __init__(self, inner: Embedder, adapter: QueryAdapter) -> None:
        self.inner, self.adapter = inner, adapter
        self.id, self.dim, self.max_frames = inner.id, inner.dim, inner.max_frames

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """See `Embedder.embed`."""
        vectors = self.inner.embed(inputs)
        rows = [n for n, item in enumerate(inputs) if item.role == "query" and not item.images and item.video is None]
        if rows:
            vectors = vectors.copy()
            vectors[rows] = self.adapter.adapt(vectors[rows])
        return vectors


def adapted(embedder: Embedder, path: Path) -> Embedder:
    """Returns the embedder with the adapter in `path`, or as it is if there is none for this model. Raises
    `ModelError`."""
    if not path.exists():
        return embedder
    adapter = QueryAdapter.read(path)
    return AdaptedEmbedder(embedder, adapter) if adapter.model_id == embedder.id else embedder
