"""Evaluation of search on a person's own library and judgements, for instance to choose a model.

Built around `evaluate`: judgements ("for this query, these hits are relevant"), a search (any callable, in
practice `Library.search`) and metrics (in practice `eval.metrics.score_ranking`). Judgements are read from a file, or
made of the person's own words (`own_words.py`). It knows nothing of libraries, models or formulas.

A line of QUERIES.jsonl:

    {"query": "a dog in snow", "relevant": ["holiday/dog.jpg"]}
    {"query": "the landing", "relevant": [{"path": "trip.mp4", "start_s": 60, "end_s": 90}]}
    {"query": "quarterly revenue", "relevant": [{"path": "a.pdf", "page": 12, "grade": 3}, "b.pdf"]}
    {"query": "a giraffe", "relevant": []}

The last one has no answer in the library: the search should refuse it, with no hit above the line of relevance. A
relative path starts at the folder of QUERIES.jsonl. Without page or time, any part of the file is relevant.
Grades are for NDCG; the default is 1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.media.kinds import kind_of
from data.span import Span
from indexer.features.own_words import OwnWords
from indexer.types import Hit


class JudgementError(Exception):
    """QUERIES.jsonl cannot be used. `str(error)` names the line and the problem."""


Search = Callable[[str, int], Sequence[Hit]]
"""Words and the number of hits -> hits, best first."""
Metrics = Callable[[Sequence[int | str], Sequence[int], Mapping[int, float]], dict[str, float]]
"""A ranking, its relevant items, and their grades -> metrics at 1, 5 and 10, by name."""
DEPTH = 10


@dataclass(frozen=True)
class Relevant:
    """A relevant file, or the part of it that `span` names."""

    path: Path
    span: Span = Span()
    grade: float = 1.0

    def matches(self, hit: Hit) -> bool:
        """Whether the hit lies in this file and span; a window counts if it overlaps the span."""
        own, span = self.span, hit.span
        if not any(Path(p) == self.path for p in (hit.path, *hit.also_at)):
            return False
        if own.page is not None and span.page != own.page:
            return False
        if own.start_s is None and own.end_s is None:
            return True
        if span.start_s is None or span.end_s is None:
            return False
        end = float("inf") if own.end_s is None else own.end_s
        return span.start_s < end and span.end_s > (own.start_s or 0.0)


@dataclass(frozen=True)
class Judgement:
    """`relevant`: empty for a query that the library cannot answer. `source`: where the judgement comes from."""

    query: str
    relevant: tuple[Relevant, ...]
    source: str = "file"


@dataclass
class LibraryReport:
    """`scores`: means over the queries with an answer, from 0 to 1. `by_kind`, `by_source`: the same for those with an
    answer of that kind, and of that source. `refused`: the share of queries without a hit above the line, of those
    with an answer (it should be 0) and of those without one (it should be 1; None if there are none). `queries`: a
    record each, in order. `absent`: judged files that do not exist. `learnt`: whether the search is tuned and the
    queries are words like those that it learnt from."""

    model: str
    scores: dict[str, float]
    by_kind: dict[str, dict[str, float]] = field(default_factory=dict)
    by_source: dict[str, dict[str, float]] = field(default_factory=dict)
    refused: dict[str, float | None] = field(default_factory=dict)
    queries: list[dict[str, Any]] = field(default_factory=list)
    took_ms: float = 0.0
    absent: list[str] = field(default_factory=list)
    learnt: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "queries": len(self.queries),
            "scores": _rounded(self.scores),
            "by_kind": {kind: _rounded(scores) for kind, scores in self.by_kind.items()},
            "by_source": {source: _rounded(scores) for source, scores in self.by_source.items()},
            "refused": self.refused,
            "took_ms": round(self.took_ms, 2),
            "absent": self.absent,
            "learnt": self.learnt,
            "per_query": self.queries,
        }

    def as_text(self) -> str:
        """For a person: the main metrics, by kind and source, then the queries without a relevant hit."""
        s = self.scores
        lines = [f"{len(self.queries)} queries with {self.model}, {self.took_ms:.0f} ms each"]
        if s:
            lines += [
                f"  first hit right   {100 * s['hit@1']:5.1f} %",
                f"  right in first 5  {100 * s['hit@5']:5.1f} %",
                f"  right in first 10 {100 * s['hit@10']:5.1f} %",
                f"  recall@10         {100 * s['recall@10']:5.1f} %",
                f"  NDCG@5            {100 * s['ndcg_linear@5']:5.1f} %",
                f"  MRR@10            {100 * s['mrr@10']:5.1f} %",
            ]
        for title, groups in (("by kind", self.by_kind), ("by source", self.by_source)):
            if len(groups) > 1:
                parts = [f"{n} {100 * g['recall@10']:.1f} % of {g['queries']:.0f}" for n, g in groups.items()]
                lines.append(f"  recall@10 {title}: {', '.join(parts)}")
        for of, what in (("answerable", "though the answer is there"), ("unanswerable", "rightly")):
            if (share := self.refused.get(of)) is not None:
                lines.append(f"  refused {what}: {100 * share:.1f} %")
        missed = [q["query"] for q in self.queries if q.get("hit@10") == 0]
        if missed:
            lines.append(f"Not in the first 10: {'; '.join(missed[:10])}{' …' if len(missed) > 10 else ''}")
        if self.learnt:
            lines.append(
                "The search is tuned, and learnt from most of these words, which flatters it: `sightline tune` told "
                "its gain on words that it had not learnt from."
            )
        if self.absent:
            lines.append(f"Judged but not on disk: {', '.join(self.absent[:5])}{' …' if len(self.absent) > 5 else ''}")
        return "\n".join(lines)


def judgements_of(words: Sequence[OwnWords]) -> list[Judgement]:
    """Returns the judgements that a person's own words are: what they mean is relevant, and all copies of it."""
    return [
        Judgement(own.words, tuple(Relevant(place.paths[0], place.span) for place in own.places), own.source)
        for own in words
    ]


