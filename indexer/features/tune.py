"""Tuning: search learns a person's own words, and keeps what it learnt only if a held-out part gains by it.

Built around one linear change of the model's text queries (`model/query_adapter.py`), by ridge regression. For words
q_i that mean chunks with the centred mean vector t_i,

    M = strength * argmin_M  sum |M q_i - t_i|^2 + sum |M a_j|^2 + ridge |M|^2

where a_j are ordinary queries, which should stay. The vectors of the library stay as they are. A fifth of the words is
held out and compared before and after. The rest is learnt from, by those settings with which each quarter of it is
ranked best after learning from the other three, and captions and names at most `LOSS` worse.

Clicks decide if there are `LEAST` of them, by the real search. Captions and names are found by their words anyway, so
they are compared by meaning alone: as if nobody had written them. It knows nothing of formulas of metrics, nor of the
command line.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from indexer.errors import LibraryError
from indexer.features.judge import Metrics, evaluate, judgements_of
from indexer.features.own_words import OwnWords, Place
from indexer.search.calibration import ORDINARY_QUERIES
from indexer.search.searcher import Searcher
from indexer.types import Kind, Part, Query
from model.inputs import Input
from model.query_adapter import AdaptedEmbedder, QueryAdapter

LEAST = 40
"""Words with their places that tuning needs: with 8 of them held out, fewer show no difference."""
MOST = 2_000
"""The most words that are used, at random."""
RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)
FOLDS = 4
STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
LOSS = 0.02
"""The part of their score that captions and names may lose, so that clicks gain."""
NOISE = 2.0
"""Standard errors by which the mean of the paired differences must be above zero."""
METRIC = "ndcg_linear@10"
QUERIES_AT_ONCE = 64
MOST_CHUNKS = 4_000
"""Chunks among which words are ranked, evenly spread over the library, beside those that the words mean: 18 MB for
lite."""


@dataclass(frozen=True)
class Comparison:
    """A mean over held-out words before and after; `noise`: the standard error of the mean paired difference."""

    words: int
    before: float
    after: float
    noise: float

    @property
    def gain(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class TuningReport:
    """`searched`: clicks, by the real search; `by_meaning`: captions and names, by meaning alone. None without any.
    `kept`: whether the search is tuned from now on; `reason`: why, in a sentence for a person."""

    words: int
    searched: Comparison | None
    by_meaning: Comparison | None
    ridge: float
    strength: float
    kept: bool
    reason: str

    def as_text(self) -> str:
        lines = [f"{self.words} searches, captions and names; a fifth of them is held out."]
        for comparison, what in ((self.searched, "what you opened, NDCG@10"), (self.by_meaning, "captions and names")):
            if comparison is not None:
                lines.append(
                    f"  {what}: {100 * comparison.before:.1f} -> {100 * comparison.after:.1f}"
                    f" ({100 * comparison.gain:+.1f} ± {100 * comparison.noise:.1f}, {comparison.words} held out)"
                )
        ending = "Search is tuned from now on; `sightline tune --undo` undoes it." if self.kept else "Nothing changes."
        return "\n".join([*lines, f"{self.reason} {ending}"])


@dataclass(frozen=True, eq=False)
class _Words:
    """Words whose places have vectors. `query`: float32 [dim]. `targets`: kind -> rows of the kind's vectors."""

    own: OwnWords
    query: np.ndarray
    targets: dict[Kind, np.ndarray]

    @property
    def is_click(self) -> bool:
        return self.own.source == "click"


class _Setting(NamedTuple):
    """`others_stay`: the queries of captions and names are ones that should stay, not ones to learn from."""

    ridge: float
    strength: float
    others_stay: bool = False


@dataclass(frozen=True, eq=False)
class _Chunks:
    """Vectors of a kind, float32 [n, dim]; `mean`: their mean."""

    vectors: np.ndarray
    mean: np.ndarray


