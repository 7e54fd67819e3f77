"""Why a chunk is a hit: which words of the query stand where, and how near it is to the query by looks.

Built around one chunk, which somebody has opened: the search itself keeps none of this. It knows nothing of ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.text.expression import is_unspaced, tokenised
from indexer.catalogue.text.tokenizers import stemmed
from indexer.search.calibration import SAMPLE
from indexer.search.text_search import STOP_WORDS
from indexer.types import ChunkDetails, Nearness, WordPlaces

ROUNDING = 1e-4
"""Stored vectors are float16: a smaller difference of two scores says nothing."""


def word_places(catalogue: Catalogue, words: Sequence[str], details: ChunkDetails) -> tuple[WordPlaces, ...]:
    """Returns the words of a query that stand in the chunk's text or beside it, each with its places."""
    path = details.chunk.file.path
    root = next((r.path for r in catalogue.files.roots() if r.path in path.parents), path.parent)
    texts = (
        ("name", path.stem),
        ("folder", " ".join(path.parent.relative_to(root.parent).parts)),
        ("caption", details.caption),
        (details.text_is, details.chunk.text),
    )
    tokens = list(dict.fromkeys(token for word in words for token in tokenised(word, "names")))
    found = []
    for token in [t for t in tokens if t not in STOP_WORDS] or tokens:
        places = tuple(dict.fromkeys(place for place, text in texts if _holds(text, token)))
        if places:
            found.append(WordPlaces(token, places))
    return tuple(found)


def _holds(text: str, token: str) -> bool:
    if is_unspaced(token):
        return token in text
    stem = stemmed(token, "names")
    return any(stemmed(other, "names") == stem for other in tokenised(text, "names"))


def nearness(queries: np.ndarray, vector: np.ndarray, sample: np.ndarray) -> Nearness:
    """Returns how near a chunk is to the query among its kind. `queries` [q, dim], `vector` [dim], `sample` [n, dim]:
    all chunks of its kind, or SAMPLE of them."""
    score = float((queries @ vector).max())
    others = (queries @ sample.T).max(axis=0)
    closer_than = float((others < score - ROUNDING).mean())
    if len(sample) >= SAMPLE:
        return Nearness(closer_than, None, None)
    return Nearness(closer_than, 1 + int((others > score + ROUNDING).sum()), len(sample))
