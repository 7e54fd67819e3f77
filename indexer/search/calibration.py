"""One scale for all kinds: a score in standard deviations above what queries score by chance.

Built around a fixed random sample of the library's chunks of each kind, asked by the query
at hand and by a few ordinary ones. The ordinary ones tell what a kind scores whatever is
asked (text to text, text to image and text to video cosines are not comparable); the query
itself tells how much it likes everything ("for one query 0.91 is the best match, for another
0.88 is noise"). Medians and lower halves are taken, so that a library full of right answers
does not hide them. It knows nothing of words, ranks or files.

Measured on the sample set with lite (`make bench-quality`; MRR of text to photo / page / video,
all kinds mixed, before words): raw .342 / .846 / .209; each kind against the query's own
background there .317 / .725 / .113, for a library whose pages are all about one thing takes
every query about it for chance; kinds against ordinary queries .342 / .846 / .191.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.catalogue.connections import Connections
from indexer.types import KINDS
from indexer.vectors.source import GROUPS
from model.embedder import Embedder
from model.inputs import Input
from model.ranking_profile import RankingProfile

SAMPLE = 400
"""Chunks of each kind: the spread is then known to 5 %, for 0.1 ms a query."""
PRIOR_WEIGHT = 16.0
"""A sample of so many chunks counts as much as what is known without it."""
LEAST_SPREAD = 1e-3

# What a person might ask of any library.
ORDINARY_QUERIES = (
    "a dog on the beach", "a birthday party", "a bowl of fruit", "mountains at sunset", "a red car",
    "two people talking", "an old church", "a city street at night", "a chart with bars", "a contract",
    "a train station", "children playing football", "a cup of coffee", "a page of a book", "a map",
    "a boat on a lake", "an electricity bill", "flowers in a garden", "a computer screen", "a wedding",
    "how to install software", "snow in the forest", "a cat asleep", "a mathematical proof", "a guitar",
    "an airplane", "a page of handwriting", "a kitchen", "the history of Rome", "a horse in a field",
    "a picture of an error message", "a bridge over a river",
)  # fmt: skip

# The same in Chinese: a model may read other languages than English in numbers of their own.
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
    """What chance scores in one kind: float arrays [q], one entry a query vector."""

    centre: np.ndarray
    spread: np.ndarray

    def standardise(self, scores: np.ndarray) -> np.ndarray:
        """Scores [q, n] as standard deviations above the background."""
        return (scores - self.centre[:, None]) / self.spread[:, None]


def comparable(scales: dict[int, Scale], profile: RankingProfile) -> dict[int, Scale]:
    """The scales of the groups for one list of all kinds."""
    video, page = GROUPS["video"], GROUPS["pdf"]
    result = dict(scales)
    if video in scales:
        own = scales[video]
        result[video] = Scale(own.centre - profile.video_shift * own.spread, own.spread)
    if page in scales:
        result[page] = Scale(scales[page].centre, scales[page].spread / profile.page_weight)
    return result


class Background:
    """The sample, and what queries score against it."""

    def __init__(self, connections: Connections, embedder: Embedder, model_id: int) -> None:
        self._connections, self._embedder, self._model_id = connections, embedder, model_id
        self._lock = threading.Lock()
        self._sampled_at = -1
        self._samples: dict[int, np.ndarray] = {}
        self._ordinary: list[np.ndarray] = []
        self._by_ordinary: dict[int, tuple[int, dict[int, float], float]] = {}

    def ordinary_queries(self, queries: np.ndarray) -> np.ndarray:
        """float32 [m, dim]: what a person might ask of any library, read as `queries` [q, dim] are.

        A model that reads some languages in numbers of their own leaves the others zero. Then the ordinary
        queries are taken in the language, or in both, whose zeros are where those of the queries are.
        """
        with self._lock:
            if not self._ordinary:
                self._ordinary = [self._embedded(ORDINARY_QUERIES)]
            if len(self._ordinary) == 1 and _unlike(self._ordinary[0], queries):
                elsewhere = self._embedded(ORDINARY_ELSEWHERE)
                both = self._ordinary[0] + elsewhere
                both /= np.maximum(np.linalg.norm(both, axis=1, keepdims=True), LEAST_SPREAD)
                self._ordinary += [elsewhere, both]
        return min(self._ordinary, key=lambda rows: _unlike(rows, queries))

    def _embedded(self, texts: Sequence[str]) -> np.ndarray:
        return self._embedder.embed([Input(text=text, role="query") for text in texts])

    def of_query(self, queries: np.ndarray, size: int, text_alone: bool, profile: RankingProfile) -> dict[int, Scale]:
        """The scale of each group for one list of all kinds; `size` is the library's, in chunks."""
        if text_alone:
            return comparable(self.of_text(queries, size, profile), profile)
        return self.of_pictures(queries, size)

    def of_text(self, queries: np.ndarray, size: int, profile: RankingProfile) -> dict[int, Scale]:
        """The scale of each group by itself, for text queries float32 [q, dim]."""
        samples = self._current(size)
        if not samples:
            return {}
        offsets, common = self._of_ordinary(self.ordinary_queries(queries), samples)
        own = np.concatenate([queries @ s.T - offsets[g] for g, s in samples.items()], axis=1)
        shift, spread = _lower_half(own)
        weight = profile.own_background * own.shape[1] / (own.shape[1] + PRIOR_WEIGHT)
        spread = np.maximum(spread, LEAST_SPREAD) ** weight * common ** (1 - weight)
        return {g: Scale(offsets[g] + weight * shift, spread) for g in samples}

    def of_pictures(self, queries: np.ndarray, size: int) -> dict[int, Scale]:
        """The scale for queries that are not text alone: one for all kinds. A picture is like pictures
        before it is like anything else, and that is no bias to be taken away."""
        samples = self._current(size)
        if not samples:
            return {}
        # What it is most like is its background; the rest is far from it in any case.
        like = max(samples.values(), key=lambda s: float(np.median(queries @ s.T)))
        own = queries @ like.T
        centre, spread = _lower_half(own)
        by_chance = like @ like.T
        by_chance = by_chance[by_chance < 0.999]  # not a chunk against itself, or its copy
        if by_chance.size and own.shape[1] < 8 * PRIOR_WEIGHT:
            # A small library: chunks ask as the query does.
            prior_centre, prior_spread = _lower_half(by_chance.reshape(1, -1))
            weight = own.shape[1] / (own.shape[1] + PRIOR_WEIGHT)
            centre = weight * centre + (1 - weight) * prior_centre
            spread = np.sqrt(weight * spread**2 + (1 - weight) * prior_spread**2)
        return {g: Scale(centre, np.maximum(spread, LEAST_SPREAD)) for g in samples}

    def _of_ordinary(self, ordinary: np.ndarray, samples: dict[int, np.ndarray]) -> tuple[dict[int, float], float]:
        """What ordinary queries score in each group, and their spread once that is taken away."""
        current = self._by_ordinary.get(id(ordinary))
        if current is None or current[0] != self._sampled_at:
            scores = {g: ordinary @ s.T for g, s in samples.items()}
            offsets = {g: float(np.median(s)) for g, s in scores.items()}
            pooled = np.concatenate([(s - offsets[g]).ravel() for g, s in scores.items()])
            spread = max(float(_lower_half(pooled.reshape(1, -1))[1][0]), LEAST_SPREAD)
            self._by_ordinary[id(ordinary)] = current = (self._sampled_at, offsets, spread)
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
        """float32 [<= SAMPLE, dim]: the chunks with the least of four bytes of their content's hash, taken at a place
        that their number in the content gives. The files decide, not the order in which they were indexed."""
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


def _unlike(rows: np.ndarray, queries: np.ndarray) -> int:
    """How many numbers are all zero in the one and not in the other."""
    return int((rows.any(axis=0) != queries.any(axis=0)).sum())


def _lower_half(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median [q], and the distance down to the 16th percentile [q]: a normal distribution's mean and
    standard deviation, untouched by what stands out above."""
    ordered = np.sort(scores, axis=1)  # np.percentile takes three times as long over so few
    low, middle = (_at(ordered, share) for share in (0.1587, 0.5))
    return middle, middle - low


def _at(ordered: np.ndarray, share: float) -> np.ndarray:
    """The value below which a share of each sorted row lies, [q]; between two entries, in proportion."""
    place = share * (ordered.shape[1] - 1)
    before = int(place)
    after = min(before + 1, ordered.shape[1] - 1)
    return ordered[:, before] + (place - before) * (ordered[:, after] - ordered[:, before])
