"""Ranking metrics: hit, ndcg (linear and exponential), precision, recall, f1, map, mrr at any k.

Built around one array per query set: the grades of the items at ranks 1..K. `metrics_at` computes all metrics from
it for all queries at once; `score_ranking` does so for one ranking. `rank` makes rankings from scores and decides
ties against the model. It knows nothing of tasks, files or models.

Definitions (k counts from the top; the caller averages over queries):

    hit         1 if a relevant item is in the top k
    precision   relevant items in the top k / k, also when fewer than k were ranked
    recall      relevant items in the top k / relevant items; 1 when nothing is relevant
    f1          harmonic mean of the two, 0 when both are 0
    map         precision at each relevant rank, summed / min(relevant items, k)
    mrr         1 / rank of the first relevant item in the top k, else 0
    ndcg        sum of gain / log2(rank + 1) over the same sum of the best possible order;
                gain is the grade (linear) or 2^grade - 1 (exponential)

An item that a ranking repeats counts once in hit, precision, recall, f1 and mrr, and each time in map and ndcg
(which may then exceed 1), as in the original. Metric values equal the original's; docs/evaluation.md describes the
protocol.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KS = (1, 5, 10)

# Scores that differ by less than this are a tie. In one matrix product the scores of equal unit vectors differ by
# up to 3.6e-7 (measured: float32, 64 to 2048 dimensions, 1 to 1000 rows by 130 to 10,007 columns, OpenBLAS).
TIE = 1e-6

# Group sizes of `_best`; it takes the largest that leaves enough groups. One pass over 100,000 columns: 0.26 ms a
# row in groups of 128, 0.05 in groups of 512, 0.01 without.
_GROUPS = (512, 64)
_LOWEST = np.finfo(np.float32).min


def score_ranking(
    ranking: Sequence[Hashable],
    relevant: Hashable | Iterable[Hashable],
    grades: Mapping[Any, float] | None = None,
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """Returns the metrics of one ranked list: `{"hit@1": 0.0, "ndcg_linear@5": …}`.

    `ranking`   items, best first.
    `relevant`  the relevant items (repeats count once), or one string.
    `grades`    item -> grade for every relevant item; None: all 1. Grades of other items are ignored.
    Raises ValueError if a relevant item has no grade, a grade is negative, or a k is below 1.
    """
    if isinstance(relevant, (str, bytes)) or not isinstance(relevant, Iterable):
        relevant = [relevant]
    items = list(dict.fromkeys(relevant))
    if grades is None:
        grade_of = dict.fromkeys(items, 1.0)
    else:
        missing = [item for item in items if item not in grades]
        if missing:
            raise ValueError(f"no grade for {len(missing)} relevant item(s), first: {missing[0]!r}")
        grade_of = {item: float(grades[item]) for item in items}
    depth = _max_k(ks)
    top = list(ranking[:depth])
    hits = np.zeros((1, depth), dtype=bool)
    first = np.zeros((1, depth), dtype=bool)
    at_rank = np.zeros((1, depth))
    seen: set[Hashable] = set()
    for i, item in enumerate(top):
        if item in grade_of:
            hits[0, i], at_rank[0, i], first[0, i] = True, grade_of[item], item not in seen
            seen.add(item)
    ideal = np.zeros((1, depth))
    best = sorted(grade_of.values(), reverse=True)[:depth]
    ideal[0, : len(best)] = best
    values = metrics_at(hits, at_rank, np.array([len(items)]), ideal, ks, first=first)
    return {name: float(column[0]) for name, column in values.items()}


def metrics_at(
    hits: np.ndarray,
    grades: np.ndarray,
    relevant: np.ndarray,
    ideal: np.ndarray,
    ks: Sequence[int] = KS,
    first: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Returns the metrics of n ranked lists, float64 [n] each.

    `hits`      bool [n, K]: the item at this rank is relevant; K is at least max(ks).
    `grades`    float [n, K]: its grade (read where `hits` is true).
    `relevant`  int [n]: the number of items that are relevant to the query.
    `ideal`     float [n, K]: grades of all relevant items, highest first, then zeros.
    `first`     bool [n, K]: false where a hit repeats an item ranked higher. None: no repeats.
    """
    depth = _max_k(ks)
    if hits.shape[1] < depth:
        raise ValueError(f"rankings of {hits.shape[1]} items cannot be scored at k = {depth}")
    if (grades < 0).any() or (ideal < 0).any():
        raise ValueError("a grade is negative")
    hits, grades, ideal = hits[:, :depth], grades[:, :depth], ideal[:, :depth]
    once = hits if first is None else hits & first[:, :depth]
    ranks = np.arange(1, depth + 1)
    discount = 1.0 / np.log2(ranks + 1)
    graded = np.where(hits, grades, 0.0)
    n_relevant = relevant.astype(np.float64)
    hit_counts = np.cumsum(once, axis=1, dtype=np.float64)
    precision_at_hits = np.cumsum(np.cumsum(hits, axis=1) * hits / ranks, axis=1)
    dcg = {
        "ndcg_linear": (np.cumsum(graded * discount, axis=1), np.cumsum(ideal * discount, axis=1)),
        "ndcg_exponential": (
            np.cumsum((np.exp2(graded) - 1) * discount, axis=1),
            np.cumsum((np.exp2(ideal) - 1) * discount, axis=1),
        ),
    }
    first_rank = np.where(once.any(axis=1), once.argmax(axis=1) + 1, depth + 1)
    out: dict[str, np.ndarray] = {}
    for k in ks:
        n_hits = hit_counts[:, k - 1]
        precision = n_hits / k
        recall = _ratio(n_hits, n_relevant, undefined=1.0)
        out[f"hit@{k}"] = (n_hits > 0).astype(np.float64)
        for name, (gain, ideal_gain) in dcg.items():
            out[f"{name}@{k}"] = _ratio(gain[:, k - 1], ideal_gain[:, k - 1])
        out[f"precision@{k}"] = precision
        out[f"recall@{k}"] = recall
        out[f"f1@{k}"] = _ratio(2 * precision * recall, precision + recall)
        out[f"map@{k}"] = _ratio(precision_at_hits[:, k - 1], np.minimum(n_relevant, k))
        out[f"mrr@{k}"] = np.where(first_rank <= k, 1.0 / first_rank, 0.0)
    return out