def tune(
    searcher: Searcher,
    own: Sequence[OwnWords],
    path: Path,
    metrics: Metrics,
    searcher_with: Callable[[Any], Searcher],
    *,
    seed: int = 0,
) -> TuningReport:
    """Learn from a person's words, and write the adapter to `path` if the held-out part gains by it; else an existing
    one stays as it is, if it is for this model.

    `searcher`: of the untuned model. `searcher_with`: a searcher over the same index with another embedder. Raises
    `LibraryError` if there are too few words.
    """
    embedder = searcher.embedder
    words, chunks = _with_vectors(searcher, _sample(own, seed))
    if len(words) < LEAST:
        raise LibraryError(
            f"There are {len(words)} of the {LEAST} searches, captions and names that tuning needs: search and open "
            "what you looked for (`sightline clicks --keep` stores it), or write captions."
        )
    clicks_decide = sum(w.is_click for w in words) >= LEAST
    *folds, held_out = _parts(words, [4 / 5 / FOLDS] * FOLDS + [1 / 5])
    anchors = _embedded(searcher, ORDINARY_QUERIES)
    setting = _best_setting(folds, chunks, anchors, clicks_decide)
    adapter = _learn(embedder.id, [w for fold in folds for w in fold], chunks, anchors, setting)

    clicks = [w for w in held_out if w.is_click]
    judgements = judgements_of([w.own for w in clicks])

    def scores(of: Searcher) -> np.ndarray:
        report = evaluate(judgements, lambda text, k: of.search(Query((Part(text=text),)), k).hits, metrics)
        return np.array([record[METRIC] for record in report.queries])

    searched = by_meaning = None
    if len(clicks) > 1:
        tuned = searcher_with(AdaptedEmbedder(embedder, adapter))
        try:
            searched = _compared(scores(searcher), scores(tuned))
        finally:
            tuned.close()
    others = [w for w in held_out if not w.is_click]
    if len(others) > 1:
        queries = np.stack([w.query for w in others])
        by_meaning = _compared(_discounts(others, queries, chunks), _discounts(others, adapter.adapt(queries), chunks))

    deciding, guard = (searched, by_meaning) if clicks_decide else (by_meaning, searched)
    kept = False
    if setting.strength == 0 or deciding is None:
        reason = "No change of the queries helps words that it has not learnt from."
    elif deciding.gain <= NOISE * deciding.noise:
        reason = "The gain on the held-out words is not above its noise."
    elif guard is not None and guard.gain < -NOISE * guard.noise:
        reason = f"The held-out {'captions and names' if clicks_decide else 'searches'} lose by it."
    else:
        kept, reason = True, "The gain on the held-out words is above its noise."
        adapter.write(path)
    return TuningReport(len(words), searched, by_meaning, setting.ridge, setting.strength, kept, reason)


# -- words with vectors ------------------------------------------------------------------------


def _sample(own: Sequence[OwnWords], seed: int) -> list[OwnWords]:
    """The words in an order that depends on the words alone, at most `MOST`. Those of several sources follow each
    other, so that no part knows the words of another."""
    key = str(seed).encode()

    def order(words: OwnWords) -> bytes:
        return hashlib.blake2b(words.words.casefold().encode(), key=key, digest_size=8).digest()

    return sorted(own, key=lambda words: (order(words), words.source))[:MOST]


def _parts(words: Sequence[_Words], shares: Sequence[float]) -> list[list[_Words]]:
    """Deal the words into parts of these shares; equal words of several sources stay in one part."""
    ends = [0, *(round(len(words) * end) for end in np.cumsum(shares))]
    for n in range(1, len(ends) - 1):
        while ends[n] < len(words) and _folded(words[ends[n]]) == _folded(words[ends[n] - 1]):
            ends[n] += 1
    return [list(words[start:end]) for start, end in pairwise(ends)]


def _folded(words: _Words) -> str:
    return words.own.words.casefold()


def _with_vectors(searcher: Searcher, own: Sequence[OwnWords]) -> tuple[list[_Words], dict[Kind, _Chunks]]:
    """The words whose places are in the index, and vectors by kind."""
    chunk_ids: dict[Place, list[int]] = {}
    for place in {place for words in own for place in words.places}:
        stored = searcher.catalogue.contents.chunks_of(place.content)
        chunk_ids[place] = [chunk.chunk_id for chunk in stored if place.holds(chunk.span)]
    chunks, rows = _chunks_of(searcher, {number for numbers in chunk_ids.values() for number in numbers})
    usable = []
    for words in own:
        targets: dict[Kind, list[int]] = {}
        for place in words.places:
            for kind, row in (rows[number] for number in chunk_ids[place] if number in rows):
                targets.setdefault(kind, []).append(row)
        if targets:
            usable.append((words, {kind: np.unique(numbers) for kind, numbers in targets.items()}))
    queries = _embedded(searcher, [words.words for words, _ in usable])
    result = [_Words(words, query, targets) for (words, targets), query in zip(usable, queries, strict=True)]
    return result, chunks


