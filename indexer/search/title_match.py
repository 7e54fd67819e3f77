"""What a file's name means beside a query: "jar.jpg" is no answer to "a jar of honey".

Built around the model's own reading of words. A name that holds some of the words is read as a
sentence and compared with the query; how far it comes nearer than ordinary queries come to it is
told in standard deviations, so that the number means the same under every model. A name takes
one embedding of a few words, and the last ones are kept. It knows nothing of word lists or lines.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence

import numpy as np

from indexer.catalogue.text.expression import tokenised
from indexer.catalogue.text.tokenizers import stemmed
from indexer.search.hit_facts import Held
from model.embedder import Embedder
from model.inputs import Input

KEPT = 4096
LEAST_SPREAD = 1e-3


class Titles:
    """Safe to use from many threads as far as the embedder is."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def nearness(self, asked: np.ndarray, titles: Sequence[str], ordinary: np.ndarray) -> list[float]:
        """Of each title to the best of the query's vectors [q, dim], in standard deviations above what the
        `ordinary` queries [m, dim] have with it; their spread is what they have with each other."""
        if not titles:
            return []
        read = self._read(titles)
        between = (ordinary @ ordinary.T)[~np.eye(len(ordinary), dtype=bool)]
        above = (asked @ read.T).max(axis=0) - (ordinary @ read.T).mean(axis=0)
        near: list[float] = (above / max(float(between.std()), LEAST_SPREAD)).tolist()
        return near

    def _read(self, titles: Sequence[str]) -> np.ndarray:
        with self._lock:
            known = {t: self._known[t] for t in titles if t in self._known}
        missing = [t for t in dict.fromkeys(titles) if t not in known]
        if missing:
            # A query's reading, not a document's: both sides of the comparison are a few words.
            made = self._embedder.embed([Input(text=title, role="query") for title in missing])
            known.update(zip(missing, made, strict=True))
        with self._lock:
            for title in titles:
                self._known[title] = known[title]
                self._known.move_to_end(title)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return np.stack([known[title] for title in titles])


def title_of(held: Held, words: Collection[str]) -> str:
    """A file's name as words; with its folder's name where it holds none of the query's words itself."""
    stem = held.name.rpartition(".")[0] or held.name
    own = " ".join(tokenised(_apart(stem), "names"))
    asked = {stemmed(token, "names") for word in words for token in tokenised(word, "names")}
    if asked.isdisjoint(stemmed(token, "names") for token in own.split()):
        folder = re.split(r"[/\\]", held.folder.rstrip("/\\"))[-1]
        own = f"{' '.join(tokenised(_apart(folder), 'names'))} {own}"
    return own.strip() or stem


def _apart(name: str) -> str:
    return name.replace("_", " ")
