"""Hard negatives and neighbours, mined with a teacher before a run:

    python -m train --mine TEACHER --config run.yaml --output_dir mined

Built around `mine`, over a teacher's vectors of a source's queries and targets:

    negatives   of each row the rows whose targets the teacher puts nearest to its query, below a margin: a target that
                scores above `margin` times the row's own is taken for another right one (a false negative)
    clusters    all rows, cut into clusters of one sub-batch, in which neighbours by the teacher stand together (B3's
                idea, arXiv 2505.11293), so that a batch has hard negatives without any more targets

and `MinedSource`, which gives a source these negatives, the teacher's scores of them and this order. Rows are numbers,
so that every kind of source can be mined. It knows nothing of losses.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.sources.pair import MissingMedia, Pair, load
from data.sources.source import Source

SCORES_AT_ONCE = 2**26
"""Scores of queries against all targets that are in memory at once: 256 MB, and three times that to choose the best."""
MARGIN = 0.95
TEACHER_TEMPERATURE = 0.02
"""Divides a teacher's cosines where they are a lesson (`rerank_weight`), as the loss divides the model's."""
NEIGHBOURS = 128
"""Of each row, for the clusters."""


class MiningError(Exception):
    """Mined rows cannot be made or used. The message is for the user."""


@dataclass(frozen=True, eq=False)
class Mined:
    """`negatives` int64 [n, k]: row numbers, -1 where there are fewer. `scores` float32 [n, 1 + k]: the teacher's
    cosines of each query with its own target and these negatives; NaN: none. `order` int64 [n]: the rows, cluster by
    cluster of `cluster` rows (the last may be smaller)."""

    negatives: np.ndarray
    scores: np.ndarray
    order: np.ndarray
    cluster: int

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, negatives=self.negatives, scores=self.scores, order=self.order, cluster=self.cluster)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Mined:
        """Raises `MiningError`."""
        try:
            with np.load(path) as file:
                return cls(file["negatives"], file["scores"], file["order"], int(file["cluster"]))
        except (OSError, ValueError, KeyError) as error:
            raise MiningError(f"{path} holds no mined rows ({error}); mine again") from None


def mine(
    queries: np.ndarray,
    targets: np.ndarray,
    keys: np.ndarray,
    *,
    negatives: int = 4,
    margin: float = MARGIN,
    cluster: int = 64,
    seed: int = 42,
) -> Mined:
    """Returns the mined rows of a source. `queries`, `targets` float [n, d], unit rows; `keys` int64 [n]: the content
    of each target. A row of zeros stands for missing media: it gets no negatives and is never one."""
    n = len(queries)
    there = (np.abs(targets).sum(axis=1) > 0) & (np.abs(queries).sum(axis=1) > 0)
    hard = np.full((n, negatives), -1, np.int64)
    judged = np.full((n, 1 + negatives), np.nan, np.float32)
    near = np.full((n, min(NEIGHBOURS, n - 1)), -1, np.int64)
    block = max(1, SCORES_AT_ONCE // n)
    for start in range(0, n, block):
        rows = np.arange(start, min(start + block, n))
        scores = queries[rows] @ targets.T
        own = scores[np.arange(len(rows)), rows]
        judged[rows, 0] = np.where(there[rows], own, np.nan)
        scores[:, ~there] = -np.inf
        scores[np.arange(len(rows)), rows] = -np.inf
        near[rows] = _best(scores, near.shape[1])
        scores[scores > margin * own[:, None]] = -np.inf
        scores[keys[rows][:, None] == keys[None, :]] = -np.inf
        scores[~there[rows]] = -np.inf
        best = _best(scores, negatives)
        hard[rows, : best.shape[1]] = best
        chosen = np.take_along_axis(scores, np.maximum(best, 0), 1)
        judged[rows, 1 : 1 + best.shape[1]] = np.where(best >= 0, chosen, np.nan)
    return Mined(hard, judged, _clusters(near, cluster, np.random.default_rng(seed)), cluster)


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Returns the columns of the k largest scores of each row, best first; -1 for those at minus infinity."""
    k = min(k, scores.shape[1])
    part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    part = np.take_along_axis(part, np.argsort(-np.take_along_axis(scores, part, 1), axis=1, kind="stable"), 1)
    return np.where(np.isfinite(np.take_along_axis(scores, part, 1)), part, -1)


def _clusters(near: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Returns all rows in clusters of `size`: a random row that is left, its nearest rows that are left, and theirs."""
    n = len(near)
    is_left = np.ones(n, bool)
    order: list[int] = []
    for seed in generator.permutation(n).tolist():
        if not is_left[seed]:
            continue
        members, at = [seed], 0
        is_left[seed] = False
        while len(members) < size and at < len(members):
            for row in near[members[at]].tolist():
                if row >= 0 and is_left[row] and len(members) < size:
                    is_left[row] = False
                    members.append(row)
            at += 1
        order += members
    return np.asarray(order, np.int64)


class MinedSource(Source):
    """A source in a mined order, with mined negatives after its own."""

    def __init__(self, source: Source, mined: Mined) -> None:
        """Raises `MiningError` if the rows were mined of another number of rows."""
        if len(mined.order) != len(source):
            raise MiningError(
                f"{source.name} has {len(source)} rows and was mined with {len(mined.order)}; mine it again"
            )
        self.name, self.licence, self.advice = source.name, source.licence, source.advice
        self._source, self._mined = source, mined
        parts = (mined.order.astype("<i8"), mined.negatives.astype("<i8"), mined.scores.astype("<f4"))
        self.order = hashlib.blake2b(b"".join(part.tobytes() for part in parts), digest_size=8).hexdigest()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> Pair:
        number = int(self._mined.order[row])
        pair = self._source[number]
        mined = self._mined.negatives[number]
        more = [self._source[int(n)].positive for n in mined if n >= 0]
        cosines = self._mined.scores[number] / TEACHER_TEMPERATURE
        own = pair.scores or (float(cosines[0]), *(float("nan") for _ in pair.negatives))
        # A reranker's scores and a teacher's cosines have different scales: they are not compared.
        mined_scores = (
            float("nan") if pair.scores else float(c) for c, n in zip(cosines[1:], mined, strict=True) if n >= 0
        )
        scores = (*own, *mined_scores)
        return replace(pair, negatives=(*pair.negatives, *more), scores=scores)

    @property
    def groups(self) -> np.ndarray:
        n, size = len(self), self._mined.cluster
        return np.asarray([size] * (n // size) + ([n % size] if n % size else []), np.int64)

    @property
    def open_groups(self) -> int:
        """1: the rows of a cluster stay together."""
        return 1


def mine_source(source: Source, teacher: Any, *, max_frames: int = 8, call: int = 64, **settings: Any) -> Mined:
    """Returns the mined rows of a source by an `Embedder`."""
    n = len(source)
    queries, targets = (np.zeros((n, teacher.dim), np.float32) for _ in range(2))
    keys = np.zeros(n, np.int64)
    for start in range(0, n, call):
        loaded = []
        for row in range(start, min(start + call, n)):
            try:
                pair = source[row]
                loaded.append(
                    (row, load(pair.query, max_frames=max_frames), load(pair.positive, max_frames=max_frames))
                )
            except MissingMedia:
                keys[row] = -1 - row
        if loaded:
            numbers = [row for row, _, _ in loaded]
            queries[numbers] = teacher.embed([query.to_input() for _, query, _ in loaded])
            targets[numbers] = teacher.embed([target.to_input() for _, _, target in loaded])
            keys[numbers] = [target.key for _, _, target in loaded]
    return mine(queries, targets, keys, **settings)
