"""Rank the sample set's documents for its questions, and say how good the ranking is.

Built around one matrix: documents x numbers, in memory. `measure_model` asks an `Embedder`;
`measure_names` asks the file names (BM25, SQLite's), the search everybody has already. Both
give a `Row` for each family alone and for all kinds mixed. Ties count against the system.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.embedder import Embedder
from model.inputs import Input
from tests.quality.sampleset import ROWS, Document, Question, SampleSet


@dataclass(frozen=True)
class Row:
    """Quality over `n` questions: the share with a right item first, among the first five; mean 1/rank."""

    n: int
    hit_1: float
    hit_5: float
    mrr: float

    @staticmethod
    def of(ranks: Sequence[float]) -> Row:
        found = np.asarray(ranks, float)
        if not len(found):
            return Row(0, 0.0, 0.0, 0.0)
        return Row(len(found), float((found <= 1).mean()), float((found <= 5).mean()), float((1 / found).mean()))


Table = dict[tuple[str, str], Row]
"""(row, "alone" or "mixed") -> quality."""

Scorer = Callable[[Question], np.ndarray]
"""Scores [documents] of a question; -inf where not found at all."""


def tabulate(samples: SampleSet, questions: Sequence[Question], score: Scorer) -> Table:
    ranks: dict[tuple[str, str], list[float]] = {}
    families = np.array([document.family for document in samples.documents])
    items = np.array([document.item for document in samples.documents])
    for question in questions:
        scores = score(question)
        for scope in ("alone", "mixed"):
            here = ~np.isin(items, list(question.not_counted))
            if scope == "alone":
                here &= families == ROWS[question.row]
            ranks.setdefault((question.row, scope), []).append(rank_of(scores[here], items[here], question.right))
    return {key: Row.of(found) for key, found in ranks.items()}


def rank_of(scores: np.ndarray, items: np.ndarray, right: frozenset[str]) -> float:
    """Rank of the best right item among items (an item of several chunks counts once); inf if not found."""
    best: dict[str, float] = {}
    for item, score in zip(items, scores, strict=True):
        best[item] = max(best.get(item, -np.inf), float(score))
    wanted = max((best[item] for item in right if item in best), default=-np.inf)
    if wanted == -np.inf:
        return float("inf")
    return 1 + sum(score >= wanted for item, score in best.items() if item not in right)


def embed_documents(embedder: Embedder, documents: Sequence[Document]) -> np.ndarray:
    """float32 [documents, dim], read and embedded a few at a time."""
    rows = [
        embedder.embed([document.read() for document in documents[at : at + 16]]) for at in range(0, len(documents), 16)
    ]
    return np.concatenate(rows)


def measure_model(
    samples: SampleSet, questions: Sequence[Question], embedder: Embedder, vectors: np.ndarray | None = None
) -> Table:
    """By inner product with the question's vector, as it comes: no calibration, no words."""
    if vectors is None:
        vectors = embed_documents(embedder, samples.documents)
    return tabulate(samples, questions, lambda question: vectors @ embedder.embed([question.asked])[0])


def measure_names(samples: SampleSet, questions: Sequence[Question]) -> Table:
    """BM25 over the words of the file names; only questions in words can be asked."""
    base = sqlite3.connect(":memory:")
    base.execute("create virtual table names using fts5(name, tokenize = 'porter unicode61')")
    for number, document in enumerate(samples.documents):
        words = re.sub(r"([a-z])([A-Z0-9])", r"\1 \2", samples.file_name(document).rpartition(".")[0])
        base.execute("insert into names(rowid, name) values (?, ?)", (number, words.replace("_", " ")))

    def score(question: Question) -> np.ndarray:
        scores = np.full(len(samples.documents), -np.inf)
        words = re.findall(r"\w+", question.asked.text or "")
        if words:
            asked = " OR ".join(f'"{word}"' for word in words)
            found = base.execute("select rowid, bm25(names) from names where names match ?", (asked,))
            for number, value in found:
                scores[number] = -value
        return scores

    return tabulate(samples, [q for q in questions if isinstance(q.asked, Input) and q.asked.text], score)