def _chunks_of(searcher: Searcher, meant: set[int]) -> tuple[dict[Kind, _Chunks], dict[int, tuple[Kind, int]]]:
    """Returns the vectors by kind of the chunks that words mean and of a sample, and chunk id -> (kind, row)."""
    step = max(1, len(searcher.index) // MOST_CHUNKS)
    meant_ids = np.array(sorted(meant), np.int64)
    parts: dict[Kind, list[np.ndarray]] = {}
    rows: dict[int, tuple[Kind, int]] = {}
    for kind, ids, vectors in searcher.all_vectors():
        chosen = (ids % step == 0) | np.isin(ids, meant_ids)
        start = sum(map(len, parts.setdefault(kind, [])))
        rows.update((number, (kind, start + n)) for n, number in enumerate(ids[chosen].tolist()))
        parts[kind].append(vectors[chosen])
    joined = {kind: np.concatenate(vectors) for kind, vectors in parts.items()}
    return {kind: _Chunks(v, v.mean(axis=0)) for kind, v in joined.items() if len(v)}, rows


def _embedded(searcher: Searcher, texts: Sequence[str]) -> np.ndarray:
    """float32 [n, dim]"""
    inputs = [Input(text=text, role="query") for text in texts]
    batches = [inputs[at : at + QUERIES_AT_ONCE] for at in range(0, len(inputs), QUERIES_AT_ONCE)]
    empty = np.zeros((0, searcher.embedder.dim), np.float32)
    return np.concatenate([empty, *(searcher.embedder.embed(batch) for batch in batches)])


# -- learning ----------------------------------------------------------------------------------


def _learn(
    model_id: str, words: Sequence[_Words], chunks: dict[Kind, _Chunks], anchors: np.ndarray, setting: _Setting
) -> QueryAdapter:
    """The ridge regression of this file's docstring, in its dual form: M = T' (Q Q' + ridge)^-1 Q."""
    queries = np.stack([*(w.query for w in words), *anchors]).astype(np.float64)
    targets = np.zeros_like(queries)
    for n, w in enumerate(words):
        if setting.others_stay and not w.is_click:
            continue
        centred = [chunks[kind].vectors[rows].mean(axis=0) - chunks[kind].mean for kind, rows in w.targets.items()]
        mean = np.mean(centred, axis=0)
        targets[n] = mean / max(float(np.linalg.norm(mean)), 1e-9)
    gram = queries @ queries.T + setting.ridge * np.eye(len(queries))
    shift = setting.strength * targets.T @ np.linalg.solve(gram, queries)
    return QueryAdapter(model_id, shift.astype(np.float32), np.asarray(~queries.any(axis=0)))


def _best_setting(
    folds: Sequence[Sequence[_Words]], chunks: dict[Kind, _Chunks], anchors: np.ndarray, clicks_decide: bool
) -> _Setting:
    """Returns the setting with which the deciding words of each fold are ranked best after learning from the other
    folds; its strength is 0 if none is better than the model as it is."""
    as_it_is = _Setting(RIDGES[-1], 0.0)
    deciding: dict[_Setting, float] = defaultdict(float)
    guard: dict[_Setting, float] = defaultdict(float)
    for n, fold in enumerate(folds):
        queries = np.stack([w.query for w in fold])
        decides = np.array([w.is_click == clicks_decide for w in fold])

        def add(setting: _Setting, adapted: np.ndarray, fold: Any = fold, decides: np.ndarray = decides) -> None:
            scores = _discounts(fold, adapted, chunks)
            deciding[setting] += float(scores[decides].sum())
            guard[setting] += float(scores[~decides].sum())

        add(as_it_is, queries)
        others = [w for m, other in enumerate(folds) if m != n for w in other]
        for others_stay in (False, True) if clicks_decide else (False,):
            for ridge in RIDGES:
                unit = _learn("", others, chunks, anchors, _Setting(ridge, 1.0, others_stay))
                for strength in STRENGTHS:
                    adapter = QueryAdapter("", np.float32(strength) * unit.shift, unit.open_)
                    add(_Setting(ridge, strength, others_stay), adapter.adapt(queries))
    allowed = [setting for setting in deciding if guard[setting] >= (1 - LOSS) * guard[as_it_is]]
    return max(allowed, key=lambda setting: (deciding[setting], -setting.strength))


def _discounts(words: Sequence[_Words], queries: np.ndarray, chunks: dict[Kind, _Chunks]) -> np.ndarray:
    """Returns 1 / log2(1 + rank) of the chunks that the words mean, among all chunks of their kind and by meaning
    alone: their mean, float64 [n]. Unlike a metric cut at ten it tells the ranks 11 and 400 apart."""
    sums, counts = np.zeros(len(words)), np.zeros(len(words))
    for kind, of_kind in chunks.items():
        with_kind = [n for n, w in enumerate(words) if kind in w.targets]
        if not with_kind:
            continue
        for n, scores in zip(with_kind, queries[with_kind] @ of_kind.vectors.T, strict=True):
            own = np.sort(scores[words[n].targets[kind]])
            above = len(scores) - np.searchsorted(np.sort(scores), own, side="right")
            sums[n] += (1 / np.log2(2 + above)).sum()
            counts[n] += len(own)
    return sums / np.maximum(counts, 1)


def _compared(before: np.ndarray, after: np.ndarray) -> Comparison:
    noise = float((after - before).std(ddof=1) / np.sqrt(len(before)))
    return Comparison(len(before), float(before.mean()), float(after.mean()), noise)
