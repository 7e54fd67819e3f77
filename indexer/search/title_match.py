"""How near a file's name is to a query in meaning: "jar.jpg" is no answer to "a jar of honey".

Built around the model's text embedding. A name with some of the query's words is embedded as a sentence and
compared with the query. The result is the distance to ordinary queries in standard deviations, so that it means
the same under every model. A name costs one embedding of a few words; the last ones are cached. It knows nothing
of text search or of relevance.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Sequence

import numpy as np
from cachetools import LRUCache

from indexer.catalogue.text.expression import tokenised
from indexer.catalogue.text.tokenizers import stemmed
from indexer.search.hit_facts import FileRef
from model.embedder import Embedder
from model.inputs import Input

CACHED = 4096
LEAST_SPREAD = 1e-3


class Titles:
    """Safe to use from many threads as far as the embedder is."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: LRUCache[str, np.ndarray] = LRUCache(CACHED)
        self._lock = threading.Lock()

    def likeness(self, queries: np.ndarray, titles: Sequence[str], ordinary: np.ndarray) -> list[float]:
        """Returns how near each title is to its nearest query vector [q, dim]: the cosine minus its mean cosine with
        `ordinary` queries [m, dim], in standard deviations of the ordinary queries' cosines with each other."""
        if not titles:
            return []
        vectors = self._embedded(titles)
        between = (ordinary @ ordinary.T)[~np.eye(len(ordinary), dtype=bool)]
        above = (queries @ vectors.T).max(axis=0) - (ordinary @ vectors.T).mean(axis=0)
        near: list[float] = (above / max(float(between.std()), LEAST_SPREAD)).tolist()
        return near

    def _embedded(self, titles: Sequence[str]) -> np.ndarray:
        with self._lock:
            vectors = {t: self._vectors[t] for t in titles if t in self._vectors}
        missing = [t for t in dict.fromkeys(titles) if t not in vectors]
        if missing:
            # As queries, not documents: both sides of the comparison are a few words.
            new = self._embedder.embed([Input(text=title, role="query") for title in missing])
            vectors.update(zip(missing, new, strict=True))
        with self._lock:
            self._vectors.update(vectors)
        return np.stack([vectors[title] for title in titles])


def name_in_words(file: FileRef, words: Collection[str]) -> str:
    """Returns a file's name as words, after its folder's name if the name has none of the query's words."""
    stem = file.name.rpartition(".")[0] or file.name
    title = _words_of(stem)
    stems = {stemmed(token, "names") for word in words for token in tokenised(word, "names")}
    if stems.isdisjoint(stemmed(token, "names") for token in title.split()):
        folder = re.split(r"[/\\]", file.folder.rstrip("/\\"))[-1]
        title = f"{_words_of(folder)} {title}"
    return title.strip() or stem


def _words_of(name: str) -> str:
    return " ".join(tokenised(name.replace("_", " "), "names"))
