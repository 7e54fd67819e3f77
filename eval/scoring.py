"""One task from vectors to metrics.

Built around `score`: blocks of scores by matrix product, the top of each ranking by partial sort,
metrics for all queries at once; whole pools and per-row lists alike. It knows nothing of files
or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.mmeb.task import Task
from data.mmeb.task_data import TaskData
from eval.embedding import Embedded
from eval.metrics import KS, TIE, Ranking, Relevance, metrics_at, rank

DEPTH = max(KS)
# Floats of one block of scores: 256 queries of 100,000 candidates, 100 MB. Larger blocks gain nothing.
BLOCK = 25_600_000
_LOWEST = np.finfo(np.float32).min


@dataclass(frozen=True, eq=False)
class Scored:
    """`metrics` name -> float64 [queries]; the rankings behind them; what is suspicious, by name."""

    metrics: dict[str, np.ndarray]
    ranking: Ranking
    warnings: list[str]


def score(
    task: Task, data: TaskData, queries: Embedded, candidates: Embedded, *, reference_compatible: bool = False
) -> Scored:
    """Rank and score one task from its vectors.

    A query that could not be embedded scores 0 in everything; a candidate that could not be
    embedded stands last. Reference-compatible: equal scores in stored order, repeats of a candidate
    in a row's list kept, and, where page ids are integers, grades in the order that the original
    leaves them in.
    """
    warnings = _suspicious(task, queries, candidates)
    ties = "stored" if reference_compatible else "against"
    relevant = data.relevant
    if reference_compatible and task.graded:
        relevant, note = _as_the_original_grades(data)
        warnings += [note] if note else []
    lost = np.zeros(len(data.candidates), dtype=bool)
    lost[list(candidates.failed)] = True
    n = len(data.queries)
    parts: list[tuple[Ranking, np.ndarray | None]] = []
    if data.offered is None:
        relevance = Relevance.of(relevant)
        columns = candidates.vectors.T
        size = max(1, BLOCK // max(1, columns.shape[1]))
        space = np.empty((min(n, size), columns.shape[1]), dtype=np.float32)  # one block's memory, used again
        for a in range(0, n, size):
            b = min(n, a + size)
            scores = np.matmul(queries.vectors[a:b], columns, out=space[: b - a])
            scores[:, lost] = _LOWEST
            parts.append((rank(scores, relevance.rows(a, b), DEPTH, ties=ties), None))
    else:
        lists, places = _lists(data, relevant, keep_repeats=reference_compatible)
        relevance = Relevance.of(places)
        width = lists.shape[1]
        size = max(1, BLOCK // max(1, width))
        for a in range(0, n, size):
            b = min(n, a + size)
            scores = _local_scores(queries.vectors[a:b], candidates.vectors, lists[a:b])
            scores[(lists[a:b] >= 0) & lost[lists[a:b]]] = _LOWEST
            found = rank(scores, relevance.rows(a, b), DEPTH, offered=lists[a:b] >= 0, ties=ties)
            local = np.take_along_axis(lists[a:b], np.maximum(found.columns, 0), axis=1)
            columns_ = np.where(found.columns >= 0, local, -1)
            first = _first_of_name(columns_) if reference_compatible else None
            parts.append((Ranking(columns_, found.scores, found.hits, found.grades), first))
    ranking = Ranking(
        *(np.concatenate([getattr(p, f) for p, _ in parts]) for f in ("columns", "scores", "hits", "grades"))
    )
    first = None if parts[0][1] is None else np.concatenate([f for _, f in parts if f is not None])
    truth = Relevance.of(relevant)
    counts = truth.counts + np.asarray(data.unfound)
    metrics = metrics_at(ranking.hits, ranking.grades, counts, ideal(data, relevant), KS, first=first)
    for i in queries.failed:
        for values in metrics.values():
            values[i] = 0.0
        ranking.hits[i] = False
    return Scored(metrics, ranking, warnings)


def _lists(data: TaskData, relevant: Sequence[Any], keep_repeats: bool) -> tuple[np.ndarray, list[dict[int, float]]]:
    """Each row's candidates, int [n, width] (-1 beyond its end), and its relevant places in that list."""
    assert data.offered is not None
    rows = data.offered if keep_repeats else [list(dict.fromkeys(row)) for row in data.offered]
    width = max((len(row) for row in rows), default=0)
    lists = np.full((len(rows), max(1, width)), -1, dtype=np.int64)
    places = []
    for i, row in enumerate(rows):
        lists[i, : len(row)] = row
        wanted = relevant[i]
        places.append({j: wanted[c] for j, c in enumerate(row) if c in wanted})
    return lists, places


def _local_scores(queries: np.ndarray, candidates: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """float32 [n, width]: each query against its own list, the cheaper way of two."""
    if lists.size * 16 < len(queries) * len(candidates):
        # Short lists out of a large pool: gathering 16 floats costs about one multiply-add of a product.
        out = np.empty(lists.shape, dtype=np.float32)
        step = max(1, 4_000_000 // max(1, lists.shape[1] * candidates.shape[1]))
        for a in range(0, len(queries), step):
            own = candidates[lists[a : a + step]]
            out[a : a + step] = np.matmul(own, queries[a : a + step, :, None])[:, :, 0]
        return out
    return np.take_along_axis(queries @ candidates.T, np.maximum(lists, 0), axis=1)


def _first_of_name(columns: np.ndarray) -> np.ndarray:
    """bool [n, K]: not a repeat of a column further up."""
    same = columns[:, :, None] == columns[:, None, :]
    return ~np.tril(same, k=-1).any(axis=2)


def ideal(data: TaskData, relevant: Sequence[Any]) -> np.ndarray:
    """The grades of the perfect rankings; what was judged relevant but is no candidate counts at grade 1."""
    if not any(data.unfound):
        return Relevance.of(relevant).ideal(DEPTH)
    out = np.zeros((len(relevant), DEPTH))
    for i, (grades, unfound) in enumerate(zip(relevant, data.unfound, strict=True)):
        best = sorted([*grades.values(), *[1.0] * unfound], reverse=True)[:DEPTH]
        out[i, : len(best)] = best
    return out


def _as_the_original_grades(data: TaskData) -> tuple[list[Mapping[int, float]], str]:
    """The original puts a query's labels through a set and leaves the grades where they were.

    With integer ids the order of a set is always the same and can be done again; with strings it
    changes from run to run of the original.
    """
    out: list[Mapping[int, float]] = []
    for grades in data.relevant:
        ids = [data.raw_keys[c] for c in grades]
        if not all(isinstance(i, int) for i in ids):
            # The original's result would differ between two runs of it.
            return list(data.relevant), "grades stay with their pages: ids are strings"
        column = dict(zip(ids, grades, strict=True))
        out.append({column[i]: g for i, g in zip(list(set(ids)), grades.values(), strict=True)})
    return out, ""


def _suspicious(task: Task, queries: Embedded, candidates: Embedded) -> list[str]:
    """What makes a score worthless, said by name."""
    out = []
    for side, part in (("queries", queries), ("candidates", candidates)):
        good = np.delete(part.vectors, list(part.failed), axis=0) if part.failed else part.vectors
        if not np.isfinite(good).all():
            out.append(f"{task.name}: some {side} have embeddings that are not numbers; they rank last")
        elif len(good) > 1 and float((good.max(axis=0) - good.min(axis=0)).max()) < TIE:
            out.append(f"{task.name}: all {side} have the same embedding; the model has collapsed")
    return out
