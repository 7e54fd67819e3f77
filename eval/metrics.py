"""Ranking metrics: hit, ndcg (linear and exponential), precision, recall, f1, map, mrr at any k.

Built around one array a query set: the grades of the items at ranks 1..K. Everything is
computed from it for all queries at once; a single ranking (`score_ranking`) is the same
arithmetic with one row. `rank` makes the ranking from scores, and it is where ties are
decided: against the model. It knows nothing of tasks, files or models.

Definitions (k counts from the top; means over queries are the caller's):

    hit         1 if a relevant item is in the top k
    precision   relevant items in the top k / k, also when fewer than k were ranked
    recall      relevant items in the top k / relevant items; 1 when nothing is relevant
    f1          harmonic mean of the two, 0 when both are 0
    map         precision at each relevant rank, summed / min(relevant items, k)
    mrr         1 / rank of the first relevant item in the top k, else 0
    ndcg        sum of gain / log2(rank + 1) over the same sum of the best possible order;
                gain is the grade (linear) or 2^grade - 1 (exponential)

An item named twice in a ranking counts once in hit, precision, recall, f1 and mrr, and each
time in map and ndcg (which may then exceed 1), as in the original. Metric values equal the
original's; the protocol around them is in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KS = (1, 5, 10)

# Two scores nearer than this are a tie. One matrix product gives equal unit vectors scores that differ by
# up to 3.6e-7 (measured: float32, 64 to 2048 dimensions, 1 to 1000 rows by 130 to 10,007 columns, OpenBLAS).
TIE = 1e-6

# Columns looked at as one group when the best few are picked out of very many (`_best`), largest that leaves
# enough groups. One pass over 100,000: 0.26 ms a row in groups of 128, 0.05 in groups of 512, 0.01 without.
_GROUPS = (512, 64)
_LOWEST = np.finfo(np.float32).min


def score_ranking(
    ranking: Sequence[Hashable],
    relevant: Hashable | Iterable[Hashable],
    grades: Mapping[Any, float] | None = None,
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """The metrics of one ranked list: `{"hit@1": 0.0, "ndcg_linear@5": …}`.

    `ranking`   items, best first.
    `relevant`  the relevant items (repeats count once), or one string.
    `grades`    item -> grade for every relevant item; None: all 1. Grades of other items are ignored.
    Raises ValueError if a relevant item has no grade, a grade is negative, or a k is below 1.
    """
    if isinstance(relevant, (str, bytes)) or not isinstance(relevant, Iterable):
        relevant = [relevant]
    wanted = list(dict.fromkeys(relevant))
    if grades is None:
        grade_of = dict.fromkeys(wanted, 1.0)
    else:
        missing = [item for item in wanted if item not in grades]
        if missing:
            raise ValueError(f"no grade for {len(missing)} relevant item(s), first: {missing[0]!r}")
        grade_of = {item: float(grades[item]) for item in wanted}
    depth = max(_checked(ks))
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
    values = metrics_at(hits, at_rank, np.array([len(wanted)]), ideal, ks, first=first)
    return {name: float(column[0]) for name, column in values.items()}


def metrics_at(
    hits: np.ndarray,
    grades: np.ndarray,
    relevant: np.ndarray,
    ideal: np.ndarray,
    ks: Sequence[int] = KS,
    first: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The metrics of n ranked lists, float64 [n] each.

    `hits`      bool [n, K]: the item at this rank is relevant; K is at least max(ks).
    `grades`    float [n, K]: its grade (read where `hits` is true).
    `relevant`  int [n]: how many items are relevant to the query.
    `ideal`     float [n, K]: grades of all relevant items, highest first, then zeros.
    `first`     bool [n, K]: false where a hit repeats an item ranked higher. None: no repeats.
    """
    depth = max(_checked(ks))
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
    found = np.cumsum(once, axis=1, dtype=np.float64)
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
        n_found = found[:, k - 1]
        precision = n_found / k
        recall = np.divide(n_found, n_relevant, out=np.ones_like(n_found), where=n_relevant > 0)
        both = precision + recall
        out[f"hit@{k}"] = (n_found > 0).astype(np.float64)
        for name, (have, best) in dcg.items():
            out[f"{name}@{k}"] = np.divide(
                have[:, k - 1], best[:, k - 1], out=np.zeros_like(n_found), where=best[:, k - 1] > 0
            )
        out[f"precision@{k}"] = precision
        out[f"recall@{k}"] = recall
        out[f"f1@{k}"] = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
        possible = np.minimum(n_relevant, k)
        out[f"map@{k}"] = np.divide(
            precision_at_hits[:, k - 1], possible, out=np.zeros_like(possible), where=possible > 0
        )
        out[f"mrr@{k}"] = np.where(first_rank <= k, 1.0 / first_rank, 0.0)
    return out


def _checked(ks: Sequence[int]) -> Sequence[int]:
    if not len(ks) or min(ks) < 1:
        raise ValueError(f"k must be 1 or more, got {tuple(ks)}")
    return ks


@dataclass(frozen=True, eq=False)
class Ranking:
    """The top of n rankings: `columns` int [n, K] (-1 where there are fewer than K), `scores`
    float32 [n, K], `hits` bool [n, K], `grades` float64 [n, K]."""

    columns: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    grades: np.ndarray


