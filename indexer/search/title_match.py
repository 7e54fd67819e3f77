"""What a file's name means beside a query: "jar.jpg" is no answer to "a jar of honey".

Built around the model's own reading of words. A name that holds some of the words is read as a
sentence and compared with the query. How much nearer it comes than ordinary queries do is given in
standard deviations, so that the number means the same under every model. A name takes one embedding of a few
words, and the last ones are kept. It knows nothing of word lists or lines.
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

    def nearness(self, queries: np.ndarray, titles: Sequence[str], ordinary: np.ndarray) -> list[float]:
        """Of each title to the best of the query's vectors [q, dim], in standard deviations above what the
        `ordinary` queries [m, dim] have with it; their spread is what they have with each other."""
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


def title_of(file: FileRef, words: Collection[str]) -> str:
    """A file's name as words; with its folder's name where it holds none of the query's words itself."""
    stem = file.name.rpartition(".")[0] or file.name
    own = " ".join(tokenised(_apart(stem), "names"))
    stems = {stemmed(token, "names") for word in words for token in tokenised(word, "names")}
    if stems.isdisjoint(stemmed(token, "names") for token in own.split()):
        folder = re.split(r"[/\\]", file.folder.rstrip("/\\"))[-1]
        own = f"{' '.join(tokenised(_apart(folder), 'names'))} {own}"
    return own.strip() or stem


def _apart(name: str) -> str:
    return name.replace("_", " ")
