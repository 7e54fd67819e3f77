"""Several lists to one: reciprocal rank fusion, the line between relevant and not, moments.

Built around `Evidence`: how far a chunk's meaning stands above the background, and what
of the query's words its text and its file's name hold. The score that is shown is the
score that is cut. It knows nothing of where the evidence came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from indexer.facts import Fact
from indexer.words import ALL, EXACT, SOME, Found

RRF_K = 60.0
"""The customary constant (Cormack, Clarke and Büttcher, SIGIR 2009)."""

LINE = 3.0
"""Relevant from here, in standard deviations above the background, words counted in."""
BONUS = {SOME: 1.0, ALL: 3.0, EXACT: 5.0}
"""What words are worth on that scale."""
TEXT_WEIGHT, NAME_WEIGHT = 1.0, 1.0


@dataclass(frozen=True, eq=False)
class Evidence:
    """`meaning`: standardised score by chunk id. `in_text`: chunks by words. `named`: (tier, score) by
    chunk id, of those whose file's name or folder holds the words."""

    meaning: dict[int, float]
    in_text: Found
    named: dict[int, tuple[int, float]]


@dataclass(frozen=True)
class Ranked:
    """A place in the ranking. `start_s` and `end_s` are a moment's own, None for a single chunk."""

    fact: Fact
    score: float
    relevant: bool
    fused: float
    start_s: float | None = None
    end_s: float | None = None
    windows: tuple[int, ...] = ()


def ranked(evidence: Evidence, facts: dict[int, Fact]) -> list[Ranked]:
    """Best first: what is above the line before what is below, exact words first, then by fused ranks."""
    fused: dict[int, float] = {}
    tiers: dict[int, int] = {}
    by_meaning = sorted((i for i in evidence.meaning if i in facts), key=lambda i: (-evidence.meaning[i], i))
    by_text = [i for i in evidence.in_text.ids.tolist() if i in facts]
    by_name = [i for i in evidence.named if i in facts]
    for ids, weight in ((by_meaning, 1.0), (by_text, TEXT_WEIGHT), (by_name, NAME_WEIGHT)):
        for rank, number in enumerate(ids, 1):
            fused[number] = fused.get(number, 0.0) + weight / (RRF_K + rank)
    for number, tier in zip(evidence.in_text.ids.tolist(), evidence.in_text.tiers.tolist(), strict=True):
        tiers[number] = tier
    for number, (tier, _) in evidence.named.items():
        tiers[number] = max(tier, tiers.get(number, 0))
    result = []
    for number, value in fused.items():
        tier = tiers.get(number, 0)
        meaning = evidence.meaning.get(number, 0.0)
        # Words that are there are there, however unlike the model finds the page.
        score = max(meaning, 0.0) + BONUS[tier] if tier else meaning
        result.append(Ranked(facts[number], score, score >= LINE, value + (tier == EXACT)))
    result.sort(key=lambda r: (-r.relevant, -r.fused, r.fact.chunk_id))
    return result


def merged_moments(ranking: Sequence[Ranked]) -> list[Ranked]:
    """Adjacent windows of one video above the line as one hit, in the place of the best of them."""
    runs: dict[bytes, dict[int, Ranked]] = {}
    for found in ranking:
        if found.relevant and found.fact.kind == "video":
            runs.setdefault(found.fact.content, {})[found.fact.ordinal] = found
    result: list[Ranked] = []
    merged: set[int] = set()
    for found in ranking:
        if found.fact.chunk_id in merged:
            continue
        windows = runs.get(found.fact.content, {}) if found.relevant else {}
        first = last = found.fact.ordinal
        while first - 1 in windows and windows[first - 1].fact.chunk_id not in merged:
            first -= 1
        while last + 1 in windows and windows[last + 1].fact.chunk_id not in merged:
            last += 1
        if first < last:
            parts = [windows[n].fact for n in range(first, last + 1)]
            merged.update(p.chunk_id for p in parts)
            found = replace(
                found,
                start_s=parts[0].start_s,
                end_s=parts[-1].end_s,
                windows=tuple(p.chunk_id for p in parts),
            )
        result.append(found)
    return result
