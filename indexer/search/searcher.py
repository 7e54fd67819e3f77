"""A query to an answer: the one path for page, API, command line and agents.

Built around two searches over the same filters, by meaning (`vectors/index.py`, scores put on
one scale by `calibration.py`) and by words (`text_search.py`), weighed by `ranking.py`. It reads
through its own connections and a snapshot of the index, so it never waits for a writer.
It knows nothing of who asks, nor of how anything came into the library.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from data.media.sandbox import Sandbox
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.connections import Connections, Reading
from indexer.errors import LibraryError
from indexer.search import filters as filtering
from indexer.search import spoken_at, text_search
from indexer.search.calibration import ORDINARY_QUERIES, Background, Scale, comparable
from indexer.search.hit_facts import Fact, Facts, Held
from indexer.search.query_syntax import Filters, Typed, of_query
from indexer.search.query_vectors import Parts
from indexer.search.ranking import Evidence, Ranked, merged_moments, ranked
from indexer.search.title_match import Titles, title_of
from indexer.types import KINDS, Answer, Hit, Kind, Query
from indexer.vectors.index import VectorIndex
from indexer.vectors.source import GROUPS, StoredEmbeddings
from model.embedder import Embedder
from model.inputs import Input

POOL = 60
"""Candidates a kind and list, at least."""
FACETS_SHOWN = 30
T = TypeVar("T")

BESIDE_THREADS = 4
"""Searches by words run beside the embedding of their query, kinds beside one another; all of them leave
Python's lock to others."""


class Worded(NamedTuple):
    """What the words of a query found, and what is to be known of it."""

    in_text: text_search.Found = text_search.NOTHING
    in_names: text_search.Found = text_search.NOTHING
    """Of files."""
    chunks_of: Sequence[tuple[int, int, int]] = ()
    """(file, chunk, ordinal) of the files found by their names, in order of ordinals."""
    groups: Sequence[tuple[int, int]] = ()
    """(chunk, group of its vector) of the chunks found, and of the first one of each file."""
    vectors: np.ndarray | None = None
    """Theirs, float32 [n, dim]."""


