"""The same metrics on a person's own library and judgements, to choose a model with.

Built around `evaluate`: lines of "for this query, these are right", a search (any callable, in practice
`Library.search`) and metrics (in practice `eval.metrics.score_ranking`). It knows nothing of libraries,
models or formulas; whoever calls it brings the search and the metrics.

A line of QUERIES.jsonl:

    {"query": "a dog in snow", "relevant": ["holiday/dog.jpg"]}
    {"query": "the landing", "relevant": [{"path": "trip.mp4", "start_s": 60, "end_s": 90}]}
    {"query": "quarterly revenue", "relevant": [{"path": "a.pdf", "page": 12, "grade": 3}, "b.pdf"]}

A path that is not absolute counts from the folder of QUERIES.jsonl. Without page or time, any
part of the file is right. Grades are for NDCG; without one it is 1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.span import Span
from indexer.types import Hit


class JudgementError(Exception):
    """QUERIES.jsonl cannot be used. `str(error)` names the line and what is wrong with it."""


Search = Callable[[str, int], Sequence[Hit]]
"""Words and how many hits -> hits, best first."""
Metrics = Callable[[Sequence[int | str], Sequence[int], Mapping[int, float]], dict[str, float]]
"""A ranking, what is relevant in it, and the grades of that -> metrics at 1, 5 and 10, by name."""
DEPTH = 10


@dataclass(frozen=True)
class Right:
    """One right answer. Without a span, the whole file."""

    path: Path
    span: Span = Span()
    grade: float = 1.0

    def matches(self, hit: Hit) -> bool:
        """The hit is (a part of) this answer; a window counts if it overlaps the judged stretch."""
        right, span = self.span, hit.span
        if not any(Path(p) == self.path for p in (hit.path, *hit.also_at)):
            return False
        if right.page is not None and span.page != right.page:
            return False
        if right.start_s is None and right.end_s is None:
            return True
        if span.start_s is None or span.end_s is None:
            return False
        end = float("inf") if right.end_s is None else right.end_s
        return span.start_s < end and span.end_s > (right.start_s or 0.0)


@dataclass(frozen=True)
class Judgement:
    query: str
    relevant: tuple[Right, ...]


@dataclass
class LibraryReport:
    """`scores` means over queries, fractions; `queries` one line each, in order."""

    model: str
    scores: dict[str, float]
    queries: list[dict[str, Any]] = field(default_factory=list)
    took_ms: float = 0.0
    absent: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "queries": len(self.queries),
            "scores": {k: round(v, 6) for k, v in self.scores.items()},
            "took_ms": round(self.took_ms, 2),
            "absent": self.absent,
            "per_query": self.queries,
        }

    def as_text(self) -> str:
        """For a person: the numbers that matter, then what was missed."""
        s = self.scores
        lines = [
            f"{len(self.queries)} queries with {self.model}, {self.took_ms:.0f} ms each",
            f"  first hit right   {100 * s['hit@1']:5.1f} %",
            f"  right in first 5  {100 * s['hit@5']:5.1f} %",
            f"  right in first 10 {100 * s['hit@10']:5.1f} %",
            f"  NDCG@5            {100 * s['ndcg_linear@5']:5.1f} %",
            f"  MRR@10            {100 * s['mrr@10']:5.1f} %",
        ]
        missed = [q["query"] for q in self.queries if q["hit@10"] == 0]
        if missed:
            lines.append(f"Not in the first 10: {'; '.join(missed[:10])}{' …' if len(missed) > 10 else ''}")
        if self.absent:
            lines.append(f"Judged but not on disk: {', '.join(self.absent[:5])}{' …' if len(self.absent) > 5 else ''}")
        return "\n".join(lines)


def read_judgements(path: Path) -> list[Judgement]:
    """The lines of QUERIES.jsonl. Raises `JudgementError`."""
    out = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise JudgementError(f"{path} cannot be read ({error})") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            out.append(_judgement(json.loads(line), path.resolve().parent))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            example = '{"query": "words", "relevant": ["file"]}'
            raise JudgementError(f"{path}, line {number}: {_reason(error)}; a line looks like {example}") from None
    if not out:
        raise JudgementError(f"{path} holds no queries")
    return out


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return "not a JSON object" if isinstance(error, (json.JSONDecodeError, AttributeError)) else str(error)


def _judgement(line: Mapping[str, Any], folder: Path) -> Judgement:
    if not isinstance(line.get("query", ""), str) or not line["query"].strip():
        raise ValueError("the query is empty")
    relevant = line["relevant"]
    relevant = [relevant] if isinstance(relevant, (str, dict)) else relevant
    if not relevant:
        raise ValueError("nothing is named as relevant")
    rights = []
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
        rights.append(Right(where, span, grade))
    return Judgement(line["query"], tuple(dict.fromkeys(rights)))


def evaluate(judgements: Sequence[Judgement], search: Search, metrics: Metrics, model: str = "") -> LibraryReport:
    """Ask every query and score the answers.

    Several hits inside one right answer (windows of one stretch, pages of one whole file) are that
    answer once: the first counts, the others take no place. An answer found nowhere is a miss.
    """
    report = LibraryReport(model, {})
    totals: dict[str, list[float]] = {}
    took = 0.0
    for judgement in judgements:
        began = time.perf_counter()
        # More than `DEPTH`, since repeats of one right answer take no place.
        hits = search(judgement.query, 4 * DEPTH)
        took += time.perf_counter() - began
        ranking = _names(hits, judgement.relevant)[:DEPTH]
        grades = {i: right.grade for i, right in enumerate(judgement.relevant)}
        scores = metrics(ranking, list(grades), grades)
        for name, value in scores.items():
            totals.setdefault(name, []).append(value)
        first = next((place for place, name in enumerate(ranking, 1) if isinstance(name, int)), None)
        report.queries.append({"query": judgement.query, "found_at": first, **scores})
    report.scores = {name: float(np.mean(values)) for name, values in totals.items()}
    report.took_ms = 1000 * took / len(judgements)
    report.absent = sorted({str(r.path) for j in judgements for r in j.relevant if not r.path.exists()})
    return report


def _names(hits: Sequence[Hit], relevant: Sequence[Right]) -> list[int | str]:
    """Each hit as the right answer it belongs to (an index), or as itself."""
    out: list[int | str] = []
    for place, hit in enumerate(hits):
        fits = [i for i, right in enumerate(relevant) if right.matches(hit)]
        # The narrowest judgement first, so that a file and a page of it can both be named.
        fits.sort(key=lambda i: (relevant[i].span.page is None and relevant[i].span.start_s is None, i))
        new = [i for i in fits if i not in out]
        if new:
            out.append(new[0])
        elif not fits:
            out.append(f"hit {place}")
    return out
