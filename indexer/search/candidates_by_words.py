"""Candidates by words: chunks with words of the query in their text, and files with such words in their name.

Built around `text_search.py` for both, and one read of all that the ranking needs of the matches, so that all of
it runs in a thread while the query is embedded. It knows nothing of ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from indexer.catalogue.connections import Connections
from indexer.catalogue.dialects import Reading
from indexer.search import text_search
from indexer.search.calibration import Scale
from indexer.search.filters import Restriction
from indexer.search.query_syntax import ParsedQuery
from indexer.search.text_search import ALL, NOTHING, WordMatches
from indexer.vectors.source import GROUPS


class WordCandidates(NamedTuple):
    in_text: WordMatches = NOTHING
    """Matches of chunks."""
    in_names: WordMatches = NOTHING
    """Matches of files."""
    chunks_of: Sequence[tuple[int, int, int]] = ()
    """(file, chunk, ordinal) of the files in `in_names`, in order of ordinals."""
    groups: Sequence[tuple[int, int]] = ()
    """(chunk, group of its vector) of the chunks in `in_text`, and of the first chunk of each file in `in_names`."""
    vectors: np.ndarray | None = None
    """The vectors of `groups`, float32 [n, dim]."""

    def named(self, meaning: dict[int, float]) -> dict[int, tuple[int, float]]:
        """Returns chunk id -> (tier, coverage) for one chunk of each file in `in_names`: the chunk with the best
        match in its text, then by `meaning`, else the file's first chunk."""
        tiers = dict(zip(self.in_text.ids.tolist(), self.in_text.tiers.tolist(), strict=True))
        best: dict[int, tuple[tuple[float, float], int]] = {}
        for file_id, number, _ in self.chunks_of:
            merit = (tiers.get(number, 0), meaning.get(number, -1e9))
            if file_id not in best or merit > best[file_id][0]:
                best[file_id] = merit, number
        named: dict[int, tuple[int, float]] = {}
        names = self.in_names
        matches = zip(names.ids.tolist(), names.tiers.tolist(), names.coverage.tolist(), strict=True)
        for file_id, tier, coverage in matches:
            if file_id in best:
                named.setdefault(best[file_id][1], (tier, coverage))
        return named

    def literal(self, named: dict[int, tuple[int, float]]) -> set[int]:
        """Returns the chunks that have the word of a one-word query as typed, in their text or their file's name.
        `named`: the result of the method `named`."""
        text, names = self.in_text, self.in_names
        ids = set(text.ids[text.tiers >= ALL].tolist()) if text.literal else set()
        return ids | {n for n, (tier, _) in named.items() if tier >= ALL} if names.literal else ids

    def score(self, queries: np.ndarray, scales: dict[int, Scale], meaning: dict[int, float], ids: set[int]) -> None:
        """Add to `meaning` the standardised scores of the `ids` that it lacks."""
        missing = ids - meaning.keys()
        if not missing or not len(queries) or self.vectors is None:
            return
        scores = queries @ self.vectors.T
        for group, scale in scales.items():
            rows = [n for n, (i, of) in enumerate(self.groups) if of == group and i in missing]
            if rows:
                standard = scale.standardise(scores[:, rows]).max(axis=0)
                meaning.update(zip((self.groups[n][0] for n in rows), standard.tolist(), strict=True))


def by_words(
    connections: Connections, query: ParsedQuery, restriction: Restriction, depth: int, model_id: int
) -> WordCandidates:
    """Returns at most `depth` chunks and as many files."""
    connection = connections.get()  # the connection of this thread
    words, phrases = query.words, query.phrases
    in_text = text_search.search_chunks(connection, words, phrases, depth, restriction.chunk_rows)
    in_names = text_search.search_names(connection, words, phrases, depth, restriction.file_rows)
    chunks_of = _chunks_of(connection, in_names.ids.tolist())
    firsts = {file_id: number for file_id, number, _ in reversed(chunks_of)}
    ids = {*in_text.ids.tolist(), *firsts.values()}
    return WordCandidates(in_text, in_names, chunks_of, *_stored(connection, list(ids), model_id))


def _chunks_of(connection: Reading, files: list[int]) -> list[tuple[int, int, int]]:
    """Returns (file, chunk, ordinal) of the chunks of some files, in order of ordinals."""
    if not files:
        return []
    rows: list[tuple[int, int, int]] = connection.execute(
        "SELECT f.id, k.id, k.ordinal FROM file f JOIN chunk k ON k.content_hash = f.content_hash"
        f" WHERE f.id IN ({', '.join('?' * len(files))})",
        files,
    ).fetchall()
    rows.sort(key=itemgetter(2))
    return rows


def _stored(connection: Reading, ids: list[int], model_id: int) -> tuple[list[tuple[int, int]], np.ndarray | None]:
    """Returns (chunk, group) of the chunks with a vector, and the vectors float32 [n, dim]; None if there are none."""
    if not ids:
        return [], None
    rows = connection.execute(
        "SELECT k.id, c.kind, e.vector FROM chunk k JOIN content c ON c.hash = k.content_hash"
        " JOIN embedding e ON e.chunk_id = k.id AND e.model_id = ?"
        f" WHERE k.id IN ({', '.join('?' * len(ids))})",
        (model_id, *ids),
    ).fetchall()
    if not rows:
        return [], None
    vectors = np.frombuffer(b"".join(row[2] for row in rows), "<f2").reshape(len(rows), -1)
    return [(row[0], GROUPS[row[1]]) for row in rows], vectors.astype(np.float32)