class Searcher:
    """Answers queries. Safe to use from many threads as far as the embedder is."""

    def __init__(
        self, catalogue: Catalogue, index: VectorIndex, embedder: Embedder, sandbox: Sandbox
    ) -> None:
        self._index, self._embedder = index, embedder
        self.embedder, self.sandbox, self.catalogue = embedder, sandbox, catalogue
        self._connections = Connections(catalogue.database.where)
        row = next((m for m in catalogue.models.all() if m.name == embedder.id), None)
        self._model_id = -1 if row is None else row.id
        self._background = Background(self._connections, self._model_id, embedder.dim)
        self._facts = Facts(self._connections)
        self._parts = Parts(catalogue, self._model_id, embedder, sandbox)
        self._allowed: OrderedDict[object, np.ndarray] = OrderedDict()
        self._ordinary: np.ndarray | None = None
        self._titles = Titles(embedder)

    def close(self) -> None:
        self._connections.close()

    def search(self, query: Query, k: int = 10, offset: int = 0) -> Answer:
        """Hits `offset` to `offset + k` of the best, and how many there are in all.

        Raises LibraryError when a part of the query cannot be read or a typed filter is not understood.
        """
        started = time.perf_counter()
        typed = of_query(query)
        ranking = self._rank(query, typed, max(POOL, 2 * (offset + k)))
        if ranking is None:
            if any(p.weight < 0 for p in query.parts):
                raise LibraryError("Say also what to look for, not only what to avoid.")
            hits, total, facets = self._browse(query, typed, k, offset)
        else:
            if query.sort == "date":
                ranking.sort(key=lambda r: (not r.relevant, -(r.fact.taken_at or 0.0)))
            page = ranking[offset : offset + k]
            counted = _counted(ranking)
            hits, total, facets = self._hits(page, typed, offset), len(ranking), _facets(counted)
            facets["label"] = self._labels_of([fact.chunk_id for fact in counted])
        took_ms = (time.perf_counter() - started) * 1000
        return Answer(query, self._embedder.id, took_ms, total, hits, facets)

    def rank(self, query: Query, depth: int = POOL) -> list[Ranked]:
        """The whole ranking with its evidence, moments merged: for whoever builds on answers."""
        return self._rank(query, of_query(query), depth) or []

    def vectors(self, query: Query) -> np.ndarray:
        """The query's own vectors: float32 [n, dim], of unit length; none where only filters are asked."""
        return self._parts.vectors(query)

    def vectors_of(self, content: bytes) -> np.ndarray:
        """float32 [n, dim] of a content's chunks, in order."""
        rows = self._connections.get().execute(
            "SELECT e.vector FROM chunk k JOIN embedding e ON e.chunk_id = k.id AND e.model_id = ?"
            " WHERE k.content_hash = ? ORDER BY k.ordinal",
            (self._model_id, content),
        )
        blob = b"".join(row[0] for row in rows)
        return np.frombuffer(blob, "<f2").reshape(-1, self._embedder.dim).astype(np.float32)

    @property
    def model_id(self) -> int:
        """The catalogue's number of the model."""
        return self._model_id

    def facts(self, ids: Iterable[int]) -> dict[int, Fact]:
        """What is known of chunks, by id."""
        return self._facts.of(ids)

    def inputs_of(self, path: Path) -> list[Input]:
        """A file that asks as a model takes it, cut like a document. Raises LibraryError."""
        return self._parts.inputs(path)

    def all_vectors(self) -> Iterator[tuple[Kind, np.ndarray, np.ndarray]]:
        """Everything, some at a time: kind, ids int64 [m], vectors float32 [m, dim]."""
        source = StoredEmbeddings(self.catalogue.database, self._model_id, self._embedder.dim)
        for kind, group in GROUPS.items():
            for ids, vectors in source.vectors(group):
                yield kind, ids, vectors.astype(np.float32)

    def text_scales(self, queries: np.ndarray) -> dict[int, Scale]:
        """By group, what text queries [n, dim] score there by chance."""
        return self._scales(queries, textual=True)

    # -- the two searches --------------------------------------------------------------------

    def _rank(self, query: Query, typed: Typed, depth: int) -> list[Ranked] | None:
        """None when nothing is asked for but filters."""
        with _beside(self._by_words, typed, depth, wanted=bool(typed.words or typed.phrases)) as worded:
            asked = self._parts.vectors(query)
            if not len(asked) and worded is None:
                return None
            textual = bool(typed.meaning) and all(p.file is None and p.chunk_id is None for p in query.parts)
            meaning, scales = self._by_meaning(asked, typed, depth, textual)
            by_words = Worded() if worded is None else worded.result()
        for part in query.parts:
            if part.chunk_id is not None:
                meaning.pop(part.chunk_id, None)
        in_text = by_words.in_text
        named = _chunks_of_named(by_words, meaning)
        self._score_the_rest(by_words, asked, scales, meaning, {*in_text.ids.tolist(), *named})
        facts = self._facts.of({*meaning, *in_text.ids.tolist(), *named})

        def alike(chunks: list[int]) -> list[float]:
            titles = [title_of(facts[n].files[0], typed.words) for n in chunks]
            return self._titles.nearness(asked, titles, self._ordinary_queries())

        evidence = Evidence(meaning, in_text, named, textual, alike)
        return merged_moments(ranked(evidence, facts))

    def _by_words(self, typed: Typed, depth: int) -> Worded:
        """Chunks by their text, and files by their names; all that is read for them, beside the embedding."""
        connection = self._connections.get()
        chunks: filtering.Condition = ("", [])
        files: filtering.Condition = ("", [])
        if typed.filters != Filters() or typed.excluded or self._any_hidden():
            chunks = filtering.chunk_rows(typed.filters, typed.excluded)
            files = filtering.file_rows(typed.filters, typed.excluded)
        in_text = text_search.search_chunks(connection, typed.words, typed.phrases, depth, chunks)
        in_names = text_search.search_names(connection, typed.words, typed.phrases, depth, files)
        chunks_of = _chunks_of(connection, in_names.ids.tolist())
        firsts = {file_id: number for file_id, number, _ in reversed(chunks_of)}
        wanted = {*in_text.ids.tolist(), *firsts.values()}
        return Worded(in_text, in_names, chunks_of, *self._stored(connection, list(wanted)))

    def _stored(self, connection: Reading, ids: list[int]) -> tuple[list[tuple[int, int]], np.ndarray | None]:
        """(chunk, group) of some chunks, and their vectors float32 [n, dim]; None where there are none."""
        if not ids:
            return [], None
        rows = connection.execute(
            "SELECT k.id, c.kind, e.vector FROM chunk k JOIN content c ON c.hash = k.content_hash"
            " JOIN embedding e ON e.chunk_id = k.id AND e.model_id = ?"
            f" WHERE k.id IN ({', '.join('?' * len(ids))})",
            (self._model_id, *ids),
        ).fetchall()
        vectors = np.frombuffer(b"".join(row[2] for row in rows), "<f2").reshape(-1, self._embedder.dim)
        return [(row[0], GROUPS[row[1]]) for row in rows], vectors.astype(np.float32)

    def _by_meaning(
        self, asked: np.ndarray, typed: Typed, depth: int, textual: bool
    ) -> tuple[dict[int, float], dict[int, Scale]]:
        """Standardised score by chunk id, of the best of each kind, the best of several query vectors; and
        the scales."""
        best: dict[int, float] = {}
        if not len(asked):
            return best, {}
        allowed, roots = self._narrowed(typed)
        groups = [GROUPS[kind] for kind in typed.filters.kinds or KINDS]
        waiting = iter(groups)  # for two threads, of which one may have no time: who is free takes the next

        def found_in_some() -> list[tuple[int, np.ndarray, np.ndarray]]:
            return [(g, *self._index.search(asked, depth, allowed, g, roots)) for g in waiting]

        with _beside(found_in_some, wanted=len(groups) > 1) as other:
            scales = self._scales(asked, textual)
            if textual:
                scales = comparable(scales)
            found = found_in_some()
        if other is not None and not other.cancelled():
            found += other.result()
        for group, scores, ids in found:
            if group not in scales:  # nothing of the kind is there, or it came just now
                continue
            standard = scales[group].standardise(scores)
            for number, score in zip(ids.ravel().tolist(), standard.ravel().tolist(), strict=True):
                if number >= 0 and score > best.get(number, -np.inf):
                    best[number] = score
        return best, scales

    def _scales(self, asked: np.ndarray, textual: bool) -> dict[int, Scale]:
        if not len(asked):
            return {}
        size = len(self._index)
        if textual:
            return self._background.of_text(asked, size, self._ordinary_queries())
        return self._background.of_pictures(asked, size)

    def _ordinary_queries(self) -> np.ndarray:
        if self._ordinary is None:
            self._ordinary = self._embedder.embed([Input(text=t, role="query") for t in ORDINARY_QUERIES])
        return self._ordinary

    def _narrowed(self, typed: Typed) -> tuple[np.ndarray | None, frozenset[int] | None]:
        """(ids that pass, roots that they lie under), None for all. An engine filters roots by itself."""
        connection = self._connections.get()
        if not typed.phrases and not typed.excluded and not self._any_hidden():
            if typed.filters.only_kinds:
                return None, None
            roots = filtering.roots_alone(connection, typed.filters)
            if roots is not None:
                return None, roots
        return self._allowed_ids(connection, typed), None

    def _allowed_ids(self, connection: Reading, typed: Typed) -> np.ndarray:
        """The last few sets are kept while nothing is written."""
        version = connection.execute("SELECT max(id) FROM change").fetchone()
        key = (replace(typed, meaning="", words=()), version, int(time.monotonic()) // 5)
        allowed = self._allowed.get(key)
        if allowed is None:
            allowed = filtering.allowed_ids(connection, typed.filters, typed.phrases, typed.excluded)
            self._allowed[key] = allowed
            while len(self._allowed) > 8:
                self._allowed.popitem(last=False)
        return allowed

    def _any_hidden(self) -> bool:
        row = self._connections.get().execute("SELECT 1 FROM label WHERE hidden <> 0 LIMIT 1").fetchone()
        return row is not None

    def _score_the_rest(
        self,
        by_words: Worded,
        asked: np.ndarray,
        scales: dict[int, Scale],
        meaning: dict[int, float],
        ids: set[int],
    ) -> None:
        """Give what only words found its score by meaning as well."""
        missing = ids - meaning.keys()
        if not missing or not len(asked) or by_words.vectors is None:
            return
        scores = asked @ by_words.vectors.T
        for group, scale in scales.items():
            own = [n for n, (i, of) in enumerate(by_words.groups) if of == group and i in missing]
            if own:
                standard = scale.standardise(scores[:, own]).max(axis=0)
                meaning.update(zip((by_words.groups[n][0] for n in own), standard.tolist(), strict=True))

    # -- the answer --------------------------------------------------------------------------

    def _hits(self, page: Sequence[Ranked], typed: Typed, offset: int) -> tuple[Hit, ...]:
        connection = self._connections.get()
        ids = [r.fact.chunk_id for r in page]
        texts = text_search.snippets(
            connection, ids, typed.words, typed.phrases, {r.fact.chunk_id for r in page if r.worded}
        )
        primary = self._facts.passing((r.fact for r in page), typed.filters)
        said = spoken_at.seconds(connection, page, (*typed.words, *typed.phrases))
        return tuple(
            _hit(
                offset + n,
                r,
                primary.get(r.fact.content, r.fact.files[0]),
                texts.get(r.fact.chunk_id, ""),
                said.get(r.fact.chunk_id),
            )
            for n, r in enumerate(page, 1)
        )

    def _browse(
        self, query: Query, typed: Typed, k: int, offset: int
    ) -> tuple[tuple[Hit, ...], int, dict[str, dict[str, int]]]:
        """Nothing asked for but filters: all that passes, newest first, one hit a file's content."""
        condition, values = filtering.passing(typed.filters, (), typed.excluded)
        connection = self._connections.get()
        rows = connection.execute(
            f"SELECT min(k.id), {filtering.TAKEN} AS taken FROM content c CROSS JOIN chunk k"
            f" ON k.content_hash = c.hash WHERE c.orphaned_at IS NULL AND {condition}"
            " GROUP BY c.hash ORDER BY taken DESC, min(k.id)",
            values,
        ).fetchall()
        ids = [r[0] for r in rows]
        facts = self._facts.of(ids[: max(2000, offset + k)])
        listed = [Ranked(facts[i], 0.0, True) for i in ids if i in facts]
        facets = _facets(_counted(listed))
        if self._any_label():
            carried = connection.execute(
                "SELECT l.name, count(DISTINCT c.hash) FROM content c CROSS JOIN chunk k"
                " ON k.content_hash = c.hash JOIN label l ON l.chunk_id = k.id"
                f" WHERE c.orphaned_at IS NULL AND {condition} GROUP BY l.name",
                values,
            )
            facets["label"] = _most(dict(carried))
        return self._hits(listed[offset : offset + k], typed, offset), len(ids), facets

    def _any_label(self) -> bool:
        return self._connections.get().execute("SELECT 1 FROM label LIMIT 1").fetchone() is not None

    def _labels_of(self, ids: Sequence[int]) -> dict[str, int]:
        """How many of these chunks carry each label."""
        if not ids or not self._any_label():
            return {}
        rows = self._connections.get().execute(
            f"SELECT name, count(*) FROM label WHERE chunk_id IN ({', '.join('?' * len(ids))}) GROUP BY name",
            ids,
        )
        return _most(dict(rows))


def _chunks_of(connection: Reading, files: list[int]) -> list[tuple[int, int, int]]:
    """(file, chunk, ordinal) of some files, in order of ordinals."""
    if not files:
        return []
    rows: list[tuple[int, int, int]] = connection.execute(
        "SELECT f.id, k.id, k.ordinal FROM file f JOIN chunk k ON k.content_hash = f.content_hash"
        f" WHERE f.id IN ({', '.join('?' * len(files))})",
        files,
    ).fetchall()
    rows.sort(key=itemgetter(2))
    return rows


def _chunks_of_named(by_words: Worded, meaning: dict[int, float]) -> dict[int, tuple[int, float]]:
    """For each file found by its name, the chunk to show: (tier, score) by chunk id.

    The chunk that was found by its words or its meaning too, else the file's first.
    """
    in_text, in_names = by_words.in_text, by_words.in_names
    text_tiers = dict(zip(in_text.ids.tolist(), in_text.tiers.tolist(), strict=True))
    chosen: dict[int, tuple[tuple[float, float], int]] = {}
    for file_id, number, _ in by_words.chunks_of:
        merit = (text_tiers.get(number, 0), meaning.get(number, -1e9))
        if file_id not in chosen or merit > chosen[file_id][0]:
            chosen[file_id] = merit, number
    named: dict[int, tuple[int, float]] = {}
    found = zip(in_names.ids.tolist(), in_names.tiers.tolist(), in_names.coverage.tolist(), strict=True)
    for file_id, tier, score in found:
        if file_id in chosen:
            named.setdefault(chosen[file_id][1], (tier, score))
    return named


@contextmanager
def _beside(function: Callable[..., T], *values: Any, wanted: bool) -> Iterator[Future[T] | None]:
    """`function` in another thread while the block runs, or None. It does not outlive the block, whatever
    ends that, for what it reads may be closed right after; one that had no turn by then is cancelled."""
    if not wanted:
        yield None
        return
    running = _threads().submit(function, *values)
    try:
        yield running
    finally:
        if not running.cancel():
            wait([running])


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """One for all searchers: one that gives way to another model's may have queries in flight."""
    return ThreadPoolExecutor(BESIDE_THREADS, thread_name_prefix="search")


def _hit(rank: int, found: Ranked, held: Held, snippet: str, at_s: float | None) -> Hit:
    fact = found.fact
    return Hit(
        rank=rank,
        score=round(found.score, 3),
        relevant=found.relevant,
        kind=fact.kind,
        path=held.path,
        also_at=tuple(f.path for f in fact.files if f.file_id != held.file_id),
        file_id=held.file_id,
        chunk_id=fact.chunk_id,
        start_s=fact.start_s if found.start_s is None else found.start_s,
        end_s=fact.end_s if found.end_s is None else found.end_s,
        page=fact.page,
        pages=fact.pages,
        duration_s=fact.duration_s,
        width=fact.width,
        height=fact.height,
        taken_at=fact.taken_at,
        title=held.name,
        snippet=snippet,
        at_s=at_s,
    )


def _counted(ranking: Sequence[Ranked]) -> list[Fact]:
    """What facets count: what is above the line; everything where nothing is."""
    return [r.fact for r in ranking if r.relevant] or [r.fact for r in ranking]


def _facets(facts: Sequence[Fact]) -> dict[str, dict[str, int]]:
    days = Counter([int(f.taken_at // 86_400) for f in facts if f.taken_at is not None])
    years: Counter[str] = Counter()
    for day, count in days.items():
        years[_year(day)] += count
    return {
        "kind": _most(Counter([f.kind for f in facts])),
        "folder": _most(Counter([f.files[0].folder for f in facts])),
        "year": dict(sorted(years.items(), reverse=True)),
        "length": Counter([_length(f.duration_s) for f in facts if f.duration_s is not None]),
    }


def _length(duration_s: float) -> str:
    return "short" if duration_s < 60 else "medium" if duration_s < 600 else "long"


@lru_cache(maxsize=4096)
def _year(day: int) -> str:
    """Of a day since 1970, by the local clock at its noon."""
    return str(time.localtime(day * 86_400 + 43_200).tm_year)


def _most(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:FACETS_SHOWN])
