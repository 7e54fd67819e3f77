"""The parts of a query to query vectors: text, files, chunks of the library, parts to avoid.

Built around one weighted sum of unit length. A PDF or a video in a query is cut into pages or windows as a
document is; each of them makes, with the other parts, a query vector of its own, and the searcher merges their
matches. It knows nothing of hits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from data.media.kinds import MediaError, kind_by_content, kind_of
from data.media.sandbox import Sandbox, SandboxError
from indexer.catalogue.catalogue import Catalogue
from indexer.errors import LibraryError
from indexer.types import Part
from model.embedder import Embedder, side_for
from model.inputs import Input
from model.ranking_profile import RankingProfile

MAX_VARIANTS = 8
"""Pages or windows of a query's file that are used, evenly spread over it."""
READ_S = 60.0
READ_MB = 256
"""Memory in MB for decoding a query's file: enough for an image of 64 million pixels. Searches decode side by side."""
TEXTS_CACHED = 512


class QueryVectors:
    """Safe to use from many threads as far as the embedder is."""

    def __init__(self, catalogue: Catalogue, model_id: int, embedder: Embedder, sandbox: Sandbox) -> None:
        self._catalogue, self._model_id = catalogue, model_id
        self._embedder, self._sandbox = embedder, sandbox
        self._texts: LRUCache[str, np.ndarray] = LRUCache(TEXTS_CACHED)
        self._lock = threading.Lock()

    def of(self, parts: Sequence[Part], profile: RankingProfile) -> np.ndarray:
        """Returns the query vectors of the parts of a parsed query, float32 [n, dim] of unit length; n is 0 if no part
        has a positive weight. Raises LibraryError if a part cannot be read."""
        parts = [part for part in parts if part.weight]
        has_media = any(_is_media(part) and part.weight > 0 for part in parts)
        text_weight = profile.words_beside_image if has_media else 1.0
        weighted = [
            (
                part.weight
                * (profile.avoid_weight if part.weight < 0 else 1.0)
                * (1.0 if _is_media(part) else text_weight),
                v,
            )
            for part in parts
            if len(v := self._of_part(part))
        ]
        if not any(weight > 0 for weight, _ in weighted):
            return np.zeros((0, self._embedder.dim), np.float32)
        first_with_several = next((n for n, (weight, v) in enumerate(weighted) if len(v) > 1 and weight > 0), -1)
        total: np.ndarray = np.zeros((1, self._embedder.dim), np.float32)
        for number, (weight, v) in enumerate(weighted):
            total = total + weight * (v if number == first_with_several else _unit(v.mean(axis=0, keepdims=True)))
        return _unit(total)

    def _of_part(self, part: Part) -> np.ndarray:
        """Returns the vectors of one part, float32 [n, dim]: one, or one per page or window of a file."""
        if part.chunk_id is not None:
            stored = self._catalogue.contents.vector(part.chunk_id, self._model_id)
            if stored is None:
                raise LibraryError(f"There is no chunk {part.chunk_id} in this library (any more).")
            return stored[None]
        if part.file is not None:
            return np.concatenate([self._embedder.embed(inputs) for inputs in self._inputs(part.file) if inputs])
        return self._of_text(part.text) if part.text else np.zeros((0, self._embedder.dim), np.float32)

    def _of_text(self, text: str) -> np.ndarray:
        with self._lock:
            vector: np.ndarray | None = self._texts.get(text)
        if vector is None:
            vector = self._embedder.embed([Input(text=text, role="query")])
            with self._lock:
                self._texts[text] = vector
        return vector

    def inputs(self, path: Path) -> list[Input]:
        """Returns the model's inputs for a query's file. Raises LibraryError if it cannot be read."""
        return list(chain.from_iterable(self._inputs(path)))

    def _inputs(self, path: Path) -> Iterator[list[Input]]:
        """Yields the model's inputs for a query's file: those of one window of a video at a time, as they are large.
        Raises LibraryError if it cannot be read."""
        from data import reader

        kind = kind_of(path) or kind_by_content(path)
        if not path.is_file():
            raise LibraryError(f"{path} is not there: give a file to search with.")
        if kind is None:
            raise LibraryError(f"{path.name} is not an image, a video or a PDF.")
        read = partial(self._sandbox.submit, timeout_s=READ_S, memory_mb=READ_MB, urgent=True)
        faults: list[MediaError] = []
        count = 0
        side = side_for(self._embedder, kind, "query")
        try:
            specs = read(reader.outline, path, kind).result().chunks
            if len(specs) > MAX_VARIANTS:
                numbers = np.linspace(0, len(specs) - 1, MAX_VARIANTS).round().astype(int)
                specs = [specs[n] for n in numbers]
            for part in [[spec] for spec in specs] if kind == "video" else [specs]:
                try:
                    frames = self._embedder.max_frames
                    chunks = read(reader.decode, path, kind, part, max_frames=frames, max_side=side).result()
                except SandboxError:
                    raise
                except MediaError as error:  # of this window; others may be whole
                    faults.append(error)
                    continue
                if kind == "image":  # search by what the image shows, without its caption
                    chunks = [replace(chunk, text="") for chunk in chunks]
                count += len(chunks)
                yield [reader.to_input(chunk, kind, role="query") for chunk in chunks]
            if faults and not count:
                raise faults[-1]
        except MediaError as error:
            raise LibraryError(f"{path.name} cannot be searched with: {error}") from error
        if not count:
            raise LibraryError(f"{path.name} cannot be searched with: there is nothing in it.")


def _is_media(part: Part) -> bool:
    return part.file is not None or part.chunk_id is not None


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)
