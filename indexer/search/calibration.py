"""Calibration: one scale for all kinds, a score in standard deviations above what queries score by chance; and the
contrast of a chunk, by which it is told whether it is an answer.

Built around a fixed random sample of the library's chunks of each kind, which is scored by the query and by a few
ordinary queries. The ordinary ones give the usual score of a kind (text to text, text to image and text to video
cosines are not comparable); the query itself gives its own usual score ("for one query 0.91 is the best match,
for another 0.88 is noise"). Medians and lower halves are used, so that a library full of right answers does not
hide them. It knows nothing of words, ranks or files.

Measured on the sample set with lite (`make bench-quality`; MRR of text to photo / page / video,
all kinds mixed, before words): raw .342 / .846 / .209; each kind against the query's own background there
.317 / .725 / .113, as in a library with pages about one subject every query about it scores high by chance; kinds
against ordinary queries .342 / .846 / .191.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache

from indexer.catalogue.connections import Connections
from indexer.types import KINDS
from indexer.vectors.source import GROUPS, KIND_OF
from model.embedder import Embedder
from model.inputs import Input
from model.ranking_profile import RankingProfile

SAMPLE = 400
"""Chunks of each kind: the error of the spread is 5 %, at 0.1 ms per query."""
BATCH = 500
"""Chunks whose vectors one query of the database reads."""
PRIOR_WEIGHT = 16.0
"""Number of chunks at which a sample counts as much as the prior."""
LEAST_SPREAD = 1e-3
BY_CHANCE_CACHED = 20_000
"""Chunks for each set of components: 4 MB."""
COMPONENTS_CACHED = 8
"""Sets of components for which everyday queries are kept."""

# Queries that are usual for any library.
ORDINARY_QUERIES = (
    "a dog on the beach", "a birthday party", "a bowl of fruit", "mountains at sunset", "a red car",
    "two people talking", "an old church", "a city street at night", "a chart with bars", "a contract",
    "a train station", "children playing football", "a cup of coffee", "a page of a book", "a map",
    "a boat on a lake", "an electricity bill", "flowers in a garden", "a computer screen", "a wedding",
    "how to install software", "snow in the forest", "a cat asleep", "a mathematical proof", "a guitar",
    "an airplane", "a page of handwriting", "a kitchen", "the history of Rome", "a horse in a field",
    "a picture of an error message", "a bridge over a river",
)  # fmt: skip

# The same in Chinese, for a model with components of their own for languages other than English.
ORDINARY_ELSEWHERE = (
    "沙滩上的狗", "生日聚会", "一碗水果", "日落时的群山", "一辆红色的汽车", "两个人在交谈",
    "一座古老的教堂", "夜晚的城市街道", "柱状图", "一份合同", "火车站", "踢足球的孩子们",
    "一杯咖啡", "书的一页", "一张地图", "湖上的小船", "电费单", "花园里的花",
    "电脑屏幕", "婚礼", "如何安装软件", "森林里的雪", "睡着的猫", "数学证明",
    "吉他", "飞机", "手写笔记", "厨房", "罗马的历史", "田野里的马",
    "错误信息截图", "河上的桥",
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """The scores by chance in one kind: float arrays [q], one entry per query vector."""

    centre: np.ndarray
    spread: np.ndarray

    def standardise(self, scores: np.ndarray) -> np.ndarray:
        """Returns scores [q, n] in standard deviations above the background."""
        return np.asarray((scores - self.centre[:, None]) / self.spread[:, None])


def comparable(scales: dict[int, Scale], profile: RankingProfile) -> dict[int, Scale]:
    """Returns the scales of the groups, adjusted for one list of all kinds."""
    video, page = GROUPS["video"], GROUPS["pdf"]
    result = dict(scales)
    if video in scales:
        own = scales[video]
        result[video] = Scale(own.centre - profile.video_shift * own.spread, own.spread)
    if page in scales:
        result[page] = Scale(scales[page].centre, scales[page].spread / profile.page_weight)
    return result


class Background:
    """The sample, and the scores of queries against it."""

    def __init__(self, connections: Connections, embedder: Embedder, model_id: int) -> None:
        self._connections, self._embedder, self._model_id = connections, embedder, model_id
        self._lock = threading.Lock()
        self._sampled_at = -1
        self._samples: dict[int, np.ndarray] = {}
        self._ordinary: list[np.ndarray] = []
        # By the components that queries have: the everyday queries, cut to them.
        self._cuts: LRUCache[bytes, np.ndarray] = LRUCache(COMPONENTS_CACHED)
        self._by_ordinary: dict[int, tuple[dict[int, np.ndarray], dict[int, float], float]] = {}
        self._by_chance: LRUCache[bytes, tuple[object, dict[int, tuple[float, float]]]] = LRUCache(COMPONENTS_CACHED)

    def ordinary_queries(self, queries: np.ndarray) -> np.ndarray:
        """Returns the vectors of ordinary queries, float32 [m, dim], in the language of `queries` [q, dim].

        A model with components of their own for some languages has zeros there in English. The ordinary queries are in
        English, in Chinese, or the mean of both, whichever is as much in the components of English as `queries` are.
        """
        with self._lock:
            if not self._ordinary:
                self._ordinary = [self._embedded(ORDINARY_QUERIES)]
            english = self._ordinary[0]
            of_english = np.asarray(english.any(axis=0))
            if _share(queries, of_english) > 1 - LEAST_SPREAD:
                return english
            if len(self._ordinary) == 1:
                elsewhere = self._embedded(ORDINARY_ELSEWHERE)
                both = english + _of_unit_length(elsewhere * ~of_english)
                self._ordinary += [elsewhere, _of_unit_length(both)]
            known = np.any([rows.any(axis=0) for rows in self._ordinary], axis=0)
            share = _share(queries * known, of_english)
            return min(self._ordinary, key=lambda rows: abs(_share(rows, of_english) - share))

    def contrast(self, queries: np.ndarray, chunks: Sequence[int]) -> dict[int, float]:
        """Returns chunk id -> its contrast with the text `queries` [q, dim], of those `chunks` that have a vector."""
        version = self._connections.get().execute("SELECT max(id) FROM change").fetchone()
        vectors: dict[int, bytes] = {}
        for start in range(0, len(chunks) if len(queries) else 0, BATCH):
            batch = chunks[start : start + BATCH]
            rows = self._connections.get().execute(
                "SELECT chunk_id, vector FROM embedding"
                f" WHERE model_id = ? AND chunk_id IN ({', '.join('?' * len(batch))})",
                (self._model_id, *batch),
            )
            vectors.update(rows.fetchall())
        if not vectors:
            return {}
        stored = np.frombuffer(b"".join(vectors.values()), "<f2").reshape(len(vectors), -1).astype(np.float32)
        by_chance = self._by_chance_of(queries, list(vectors), stored, version)
        return dict(zip(vectors, _contrast(queries, stored, by_chance).tolist(), strict=True))

    def contrast_of(self, queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Returns how far the score of each chunk is above what everyday queries score with it, in standard
        deviations of their scores: float32 [n], by the best of the text `queries` [q, dim], for `vectors` [n, dim].

        It depends on the query and the chunk alone, so a verdict by it holds while the library grows. It does not
        rank: text to photo among all MRR .39 by score, .27 by contrast (lite, sample set).
        """
        return _contrast(queries, vectors, _by_chance(vectors, *self._everyday(queries)))

    def _by_chance_of(self, queries: np.ndarray, chunks: list[int], vectors: np.ndarray, version: object) -> np.ndarray:
        """Returns `_by_chance` of the chunks with these vectors, which is the same for all queries: it is kept until a
        vector changes. Of 333 chunks it takes 0.8 ms, a tenth of a search. `version`: of the journal, read before the
        vectors."""
        used = queries.any(axis=0).tobytes()
        with self._lock:
            kept = self._by_chance.setdefault(used, (version, {}))[1]
            if self._by_chance[used][0] != version or len(kept) > BY_CHANCE_CACHED:
                kept = {}
                self._by_chance[used] = version, kept
        missing = [row for row, n in enumerate(chunks) if n not in kept]
        if missing:
            new = _by_chance(vectors[missing], *self._everyday(queries))
            kept.update(zip((chunks[row] for row in missing), map(tuple, new.tolist()), strict=True))
        return np.array([kept[n] for n in chunks], np.float32)

    def _everyday(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mean [dim] and the components [m, dim] of everyday queries' vectors: the model's own, cut to
        the components that `queries` have; for a model without them, of the ordinary queries."""
        rows: np.ndarray | None = getattr(self._embedder, "everyday", None)
        if rows is None:
            ordinary = self.ordinary_queries(queries)
            mean = ordinary.mean(axis=0)
            return mean, (ordinary - mean) / np.sqrt(len(ordinary))
        used = queries.any(axis=0)
        with self._lock:
            cut = self._cuts.get(used.tobytes())
            if cut is None:
                cut = rows * used
                cut *= np.linalg.norm(rows) / max(float(np.linalg.norm(cut)), LEAST_SPREAD)  # a query has unit length
                self._cuts[used.tobytes()] = cut
        return cut[0], cut[1:]

    def _embedded(self, texts: Sequence[str]) -> np.ndarray:
        return self._embedder.embed([Input(text=text, role="query") for text in texts])

    def sample_new(self, groups: Collection[int]) -> bool:
        """Sample those of the `groups` that had no chunk when the sample was taken. Returns whether the sample has any
        of the groups now."""
        with self._lock:
            missing = [group for group in groups if group not in self._samples] if self._samples else []
            new = {group: s for group in missing if len(s := self._sample(KIND_OF[group]))}
            if new:
                self._samples = self._samples | new
            return not self._samples.keys().isdisjoint(groups)

    def sample(self, group: int, size: int) -> np.ndarray | None:
        """Returns the sample of a group, float32 [<= SAMPLE, dim]: all of its chunks if they are fewer; None without
        any. `size`: the number of the library's chunks."""
        return self._current(size).get(group)

    def of_query(self, queries: np.ndarray, size: int, text_alone: bool, profile: RankingProfile) -> dict[int, Scale]:
        """Returns the scale of each group for one list of all kinds. `size`: the number of the library's chunks."""
        if text_alone:
            return comparable(self.of_text(queries, size, profile), profile)
        return self.of_images(queries, size)

    def of_text(self, queries: np.ndarray, size: int, profile: RankingProfile) -> dict[int, Scale]:
        """Returns the scale of each group by itself, for text queries float32 [q, dim]."""
        samples = self._current(size)
        if not samples:
            return {}
        offsets, common = self._of_ordinary(self.ordinary_queries(queries), samples)
        own = np.concatenate([queries @ s.T - offsets[g] for g, s in samples.items()], axis=1)
        shift, spread = _lower_half(own)
        weight = profile.own_background * own.shape[1] / (own.shape[1] + PRIOR_WEIGHT)
        spread = np.maximum(spread, LEAST_SPREAD) ** weight * common ** (1 - weight)
        return {g: Scale(offsets[g] + weight * shift, spread) for g in samples}

    def of_images(self, queries: np.ndarray, size: int) -> dict[int, Scale]:
        """Returns the scale of queries that are not text alone, the same for all kinds: an image is more similar to
        images than to anything else, and that is no bias to correct."""
        samples = self._current(size)
        if not samples:
            return {}
        # The most similar kind is the background; the others are far from the query in any case.
        like = max(samples.values(), key=lambda s: _median(queries @ s.T))
        own = queries @ like.T
        centre, spread = _lower_half(own)
        # In a small library its chunks are used as queries too.
        by_chance = like @ like.T if own.shape[1] < 8 * PRIOR_WEIGHT else np.zeros(0)
        by_chance = by_chance[by_chance < 0.999]  # without a chunk against itself or its copy
        if by_chance.size:
            prior_centre, prior_spread = _lower_half(by_chance.reshape(1, -1))
            weight = own.shape[1] / (own.shape[1] + PRIOR_WEIGHT)
            centre = weight * centre + (1 - weight) * prior_centre
            spread = np.sqrt(weight * spread**2 + (1 - weight) * prior_spread**2)
        return {g: Scale(centre, np.maximum(spread, LEAST_SPREAD)) for g in samples}

    def _of_ordinary(self, ordinary: np.ndarray, samples: dict[int, np.ndarray]) -> tuple[dict[int, float], float]:
        """Returns the median score of ordinary queries in each group, and the spread of all scores around them."""
        current = self._by_ordinary.get(id(ordinary))
        if current is None or current[0] is not samples:
            scores = {g: ordinary @ s.T for g, s in samples.items()}
            offsets = {g: _median(s) for g, s in scores.items()}
            pooled = np.concatenate([(s - offsets[g]).ravel() for g, s in scores.items()])
            spread = max(float(_lower_half(pooled.reshape(1, -1))[1][0]), LEAST_SPREAD)
            self._by_ordinary[id(ordinary)] = current = (samples, offsets, spread)
        return current[1], current[2]

    def _current(self, size: int) -> dict[int, np.ndarray]:
        if self._sampled_at >= 0 and abs(size - self._sampled_at) <= self._sampled_at // 20:
            return self._samples
        with self._lock:
            if self._sampled_at != size:
                self._samples = {GROUPS[kind]: s for kind in KINDS if len(s := self._sample(kind))}
                self._sampled_at = size
            return self._samples

    def _sample(self, kind: str) -> np.ndarray:
        """Returns the vectors of a sample, float32 [<= SAMPLE, dim]: the chunks with the smallest four bytes of their
        content's hash, at a position that depends on their ordinal. So the sample depends on the files alone, not on
        the order in which they were indexed."""
        connection = self._connections.get()
        rows = connection.execute(
            "SELECT e.vector FROM (SELECT k.id FROM content c CROSS JOIN chunk k ON k.content_hash = c.hash"
            " WHERE c.kind = ? AND c.orphaned_at IS NULL"
            " ORDER BY substr(c.hash, CAST(1 + k.ordinal % 29 AS integer), 4), k.ordinal LIMIT ?) s"
            " JOIN embedding e ON e.chunk_id = s.id AND e.model_id = ?",
            (kind, SAMPLE, self._model_id),
        )
        blob = b"".join(row[0] for row in rows)
        return np.frombuffer(blob, "<f2").reshape(-1, self._embedder.dim).astype(np.float32)


def _by_chance(vectors: np.ndarray, mean: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Returns the mean of everyday queries' scores with each of the vectors and their spread, float32 [n, 2]. `mean`
    [dim], `components` [m, dim]: as `_everyday` returns them."""
    spread = np.sqrt(np.square(vectors @ components.T).sum(axis=1))
    return np.stack([vectors @ mean, np.maximum(spread, LEAST_SPREAD)], axis=1)


def _contrast(queries: np.ndarray, vectors: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    return np.asarray(((queries @ vectors.T).max(axis=0) - by_chance[:, 0]) / by_chance[:, 1])


def _share(rows: np.ndarray, of: np.ndarray) -> float:
    """Returns the share of the squared length of `rows` [n, dim] that lies in the components `of`, bool [dim]."""
    squares = np.square(rows).sum(axis=0)
    return float(squares[of].sum() / max(float(squares.sum()), LEAST_SPREAD))


def _of_unit_length(rows: np.ndarray) -> np.ndarray:
    """A row of zeros stays as it is."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), LEAST_SPREAD))


def _lower_half(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the median [q] and its distance to the 16th percentile [q]: mean and standard deviation of a normal
    distribution, without the influence of high scores."""
    ordered = np.sort(scores, axis=1)  # np.percentile takes three times as long for so few values
    low, middle = (_at(ordered, share) for share in (0.1587, 0.5))
    return middle, middle - low


def _median(scores: np.ndarray) -> float:
    """As `np.median`, which loads NumPy's masked arrays for it: a fortieth of a cold search."""
    ordered = np.sort(scores, axis=None)
    return float(ordered[(ordered.size - 1) // 2 : ordered.size // 2 + 1].mean())


def _at(ordered: np.ndarray, share: float) -> np.ndarray:
    """Returns the quantile `share` of each sorted row, [q], interpolated between two entries."""
    place = share * (ordered.shape[1] - 1)
    before = int(place)
    after = min(before + 1, ordered.shape[1] - 1)
    return np.asarray(ordered[:, before] + (place - before) * (ordered[:, after] - ordered[:, before]))