def _ratio(numerators: np.ndarray, denominators: np.ndarray, undefined: float = 0.0) -> np.ndarray:
    """Returns the quotients, float64 [n]; `undefined` where the denominator is not above 0."""
    out = np.full(len(numerators), undefined)
    np.divide(numerators, denominators, out=out, where=denominators > 0)
    return out


def _max_k(ks: Sequence[int]) -> int:
    if not len(ks) or min(ks) < 1:
        raise ValueError(f"k must be 1 or more, got {tuple(ks)}")
    return max(ks)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The top K of n rankings: `columns` int [n, K] (-1 beyond the end of a shorter one), `scores` float32 [n, K],
    `hits` bool [n, K], `grades` float64 [n, K]."""

    columns: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    grades: np.ndarray


@dataclass(frozen=True, eq=False)
class Relevance:
    """The relevant columns of n queries as flat arrays: query `i` has `columns[starts[i]:starts[i + 1]]` and the
    `grades` at the same positions. No column twice in a query."""

    starts: np.ndarray
    columns: np.ndarray
    grades: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Mapping[int, float]]) -> Relevance:
        """Returns the relevance of one mapping column -> grade per query."""
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        columns = np.fromiter((c for row in rows for c in row), dtype=np.int64, count=int(starts[-1]))
        grades = np.fromiter((g for row in rows for g in row.values()), dtype=np.float64, count=int(starts[-1]))
        return cls(starts, columns, grades)

    @property
    def counts(self) -> np.ndarray:
        """int [n]: the relevant items of each query, candidates or not."""
        return np.diff(self.starts)

    def rows(self, begin: int, end: int) -> Relevance:
        a, b = self.starts[begin], self.starts[end]
        return Relevance(self.starts[begin : end + 1] - a, self.columns[a:b], self.grades[a:b])

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns columns int [n, R] (-1 beyond the end) and grades float [n, R]."""
        counts = self.counts
        width = int(counts.max()) if len(counts) else 0
        mask = np.arange(width) < counts[:, None]
        columns = np.full(mask.shape, -1, dtype=np.int64)
        grades = np.zeros(mask.shape)
        columns[mask], grades[mask] = self.columns, self.grades
        return columns, grades

    def ideal(self, depth: int) -> np.ndarray:
        """Returns float [n, depth]: the grades of a perfect ranking, then zeros."""
        grades = -np.sort(-self.padded()[1], axis=1)[:, :depth]
        out = np.zeros((len(self.starts) - 1, depth))
        out[:, : grades.shape[1]] = grades
        return out


