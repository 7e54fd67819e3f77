"""The searcher: a query to an answer, the same path for page, API, command line and agents.

Built around two searches under one restriction, by meaning (`candidates_by_meaning.py`) and by words
(`candidates_by_words.py`), which `ranking.py` combines. It reads through connections of its own and a snapshot of
the index, so it never waits for a writer. It knows nothing of users and of indexing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.media.sandbox import Sandbox
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.connections import Connections
from indexer.catalogue.text.expression import Expression
from indexer.errors import LibraryError
from indexer.search.browse import Browse
from indexer.search.calibration import Background, Scale
from indexer.search.candidates_by_meaning import MeaningSearch
from indexer.search.candidates_by_words import WordCandidates, by_words
from indexer.search.facets import facets_of
from indexer.search.filters import Restriction, album_notice, place_notice, restriction
from indexer.search.folding import by_centroid, folded
from indexer.search.hit_facts import Fact, Facts
from indexer.search.hits import copy_to_show, hits_of
from indexer.search.places import places_of, positions
from indexer.search.query_syntax import ParsedQuery, parse_query
from indexer.search.query_vectors import QueryVectors
from indexer.search.ranking import Evidence, Ranked, merged_moments, ranked
from indexer.search.reranking import Reranker
from indexer.search.side_thread import beside
from indexer.search.text_search import NO_EXPRESSION, telling
from indexer.search.title_match import Titles, name_in_words
from indexer.search.unread import Unread, unread_notice
from indexer.search.vocabulary import Vocabulary, vocabulary
from indexer.search.why import nearness, word_places
from indexer.types import KINDS, Answer, ChunkDetails, Filters, Kind, Month, Places, Query, Why
from indexer.vectors.index import VectorIndex
from indexer.vectors.source import GROUPS, KIND_OF, StoredEmbeddings
from model.embedder import Embedder
from model.inputs import Input
from model.ranking_profile import RankingProfile, untuned

POOL = 60
"""Candidates of each kind and list for features that build on answers."""
DEPTH, MOST = 200, 1000
"""Candidates of each kind and list in an answer; MOST if relevant ones are found near the end of a list. They are the
same for every page of an answer, so that its pages join and its total holds. At 20,000 chunks (lite, CPU time of a
search, one busy core): 60 candidates 30 ms, 200 36 ms, 800 80 ms, 2,000 150 ms."""
FOLDED = 3
"""How many times as many for an answer with one hit per file: a long PDF has many pages among the best."""
END = 0.75
"""From this share of a list on, a relevant candidate means that there may be more beyond its end."""
ABOVE = 60
"""Hits before a page to which one of its hits may be near-equal."""


class Ranking(NamedTuple):
    """`marks`: the words to mark. `goes_on`: there may be more that is relevant than `places` has. `named`: the files
    with words of the query in their names or beside them, the best first."""

    places: list[Ranked]
    marks: Expression
    goes_on: bool
    named: tuple[int, ...] = ()


class Searcher:
    """Answers queries. Safe to use from many threads as far as the embedder is."""

    def __init__(self, catalogue: Catalogue, index: VectorIndex, embedder: Embedder, sandbox: Sandbox) -> None:
        self.embedder, self.sandbox, self.catalogue = embedder, sandbox, catalogue
        self.index = index
        self.profile: RankingProfile = getattr(embedder, "profile", None) or untuned()
        """The weights of the model's scores."""
        row = next((m for m in catalogue.models.all() if m.name == embedder.id), None)
        self.model_id = -1 if row is None else row.id
        """The id of the model in the catalogue; -1 if it has none."""
        self._connections = Connections(catalogue.database.where)
        self._facts = Facts(self._connections)
        self._browse = Browse(self._facts)
        self._query_vectors = QueryVectors(catalogue, self.model_id, embedder, sandbox)
        self._background = Background(self._connections, embedder, self.model_id)
        self._meaning = MeaningSearch(self._connections, index, self._background)
        self._titles = Titles(embedder)
        self._reranker = Reranker(sandbox)
        self._unread = Unread()

    def close(self) -> None:
        self._connections.close()

    def catalogue_version(self) -> object:
        """See `Connections.version`."""
        return self._connections.version()

    def search(self, query: Query, k: int = 10, offset: int = 0) -> Answer:
        """Returns hits `offset` to `offset + k` of the ranking, and the number of all: the same for every `offset`.

        Raises LibraryError if a part of the query cannot be read, QueryError if a filter cannot be parsed.
        """
        started = time.perf_counter()
        connection = self._connections.get()
        parsed = parse_query(query)
        allowed = restriction(connection, parsed)
        result = self._whole(parsed, allowed, max(DEPTH, k) * (FOLDED if query.fold else 1))
        at_least = False
        named: tuple[int, ...] = ()
        if result is not None:
            ranking, marks, at_least, named = result
            if query.rerank and query.text:
                ranking = self._reranker.order(query.rerank, query.text, ranking)
            if query.fold == "centroid":
                queries = self._query_vectors.of(parsed.parts, self.profile)
                scales = self._background.of_query(queries, len(self.index), parsed.text_alone, self.profile)
                ranking = by_centroid(ranking, queries, scales, self.vectors_of)
            elif query.fold:
                ranking = folded(ranking)
            if query.sort == "date":
                passing = self._facts.matching_files((r.fact for r in ranking), allowed.file)

                def newness(place: Ranked) -> tuple[bool, str]:
                    return copy_to_show(place.fact, passing.get(place.fact.content, ()), named, True).newness

                ranking.sort(key=newness, reverse=True)
                ranking.sort(key=lambda r: not r.relevant)
            total, facets = len(ranking), facets_of(connection, ranking)
            matches = sum(place.relevant for place in ranking)
            above, page = ranking[max(0, offset - ABOVE) : offset], ranking[offset : offset + k]
        elif any(part.weight < 0 for part in query.parts):
            raise LibraryError("Say also what to look for, not only what to avoid.")
        else:
            before = min(offset, ABOVE)
            page, total, facets = self._browse.page(connection, allowed, offset - before, before + k)
            above, page, matches = page[:before], page[before:], total
            marks = NO_EXPRESSION
        newest = query.sort == "date" or result is None
        hits = hits_of(connection, self._facts, page, allowed, marks, offset, newest=newest, named=named, above=above)
        took_ms = (time.perf_counter() - started) * 1000
        notice = None
        if not total:
            notice = album_notice(connection, parsed.filters) or place_notice(connection, parsed.filters)
        unread = self._unread.of(connection, parsed.filters)
        if not matches:
            notice = notice or unread_notice(unread)
        return Answer(query, self.embedder.id, took_ms, total, hits, facets, notice, matches, at_least, unread)

    def timeline(self, query: Query) -> list[Month]:
        """Returns how many contents pass the filters of a query, by month, newest first. Raises QueryError."""
        connection = self._connections.get()
        return self._browse.months(connection, restriction(connection, parse_query(query)))

    def places(self, query: Query) -> Places:
        """Returns where the contents of an answer were taken: all that pass the filters; of a ranking, what is
        relevant (all of it if nothing is). Raises LibraryError, QueryError."""
        connection = self._connections.get()
        parsed = parse_query(query)
        allowed = restriction(connection, parsed)
        result = self._whole(parsed, allowed, DEPTH)
        if result is None:
            return places_of(positions(connection, allowed, None), self._browse.total(connection, allowed))
        ranking = [r for r in result.places if r.relevant] or result.places
        contents = list(dict.fromkeys(r.fact.content for r in ranking))
        return places_of(positions(connection, allowed, contents), len(contents))

    def vocabulary(self, filters: Filters) -> Vocabulary:
        """Returns the values that filters can have."""
        return vocabulary(self._connections.get(), filters)

    def why(self, query: Query, details: ChunkDetails) -> Why:
        """Returns why a chunk is a hit of the query. Raises LibraryError, QueryError."""
        parsed = parse_query(query)
        words = word_places(self.catalogue, (*parsed.words, *parsed.phrases), details)
        queries = self._query_vectors.of(parsed.parts, self.profile)
        chunk = details.chunk
        vector = self.catalogue.contents.vector(chunk.chunk_id, self.model_id)
        sample = self._background.sample(GROUPS[chunk.file.kind], len(self.index))
        looks = None
        if len(queries) and vector is not None and sample is not None:
            looks = nearness(queries, vector, sample)
        return Why(words, looks, self.embedder.id)

    def rank(self, query: Query, depth: int = POOL) -> list[Ranked]:
        """Returns the whole ranking with merged moments, for features that build on answers."""
        parsed = parse_query(query)
        result = self._ranking(parsed, restriction(self._connections.get(), parsed), depth)
        return result.places if result is not None else []

    def _whole(self, query: ParsedQuery, allowed: Restriction, depth: int) -> Ranking | None:
        """Returns the ranking of `depth` candidates of each kind and list, or of MOST if more are relevant; None for a
        query of filters alone."""
        ranking = self._ranking(query, allowed, depth)
        return self._ranking(query, allowed, MOST) if ranking and ranking.goes_on and depth < MOST else ranking

    def _ranking(self, query: ParsedQuery, allowed: Restriction, depth: int) -> Ranking | None:
        """Returns the ranking of the best `depth` candidates of each kind and list; None for a query of filters
        alone."""
        profile = self.profile
        arguments = (self._connections, query, allowed, depth, self.model_id)
        with beside(by_words, *arguments, enabled=bool(query.words or query.phrases)) as side:
            vectors = self._query_vectors.of(query.parts, profile)
            if not len(vectors) and side is None:
                return None
            meaning, scales = self._meaning.candidates(vectors, allowed, depth, profile)
            words = WordCandidates() if side is None else side.result()
        if is_word := getattr(self.embedder, "is_word", None):
            words = words._replace(in_text=words.in_text.doubted(is_word), in_names=words.in_names.doubted(is_word))
        by_meaning = sorted(meaning, key=lambda n: -meaning[n])
        for part in query.parts:
            if part.chunk_id is not None:
                meaning.pop(part.chunk_id, None)
        named = words.named(meaning)
        in_words = {*words.in_text.ids.tolist(), *named}
        words.score(vectors, scales, meaning, in_words)
        literal = frozenset(words.literal(named))
        facts = self._facts.of({*meaning, *in_words}, allowed.seen)

        def alike(chunks: list[int]) -> list[float]:
            titles = [name_in_words(facts[n].files[0], query.words) for n in chunks]
            return self._titles.likeness(vectors, titles, self._background.ordinary_queries(vectors))

        # A video window that is found by meaning alone is judged without its contrast.
        judged = [n for n, fact in facts.items() if fact.kind != "video" or n in in_words]
        contrast = self._background.contrast(vectors, judged) if query.text_alone else {}
        known = self._familiarity(query, vectors)
        evidence = Evidence(meaning, words.in_text, named, query.text_alone, alike, literal, contrast, known)
        ranking = ranked(evidence, facts, profile)
        relevant = {place.fact.chunk_id for place in ranking if place.relevant}
        lists = [[n for n in by_meaning if n in facts and facts[n].kind == kind] for kind in KINDS]
        full = [ids for ids in (*lists, words.in_text.ids.tolist()) if len(ids) >= depth]
        full += [list(named)] if len(words.in_names) >= depth else []
        goes_on = any(not relevant.isdisjoint(ids[int(END * len(ids)) :]) for ids in full)
        return Ranking(merged_moments(ranking), words.in_text.marks, goes_on, tuple(words.in_names.ids.tolist()))

    def _familiarity(self, query: ParsedQuery, vectors: np.ndarray) -> float | None:
        """See `Evidence.familiarity`."""
        familiarity = getattr(self.embedder, "familiarity", None)
        one_word = query.text_alone and len(telling((*query.words, *query.phrases))) == 1
        return float(familiarity(vectors).max()) if familiarity and one_word and len(vectors) else None

    # -- for features that build on search -----------------------------------------------------

    def vectors(self, query: Query) -> np.ndarray:
        """Returns the query vectors, float32 [n, dim] of unit length; n is 0 for a query of filters alone."""
        return self._query_vectors.of(parse_query(query).parts, self.profile)

    def vectors_of(self, content: bytes) -> np.ndarray:
        """Returns the vectors of a content's chunks in order, float32 [n, dim]."""
        rows = self._connections.get().execute(
            "SELECT e.vector FROM chunk k JOIN embedding e ON e.chunk_id = k.id AND e.model_id = ?"
            " WHERE k.content_hash = ? ORDER BY k.ordinal",
            (self.model_id, content),
        )
        blob = b"".join(row[0] for row in rows)
        return np.frombuffer(blob, "<f2").reshape(-1, self.embedder.dim).astype(np.float32)

    def all_vectors(self) -> Iterator[tuple[Kind, np.ndarray, np.ndarray]]:
        """Yields all vectors in batches: kind, ids int64 [m], vectors float32 [m, dim]."""
        source = StoredEmbeddings(self.catalogue.database, self.model_id, self.embedder.dim)
        for kind, group in GROUPS.items():
            for ids, vectors in source.vectors(group):
                yield kind, ids, vectors.astype(np.float32)

    def facts(self, ids: Iterable[int]) -> dict[int, Fact]:
        """Returns chunk id -> facts."""
        return self._facts.of(ids)

    def inputs_of(self, path: Path) -> list[Input]:
        """Returns the model's inputs for a file of a query, cut like a document. Raises LibraryError."""
        return self._query_vectors.inputs(path)

    def text_scales(self, queries: np.ndarray) -> dict[int, Scale]:
        """Returns group -> the scale of text queries [n, dim] there."""
        self._background.sample_new(KIND_OF)
        return self._background.of_text(queries, len(self.index), self.profile)
