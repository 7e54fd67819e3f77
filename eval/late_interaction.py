"""Scoring of models with late interaction (ColPali): inputs, a ragged cache, MaxSim over whole tasks.

Built around three things that stand in the places of those for single vectors: `LatePrompter` for `Prompter`,
`RaggedCache` for `EmbeddingCache`, `max_sim_scores` for a matrix product. A page is 264 kB in float16, so the cache is
read one task and one block of candidates at a time. It knows nothing of how a model works.

Inputs are the original's: an image goes in alone, its text is dropped; of a clip the first frame is shown; a text goes
in with its instruction as a query, candidates that are texts too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data.mmeb.task_data import ImageError, TaskItem
from eval.cache import EmbeddingCache, select
from model.late_interaction import LateInteractionModel
from model.prompts import IMAGE_PAD

BLOCK_TOKENS = 65_536
"""Vectors of candidates in one matrix product: 64 pages of ColPali, 34 MB in float32."""
QUERY_TOKENS = 1_024
"""Vectors of queries in it: 270 MB of products."""


class LatePrompter:
    """The input of a late-interaction model for an item."""

    def __init__(self, model: LateInteractionModel) -> None:
        self.model = model

    def parts(self, item: TaskItem) -> tuple[str, ...]:
        """Returns all texts of the input; they are part of the cache's key."""
        return ("late", "first frame") if item.visual is not None else ("late", _words(item))

    def embed(self, items: Sequence[TaskItem], images: Sequence[list[np.ndarray]]) -> list[np.ndarray]:
        """Returns a float16 [tokens, dim] for each item. `images`: uint8 [H, W, 3] per image or frame."""
        result: list[np.ndarray] = [np.zeros((0, self.model.dim), np.float16)] * len(items)
        seen = [n for n, frames in enumerate(images) if frames]
        read = [n for n, frames in enumerate(images) if not frames]
        for places, rows in (
            (seen, self.model.embed_pages([images[n][0] for n in seen])),
            (read, self.model.embed_queries([_words(items[n]) for n in read])),
        ):
            for place, vectors in zip(places, rows, strict=True):
                result[place] = vectors
        return result


def _words(item: TaskItem) -> str:
    """The prompt of a text, without the image token that some tables have there."""
    return item.prompt.replace(IMAGE_PAD, "")


class RaggedCache(EmbeddingCache):
    """float16 [tokens, dim] by key, with tokens that differ."""

    def put(self, keys: Sequence[bytes], vectors: Any) -> None:
        """`vectors`: a float [tokens, dim] for each key."""
        self._put([(k, np.ascontiguousarray(v, dtype="<f2").tobytes()) for k, v in zip(keys, vectors, strict=True)])

    def rows(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Returns the vectors of the keys that are in the cache."""
        found = select(self._vectors, "SELECT key, vector FROM embedding WHERE key IN", list(dict.fromkeys(keys)))
        return {key: np.frombuffer(raw, "<f2").reshape(-1, self.dim) for key, raw in found}

    def lengths(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Returns the number of vectors of the keys that are in the cache, without reading them."""
        statement = "SELECT key, length(vector) FROM embedding WHERE key IN"
        found = select(self._vectors, statement, list(dict.fromkeys(keys)))
        return {key: size // (2 * self.dim) for key, size in found}


def max_sim_scores(
    queries: Sequence[bytes | ImageError],
    candidates: Sequence[bytes | ImageError],
    cache: RaggedCache,
    *,
    padded: bool = False,
) -> np.ndarray:
    """Returns MaxSim divided by the number of a query's tokens, float32 [queries, candidates]; 0 for what the cache
    lacks.

    The division changes no order, and puts scores on the scale of cosines, on which ties are told. `padded`: as the
    original, which fills candidates with zeros to the length of the longest; a zero then wins over vectors that are all
    unlike a token.
    """
    keys = [key if isinstance(key, bytes) else b"" for key in candidates]
    lengths = cache.lengths(keys)
    longest = max(lengths.values(), default=0)
    scores = np.zeros((len(queries), len(candidates)), np.float32)
    query_blocks = list(_query_blocks(queries, cache))
    for block in _blocks(keys, lengths, BLOCK_TOKENS):
        rows = cache.rows([keys[n] for n in block])
        pages = [rows[keys[n]] for n in block]
        starts = np.cumsum([0, *(len(page) for page in pages[:-1])])
        is_short = np.array([len(page) < longest for page in pages])
        vectors = np.concatenate(pages).astype(np.float32)
        for places, tokens, query_starts, counts in query_blocks:
            best = np.maximum.reduceat(vectors @ tokens.T, starts, axis=0)
            if padded:
                best[is_short] = np.maximum(best[is_short], 0)
            sums = np.add.reduceat(best, query_starts, axis=1)
            scores[np.ix_(places, block)] = (sums / counts).T
    return scores


def _query_blocks(
    queries: Sequence[bytes | ImageError], cache: RaggedCache
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (positions, tokens float32 [t, dim], first token of each, number of each) of some queries."""
    keys = [key if isinstance(key, bytes) else b"" for key in queries]
    rows = cache.rows(keys)
    lengths = {key: len(vectors) for key, vectors in rows.items()}
    for block in _blocks(keys, lengths, QUERY_TOKENS):
        counts = np.array([lengths[keys[n]] for n in block])
        tokens = np.concatenate([rows[keys[n]] for n in block]).astype(np.float32)
        yield block, tokens, np.cumsum([0, *counts[:-1]]), counts


def _blocks(keys: Sequence[bytes], lengths: dict[bytes, int], size: int) -> Iterator[list[int]]:
    """Yields the positions of keys that have vectors, in blocks of about `size` vectors."""
    block: list[int] = []
    total = 0
    for n, key in enumerate(keys):
        if not lengths.get(key):
            continue
        if block and total + lengths[key] > size:
            yield block
            block, total = [], 0
        block.append(n)
        total += lengths[key]
    if block:
        yield block