def rank(
    scores: np.ndarray,
    relevance: Relevance,
    depth: int = max(KS),
    *,
    allowed: np.ndarray | None = None,
    ties: str = "against",
) -> Ranking:
    """Returns the best `depth` columns of each row of `scores` (float32 [n, m]; overwritten).

    `allowed`  bool [n, m]: the candidates of each row; None: all columns.
    `ties`     "against": a relevant column ranks below every other one whose score is not lower by more
               than TIE, and lower grades rank above higher ones. "stored": equal scores keep the order of
               the columns. The original does so where its sort is stable, and a collapsed model then has
               hit@1 = 1.

    A score that is NaN or infinite counts as the lowest.
    """
    if ties not in ("against", "stored"):
        raise ValueError(f'ties must be "against" or "stored", not {ties!r}')
    if allowed is not None:
        np.copyto(scores, -np.inf, where=~allowed)
    rel_columns, rel_grades = relevance.padded()
    is_candidate = rel_columns >= 0
    if allowed is not None:
        is_candidate &= np.take_along_axis(allowed, np.maximum(rel_columns, 0), axis=1)
    rows = np.broadcast_to(np.arange(len(scores))[:, None], rel_columns.shape)
    rel_scores = np.full(rel_columns.shape, -np.inf, dtype=np.float32)
    cells = rows[is_candidate], rel_columns[is_candidate]
    rel_scores[is_candidate] = np.where(np.isfinite(scores[cells]), scores[cells], _LOWEST)
    scores[cells] = -np.inf
    other_columns, other_scores = _best(scores, depth)

    columns = np.concatenate([other_columns, rel_columns], axis=1)
    values = np.concatenate([other_scores, rel_scores], axis=1)
    grades = np.concatenate([np.zeros(other_columns.shape), rel_grades], axis=1)
    is_relevant = np.zeros(columns.shape, dtype=bool)
    is_relevant[:, other_columns.shape[1] :] = is_candidate
    filled = values > -np.inf
    if ties == "against":
        # Sort by score (a relevant one must win by more than TIE), then grade, then column.
        sort_scores = values.astype(np.float64)
        sort_scores[is_relevant] -= TIE
        order = np.lexsort((columns, np.where(is_relevant, grades + 1, 0), -sort_scores), axis=1)
    else:
        order = np.lexsort((columns, -values), axis=1)
    order = order[:, :depth]
    columns, values, grades, is_relevant, filled = (
        np.take_along_axis(a, order, axis=1) for a in (columns, values, grades, is_relevant, filled)
    )
    padding = ((0, 0), (0, max(0, depth - columns.shape[1])))
    columns = np.pad(np.where(filled, columns, -1), padding, constant_values=-1)
    values = np.pad(values, padding, constant_values=-np.inf)
    hits, grades = np.pad(is_relevant & filled, padding), np.pad(np.where(is_relevant, grades, 0.0), padding)
    return Ranking(columns, values, hits, grades)


def _replace_not_finite(scores: np.ndarray) -> None:
    scores[~(scores < np.inf)] = _LOWEST  # a comparison with NaN is false


def _best(scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns columns and scores of the `depth` largest of each row, largest first, equal ones by column.

    A row of 100,000 is not sorted. One pass takes the maximum of each group of neighbours; only the `depth` groups
    with the largest maxima can hold the result, and `_best` of their columns is the result.
    """
    n, m = scores.shape
    depth = min(depth, m)
    size = next((size for size in _GROUPS if m // size > 2 * depth), None)
    if size is None:
        _replace_not_finite(scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        return order, np.take_along_axis(scores, order, axis=1)
    end = m // size * size  # of the last whole group
    groups = scores[:, :end].reshape(n, -1, size)
    maxima = groups.max(axis=2)
    if not (maxima < np.inf).all() or not (scores[:, end:] < np.inf).all():
        _replace_not_finite(scores)
        maxima = groups.max(axis=2)
    best_groups = np.sort(np.argsort(-maxima, axis=1, kind="stable")[:, :depth], axis=1)
    columns = (best_groups[:, :, None] * size + np.arange(size)).reshape(n, -1)
    columns = np.concatenate([columns, np.broadcast_to(np.arange(end, m), (n, m - end))], axis=1)
    positions, values = _best(np.take_along_axis(scores, columns, axis=1), depth)
    return np.take_along_axis(columns, positions, axis=1), values
