"""From the vectors of a task to its metrics.

Built around `score`: blocks of scores by matrix product, the top of each ranking by partial sort, metrics for all
queries at once. A query ranks all candidates or its own list. It knows nothing of files or models.
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
# Floats of one block of scores: 256 queries of 100,000 candidates, 100 MB. Larger blocks are not faster.
BLOCK = 25_600_000
_LOWEST = np.finfo(np.float32).min


@dataclass(frozen=True, eq=False)
class Scored:
    """`metrics`: name -> float64 [n queries]; the rankings; warnings about the embeddings."""

    metrics: dict[str, np.ndarray]
    ranking: Ranking
    warnings: list[str]


def score(
    task: Task,
    data: TaskData,
    queries: Embedded,
    candidates: Embedded,
    *,
    reference_compatible: bool = False,
    scores_of_all: np.ndarray | None = None,
) -> Scored:
    """Rank and score one task.

    `scores_of_all`: float32 [queries, candidates] in place of the inner products of vectors, which are then empty.

    A query without a vector has metrics of 0; a candidate without a vector ranks last. `reference_compatible`: equal
    scores rank in stored order, a list keeps its repeats, and, where page ids are integers, grades have the
    original's order.
    """
    warnings = _embedding_warnings(task, queries, candidates)
    ties = "stored" if reference_compatible else "against"
    relevant = data.relevant
    if reference_compatible and task.graded:
        relevant, note = _original_grades(data)
        warnings += [note] if note else []
    failed = np.zeros(len(data.candidates), dtype=bool)
    failed[list(candidates.failed)] = True
    n = len(data.queries)
    parts: list[tuple[Ranking, np.ndarray | None]] = []
    if data.local_candidates is None:
        relevance = Relevance.of(relevant)
        size = max(1, BLOCK // max(1, len(data.candidates)))
        buffer = np.empty((min(n, size), len(data.candidates)), dtype=np.float32)
        for a in range(0, n, size):
            b = min(n, a + size)
            scores = buffer[: b - a]
            if scores_of_all is None:
                np.matmul(queries.vectors[a:b], candidates.vectors.T, out=scores)
            else:
                scores[:] = scores_of_all[a:b]
            scores[:, failed] = _LOWEST
            parts.append((rank(scores, relevance.rows(a, b), DEPTH, ties=ties), None))
    else:
        lists, positions = _lists(data, relevant, keep_repeats=reference_compatible)
        relevance = Relevance.of(positions)
        width = lists.shape[1]
        size = max(1, BLOCK // max(1, width))
        for a in range(0, n, size):
            b = min(n, a + size)
            if scores_of_all is None:
                scores = _local_scores(queries.vectors[a:b], candidates.vectors, lists[a:b])
            else:
                scores = np.take_along_axis(scores_of_all[a:b], np.maximum(lists[a:b], 0), axis=1)
            scores[(lists[a:b] >= 0) & failed[lists[a:b]]] = _LOWEST
            local = rank(scores, relevance.rows(a, b), DEPTH, allowed=lists[a:b] >= 0, ties=ties)
            columns = np.take_along_axis(lists[a:b], np.maximum(local.columns, 0), axis=1)
            columns = np.where(local.columns >= 0, columns, -1)
            first = _first_occurrences(columns) if reference_compatible else None
            parts.append((Ranking(columns, local.scores, local.hits, local.grades), first))
    ranking = Ranking(
        *(np.concatenate([getattr(p, f) for p, _ in parts]) for f in ("columns", "scores", "hits", "grades"))
    )
    first = None if parts[0][1] is None else np.concatenate([f for _, f in parts if f is not None])
    truth = Relevance.of(relevant)
    counts = truth.counts + np.asarray(data.missing)
    metrics = metrics_at(ranking.hits, ranking.grades, counts, ideal(data, relevant), KS, first=first)
    for i in queries.failed:
        for values in metrics.values():
            values[i] = 0.0
        ranking.hits[i] = False
    return Scored(metrics, ranking, warnings)


def _lists(data: TaskData, relevant: Sequence[Any], keep_repeats: bool) -> tuple[np.ndarray, list[dict[int, float]]]:
    """Returns each query's candidates, int [n, width] (-1 beyond the end), and position in that list -> grade."""
    assert data.local_candidates is not None
    rows = data.local_candidates if keep_repeats else [list(dict.fromkeys(row)) for row in data.local_candidates]
    width = max((len(row) for row in rows), default=0)
    lists = np.full((len(rows), max(1, width)), -1, dtype=np.int64)
    for i, row in enumerate(rows):
        lists[i, : len(row)] = row
    positions = [{j: r[c] for j, c in enumerate(row) if c in r} for row, r in zip(rows, relevant, strict=True)]
    return lists, positions


def _local_scores(queries: np.ndarray, candidates: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """Returns float32 [n, width]: the scores of each query against its own list."""
    if lists.size * 16 < len(queries) * len(candidates):
        # Short lists of a large pool: a gather costs about 16 times a matrix product per candidate.
        out = np.empty(lists.shape, dtype=np.float32)
        step = max(1, 4_000_000 // max(1, lists.shape[1] * candidates.shape[1]))
        for a in range(0, len(queries), step):
            vectors = candidates[lists[a : a + step]]
            out[a : a + step] = np.matmul(vectors, queries[a : a + step, :, None])[:, :, 0]
        return out
    return np.take_along_axis(queries @ candidates.T, np.maximum(lists, 0), axis=1)


def _first_occurrences(columns: np.ndarray) -> np.ndarray:
    """Returns bool [n, K]: false where a column repeats one at a higher rank."""
    same = columns[:, :, None] == columns[:, None, :]
    repeats: np.ndarray = np.tril(same, k=-1).any(axis=2)
    return ~repeats


def ideal(data: TaskData, relevant: Sequence[Any]) -> np.ndarray:
    """Returns float [n, DEPTH]: the grades of the perfect rankings. A relevant item without candidate has grade 1."""
    if not any(data.missing):
        return Relevance.of(relevant).ideal(DEPTH)
    out = np.zeros((len(relevant), DEPTH))
    for i, (grades, missing) in enumerate(zip(relevant, data.missing, strict=True)):
        best = sorted([*grades.values(), *[1.0] * missing], reverse=True)[:DEPTH]
        out[i, : len(best)] = best
    return out


def _original_grades(data: TaskData) -> tuple[list[Mapping[int, float]], str]:
    """Returns the grades as the original assigns them, and a note.

    The original puts a query's labels into a set and keeps the order of the grades. The order of a set of integers
    is always the same; that of strings differs between two runs.
    """
    out: list[Mapping[int, float]] = []
    for grades in data.relevant:
        ids = [data.raw_keys[c] for c in grades]
        if not all(isinstance(i, int) for i in ids):
            return list(data.relevant), "grades stay with their pages: ids are strings"
        column = dict(zip(ids, grades, strict=True))
        out.append({column[i]: g for i, g in zip(list(set(ids)), grades.values(), strict=True)})
    return out, ""


def _embedding_warnings(task: Task, queries: Embedded, candidates: Embedded) -> list[str]:
    out = []
    for side, part in (("queries", queries), ("candidates", candidates)):
        good = np.delete(part.vectors, list(part.failed), axis=0) if part.failed else part.vectors
        if not good.shape[1]:
            continue
        if not np.isfinite(good).all():
            out.append(f"{task.name}: some {side} have embeddings that are not numbers; they rank last")
        elif len(good) > 1 and float((good.max(axis=0) - good.min(axis=0)).max()) < TIE:
            out.append(f"{task.name}: all {side} have the same embedding; the model has collapsed")
    return out