def read_judgements(path: Path) -> list[Judgement]:
    """The lines of QUERIES.jsonl. Raises `JudgementError`."""
    judgements = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise JudgementError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise JudgementError(f"{path} is not a text in UTF-8: write one JSON object a line") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            judgements.append(_judgement(json.loads(line), path.resolve().parent))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            example = '{"query": "words", "relevant": ["file"]}'
            raise JudgementError(f"{path}, line {number}: {_reason(error)}; a line looks like {example}") from None
    if not judgements:
        raise JudgementError(f"{path} holds no queries")
    return judgements


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return "not a JSON object" if isinstance(error, (json.JSONDecodeError, AttributeError)) else str(error)


def _judgement(line: Mapping[str, Any], folder: Path) -> Judgement:
    if not isinstance(line.get("query", ""), str) or not line["query"].strip():
        raise ValueError("the query is empty")
    relevant = line["relevant"]
    relevant = [relevant] if isinstance(relevant, (str, dict)) else relevant
    items = []
    for item in relevant:
        if isinstance(item, str):
            item = {"path": item}
        unknown = set(item) - {"path", "page", "start_s", "end_s", "grade"}
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]!r} of a relevant item")
        where = folder / Path(item["path"]).expanduser()
        grade = float(item.get("grade", 1.0))
        if not 0 <= grade < float("inf"):
            raise ValueError(f"a grade is a number from 0 on, not {grade:g}")
        span = Span(item.get("start_s"), item.get("end_s"), item.get("page"))
        items.append(Relevant(where, span, grade))
    return Judgement(line["query"], tuple(dict.fromkeys(items)))


def evaluate(judgements: Sequence[Judgement], search: Search, metrics: Metrics, model: str = "") -> LibraryReport:
    """Search for every query and score the answers.

    Several hits in one relevant item (windows of one span, pages of one file) count once: the first takes a
    place in the ranking, the others none. An item that no hit lies in is a miss.
    """
    report = LibraryReport(model, {})
    scored: list[tuple[Judgement, dict[str, float]]] = []
    refused: dict[bool, list[bool]] = {True: [], False: []}
    seconds = 0.0
    for judgement in judgements:
        start = time.perf_counter()
        hits = search(judgement.query, 4 * DEPTH)  # repeats of one item take no place in the ranking
        seconds += time.perf_counter() - start
        is_refused = not any(hit.relevant for hit in hits)
        refused[bool(judgement.relevant)].append(is_refused)
        ranking = _names(hits, judgement.relevant)[:DEPTH]
        grades = {i: item.grade for i, item in enumerate(judgement.relevant)}
        scores = metrics(ranking, list(grades), grades) if grades else {}
        if grades:
            scored.append((judgement, scores))
        first = next((place for place, name in enumerate(ranking, 1) if isinstance(name, int)), None)
        record = {"query": judgement.query, "source": judgement.source, "found_at": first, "refused": is_refused}
        report.queries.append(record | scores)
    report.scores = _means([scores for _, scores in scored])
    report.by_source = _grouped((judgement.source, scores) for judgement, scores in scored)
    report.by_kind = _grouped((kind, scores) for judgement, scores in scored for kind in _kinds(judgement))
    report.refused = {
        "answerable": float(np.mean(refused[True])) if refused[True] else None,
        "unanswerable": float(np.mean(refused[False])) if refused[False] else None,
    }
    report.took_ms = 1000 * seconds / len(judgements)
    report.absent = sorted({str(r.path) for j in judgements for r in j.relevant if not r.path.exists()})
    return report


def _means(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]} if scores else {}


def _grouped(scored: Iterable[tuple[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    groups: dict[str, list[dict[str, float]]] = {}
    for name, scores in scored:
        groups.setdefault(name, []).append(scores)
    return {name: {"queries": float(len(scores))} | _means(scores) for name, scores in sorted(groups.items())}


def _kinds(judgement: Judgement) -> list[str]:
    return sorted({kind for item in judgement.relevant if (kind := kind_of(item.path)) is not None})


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in scores.items()}


def _names(hits: Sequence[Hit], relevant: Sequence[Relevant]) -> list[int | str]:
    """The ranking: each hit as the index of the relevant item that it lies in, or as a name of its own."""
    ranking: list[int | str] = []
    for place, hit in enumerate(hits):
        matches = [i for i, item in enumerate(relevant) if item.matches(hit)]
        # The narrowest item first, so that a file and a page of it can both be judged.
        matches.sort(key=lambda i: (relevant[i].span.page is None and relevant[i].span.start_s is None, i))
        new = [i for i in matches if i not in ranking]
        if new:
            ranking.append(new[0])
        elif not matches:
            ranking.append(f"hit {place}")
    return ranking
