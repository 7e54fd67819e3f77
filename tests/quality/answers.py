"""The sample set asked through the one search path: a real library, the real `Searcher`.

Built around `Library.index` over the folder that `samples.py` filled, and three systems over
the same catalogue: by meaning alone (raw inner products), by words alone, and both with
calibration, as users get it. It knows nothing of how a system ranks.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.catalogue.connections import Connections
from indexer.library import Library
from indexer.search import text_search
from indexer.search.query_syntax import parse
from indexer.search.searcher import Searcher
from indexer.types import KINDS, Part, Query
from indexer.vectors.source import GROUPS
from tests.quality.ranking import Row
from tests.quality.sampleset import Question, SampleSet

UNANSWERABLE = Path(__file__).with_name("unanswerable.txt")
FOLDERS = {"photo": "images", "stamp": "stamps", "video": "videos", "page": "pdfs"}
DEPTH = 300

System = Callable[[Query], list[str]]
"""Items in order of rank."""


@dataclass(frozen=True)
class Asked:
    """A question as a query; `folder` narrows it to its own family."""

    question: Question
    query: Query


class SampleLibrary:
    """The sample set indexed, with the systems that answer from it."""

    def __init__(self, samples: Path, data_dir: Path, ocr: str = "off") -> None:
        self.samples, self._data_dir, self._ocr = samples, data_dir, ocr
        self._asked = Path(tempfile.mkdtemp())
        self.embedded = self.mixed = 0
        self._open()
        self.own = self.library.status().chunks

    def surround(self, folder: Path) -> None:
        """Put distractors around the sample set; `folder` holds them, or will."""
        from tests.quality.distractors import TIMES, Answers, embedded, fetch, fill, padded

        folder.mkdir(parents=True, exist_ok=True)
        fetch(folder)
        facts, vectors = embedded(folder, self.searcher.embedder, Answers(asked_texts(self.samples)))
        self.embedded = len(facts)
        facts, vectors = padded(facts, vectors, TIMES * self.own)
        self.mixed = len(facts) - self.embedded
        fill(self.library.catalogue, folder, facts, vectors)
        self.connections.close()
        self.library.close()
        self._open()

    def _open(self) -> None:
        self.library = Library.open(self._data_dir, ocr=self._ocr, speech="off", nice=False)
        self.library.index([self.samples / folder for folder in FOLDERS.values()])
        self.searcher: Searcher = self.library.searcher()
        self.index = self.searcher.index
        self.connections = Connections(self.library.catalogue.database.where)
        rows = self.connections.get().execute(
            "SELECT k.id, f.path, k.page FROM chunk k JOIN file f ON f.content_hash = k.content_hash"
        )
        self._item: dict[int, str] = {}
        for number, path, page in rows:
            stem = Path(path).stem
            self._item[number] = stem if page is None else f"{stem}_{page}"

    def close(self) -> None:
        self.connections.close()
        self.library.close()

    def query(self, question: Question, number: int) -> Query:
        asked = question.asked
        if asked.text:
            return Query((Part(text=asked.text),))
        path = self._asked / f"{number}.png"
        Image.fromarray(asked.images[0]).save(path)
        return Query((Part(file=path),))

    def ask(self, query: Query) -> list[str]:
        """As users get it."""
        return [self._item.get(r.fact.chunk_id, "") for r in self.searcher.rank(query, DEPTH)]

    def by_meaning(self, query: Query) -> list[str]:
        """Raw inner products, all kinds in one list."""
        vectors = self.searcher.vectors(query)
        best: list[tuple[float, int]] = []
        for kind in query.filters.kinds or KINDS:
            scores, ids = self.index.search(vectors, DEPTH, None, GROUPS[kind])
            best += [(s, i) for s, i in zip(scores[0].tolist(), ids[0].tolist(), strict=True) if i >= 0]
        return [self._item[i] for _, i in sorted(best, key=lambda b: (-b[0], b[1]))]

    def by_words(self, query: Query) -> list[str]:
        """BM25 of texts and names, fused."""
        typed = parse(query.text)
        connection = self.connections.get()
        fused: dict[int, float] = {}
        allowed = self._allowed(query)
        for rank, number in enumerate(text_search.search_chunks(connection, typed.words, (), DEPTH).ids.tolist()):
            fused[number] = 1 / (61 + rank)
        for rank, file_id in enumerate(text_search.search_names(connection, typed.words, (), DEPTH).ids.tolist()):
            row = connection.execute(
                "SELECT k.id FROM file f JOIN chunk k ON k.content_hash = f.content_hash WHERE f.id = ?"
                " ORDER BY k.ordinal LIMIT 1",
                (file_id,),
            ).fetchone()
            if row:
                fused[row[0]] = fused.get(row[0], 0.0) + 1 / (61 + rank)
        passing = None if allowed is None else set(allowed.tolist())
        kept = [i for i in fused if passing is None or i in passing]
        return [self._item[i] for i in sorted(kept, key=lambda i: (-fused[i], i))]

    def _allowed(self, query: Query) -> np.ndarray | None:
        """Chunks of the kinds that are asked for; None for all."""
        if not query.filters.kinds:
            return None
        rows = self.connections.get().execute(
            "SELECT k.id FROM chunk k JOIN content c ON c.hash = k.content_hash"
            f" WHERE c.kind IN ({', '.join('?' * len(query.filters.kinds))})",
            query.filters.kinds,
        )
        return np.array([r[0] for r in rows], np.int64)


def rank_of(items: Iterable[str], question: Question) -> float:
    """Rank of the first right item; an item of several chunks counts once; inf where it is not there."""
    rank, seen = 0, set()
    for item in items:
        if item in seen or item in question.not_counted:
            continue
        seen.add(item)
        rank += 1
        if item in question.right:
            return rank
    return float("inf")


def ranks_of(asked: Iterable[tuple[Question, Query]], system: System) -> dict[str, list[float]]:
    """By row of the sample set, the rank of the first right item for each question in turn."""
    ranks: dict[str, list[float]] = {}
    for question, query in asked:
        ranks.setdefault(question.row, []).append(rank_of(system(query), question))
    return ranks


def measured(asked: Iterable[tuple[Question, Query]], system: System) -> dict[str, Row]:
    """Quality by row of the sample set."""
    return {row: Row.of(found) for row, found in ranks_of(asked, system).items()}


def unanswerable() -> list[str]:
    lines = UNANSWERABLE.read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def half_of(text: str) -> str:
    """Of a query that nothing answers: "tune" or "test", as questions have it."""
    return "tune" if hashlib.sha256(f"unanswerable{text}".encode()).digest()[0] % 2 else "test"


def asked_texts(samples: Path) -> list[str]:
    """All that is ever asked in words of the sample set: with an answer in it, and without."""
    return [q.asked.text for q in SampleSet(samples).questions() if q.asked.text] + unanswerable()