@dataclass(frozen=True, eq=False)
class Relevance:
    """What is relevant to n queries, ragged, as flat arrays: query `i` owns
    `columns[starts[i]:starts[i + 1]]` and the grades beside them. No column twice in a query."""

    starts: np.ndarray
    columns: np.ndarray
    grades: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Mapping[int, float]]) -> Relevance:
        """From one mapping column -> grade a query."""
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        columns = np.fromiter((c for row in rows for c in row), dtype=np.int64, count=int(starts[-1]))
        grades = np.fromiter((g for row in rows for g in row.values()), dtype=np.float64, count=int(starts[-1]))
        return cls(starts, columns, grades)

    @property
    def counts(self) -> np.ndarray:
        """int [n]: relevant items a query, also those that were never offered."""
        return np.diff(self.starts)

    def rows(self, begin: int, end: int) -> Relevance:
        a, b = self.starts[begin], self.starts[end]
        return Relevance(self.starts[begin : end + 1] - a, self.columns[a:b], self.grades[a:b])

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """columns int [n, R] (-1 beyond the end) and grades float [n, R]."""
        counts = self.counts
        width = int(counts.max()) if len(counts) else 0
        there = np.arange(width) < counts[:, None]
        columns = np.full(there.shape, -1, dtype=np.int64)
        grades = np.zeros(there.shape)
        columns[there], grades[there] = self.columns, self.grades
        return columns, grades

    def ideal(self, depth: int) -> np.ndarray:
        """float [n, depth]: the grades of a perfect ranking, then zeros."""
        grades = -np.sort(-self.padded()[1], axis=1)[:, :depth]
        out = np.zeros((len(self.starts) - 1, depth))
        out[:, : grades.shape[1]] = grades
        return out


def rank(
    scores: np.ndarray,
    relevance: Relevance,
    depth: int = max(KS),
    *,
    offered: np.ndarray | None = None,
    ties: str = "against",
) -> Ranking:
    """The best `depth` columns of each row of `scores` (float32 [n, m]; overwritten).

    `offered`  bool [n, m]: columns that are this row's candidates; None: all.
    `ties`     "against": a relevant column stands behind every other one whose score is not
               lower by more than TIE, and lower grades stand before higher ones. "stored": equal
               scores keep the order of the columns, which is what the original does wherever its
               sort happens to be stable, and what gives a collapsed model hit@1 = 1 there.

    A score that is not a number, or infinite, counts as the lowest.
    """
    if ties not in ("against", "stored"):
        raise ValueError(f'ties must be "against" or "stored", not {ties!r}')
    if offered is not None:
        np.copyto(scores, -np.inf, where=~offered)
    rel_columns, rel_grades = relevance.padded()
    here = rel_columns >= 0
    if offered is not None:
        here &= np.take_along_axis(offered, np.maximum(rel_columns, 0), axis=1)
    rows = np.broadcast_to(np.arange(len(scores))[:, None], rel_columns.shape)
    rel_scores = np.full(rel_columns.shape, -np.inf, dtype=np.float32)
    own = scores[rows[here], rel_columns[here]]
    rel_scores[here] = np.where(np.isfinite(own), own, _LOWEST)
    scores[rows[here], rel_columns[here]] = -np.inf
    other_columns, other_scores = _best(scores, depth)

    columns = np.concatenate([other_columns, rel_columns], axis=1)
    values = np.concatenate([other_scores, rel_scores], axis=1)
    grades = np.concatenate([np.zeros(other_columns.shape), rel_grades], axis=1)
    is_relevant = np.zeros(columns.shape, dtype=bool)
    is_relevant[:, other_columns.shape[1] :] = here
    there = values > -np.inf
    if ties == "against":
        # lexsort's last key leads: score (a relevant one must win by more than TIE), then grade, then place.
        lead = values.astype(np.float64)
        lead[is_relevant] -= TIE
        order = np.lexsort((columns, np.where(is_relevant, grades + 1, 0), -lead), axis=1)
    else:
        order = np.lexsort((columns, -values), axis=1)
    order = order[:, :depth]
    columns, values, grades, is_relevant, there = (
        np.take_along_axis(a, order, axis=1) for a in (columns, values, grades, is_relevant, there)
    )
    short = depth - columns.shape[1]
    if short > 0:
        columns = np.pad(columns, ((0, 0), (0, short)), constant_values=-1)
        values = np.pad(values, ((0, 0), (0, short)), constant_values=-np.inf)
        grades, is_relevant, there = (np.pad(a, ((0, 0), (0, short))) for a in (grades, is_relevant, there))
    return Ranking(np.where(there, columns, -1), values, is_relevant & there, np.where(is_relevant, grades, 0.0))


def _clean(scores: np.ndarray) -> None:
    wrong = ~(scores < np.inf)
    if wrong.any():
        scores[wrong] = _LOWEST


def _best(scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and scores of the `depth` largest of each row, largest first, equal ones by column.

    A row of 100,000 is not sorted: the largest of each group of neighbours is taken in one pass over
    memory, only the `depth` groups with the largest maxima can hold the answer, and those are
    looked at in the same way again.
    """
    n, m = scores.shape
    depth = min(depth, m)
    size = next((size for size in _GROUPS if m // size > 2 * depth), None)
    if size is None:
        _clean(scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        return order, np.take_along_axis(scores, order, axis=1)
    cut = m // size * size
    body = scores[:, :cut].reshape(n, -1, size)
    maxima = body.max(axis=2)
    if not (maxima < np.inf).all() or not (scores[:, cut:] < np.inf).all():  # NaN is not less
        _clean(scores)
        maxima = body.max(axis=2)
    chosen = np.sort(np.argsort(-maxima, axis=1, kind="stable")[:, :depth], axis=1)
    columns = (chosen[:, :, None] * size + np.arange(size)).reshape(n, -1)
    columns = np.concatenate([columns, np.broadcast_to(np.arange(cut, m), (n, m - cut))], axis=1)
    places, values = _best(np.take_along_axis(scores, columns, axis=1), depth)
    return np.take_along_axis(columns, places, axis=1), values
