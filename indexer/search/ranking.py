"""Several kinds of evidence to one list, the line between relevant and not, moments.

Built around `Evidence`: how far a chunk's meaning stands above the background, and how much
of what the query's words tell its text and its file's name hold. One number comes out of it:
the list is in its order, it is what is shown, and it is what is cut. How evidence weighs is the model's own
(`RankingProfile`). It knows nothing of where the evidence comes from.

Adding evidence was measured against reciprocal rank fusion on the sample set (lite, no OCR;
MRR of text to photo / stamp / video / page, all kinds mixed; better single list .34 / .60 /
.21 / .85): reciprocal ranks .40 / .67 / .08 / .85, weighted by tier .54 / .81 / .16 / .82;
added .58 / .82 / .22 / .89. A rank says nothing of how sure a list is, and word lists mostly
are not: one common word of five found puts a chunk at their top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from data.span import Span
from indexer.search.hit_facts import Fact
from indexer.search.text_search import ALL, EXACT, WordMatches
from model.ranking_profile import RankingProfile

EXACT_BONUS = 20.0
"""Above all that meaning alone reaches: exact words always win."""

NAMES_COMPARED = 3
"""Names whose meaning is compared with the query, of the best by words; twelve refuse no more (lite)."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """`meaning`: standardised score by chunk id. `in_text`: chunks by words. `named`: (tier, coverage) by
    chunk id, of those whose file's name or folder holds the words. `in_words`: the query is text alone.
    `alike`: how near the names of some chunks' files come to the query in meaning, in standard deviations;
    asked only where all else leaves it open whether there is an answer."""

    meaning: dict[int, float]
    in_text: WordMatches
    named: dict[int, tuple[int, float]]
    in_words: bool = True
    alike: Callable[[list[int]], Sequence[float]] = lambda ids: [0.0] * len(ids)
    literal: frozenset[int] = frozenset()
    """The query is one word: chunks where it stands as it was typed, in the text or the file's name."""


class Ranked(NamedTuple):
    """A place in the ranking. A moment has the span of its `windows`, a single chunk its own."""

    fact: Fact
    score: float
    relevant: bool
    span: Span
    worded: bool = False
    """Its text holds words of the query."""
    windows: tuple[int, ...] = ()


def ranked(evidence: Evidence, facts: dict[int, Fact], profile: RankingProfile) -> list[Ranked]:
    """Best first; the relevant ones are at the top, or there are none."""
    in_text = evidence.in_text
    ids = in_text.ids.tolist()
    text = dict(zip(ids, in_text.coverage.tolist(), strict=True))
    exact = {n for n, tier in zip(ids, in_text.tiers.tolist(), strict=True) if tier == EXACT}
    exact.update(n for n, (tier, _) in evidence.named.items() if tier == EXACT)
    literal = evidence.literal.intersection(facts)
    if len(literal) == 1:  # where the word stands, and nowhere else
        exact |= literal
    by_meaning_alone = (evidence.meaning.keys() & facts.keys()) - text.keys() - evidence.named.keys()
    listed = [(evidence.meaning[number], number) for number in by_meaning_alone]
    worded: list[tuple[float, int]] = []
    for number in {*text, *evidence.named}.intersection(facts):
        # A text match is never penalised for a low semantic score.
        meaning = max(evidence.meaning.get(number, 0.0), 0.0)
        share, in_name = text.get(number, 0.0), evidence.named.get(number, (0, 0.0))[1]
        bonus = EXACT_BONUS if number in exact else 0.0
        weight, sure_weight = profile.text_weight, profile.sure_text
        if facts[number].kind == "video":
            weight, sure_weight = profile.said_weight, profile.sure_said
        score = meaning + weight * share + profile.name_weight * in_name + bonus
        listed.append((max(score, profile.line) if number in literal else score, number))
        worded.append((meaning + sure_weight * share + profile.sure_name * in_name, number))
    sure = (
        not evidence.in_words
        or bool(literal)
        or not exact.isdisjoint(facts)
        or any(evidence.meaning.get(number, 0.0) >= profile.sure_meaning for number in facts)
        or any(score >= profile.sure for score, _ in worded)
        # A name (with its folders) that holds every word.
        or any(evidence.named.get(number, (0, 0.0))[0] >= ALL for _, number in worded)
    )
    near = {} if sure or not profile.sure_alike else _nearness(worded, evidence)
    answered = sure or any(
        score + profile.sure_alike * max(0.0, near[number]) >= profile.sure
        for score, number in worded
        if number in near
    )
    if near:
        listed = [(score + _shift(near.get(number), profile), number) for score, number in listed]
    listed.sort(key=lambda pair: (-pair[0], pair[1]))
    return [
        Ranked(facts[n], score, answered and score >= profile.line, facts[n].span, n in text) for score, n in listed
    ]


def _nearness(worded: Sequence[tuple[float, int]], evidence: Evidence) -> dict[int, float]:
    """How near the names of the best few come to the query. `worded`: (evidence but for that, chunk)."""
    named = [(score, number) for score, number in worded if number in evidence.named]
    # Equals by what they mean: names may share words, and databases number chunks each in its own order.
    named.sort(key=lambda pair: (-round(pair[0], 6), -evidence.meaning.get(pair[1], 0.0), pair[1]))
    best = [number for _, number in named[:NAMES_COMPARED]]
    return dict(zip(best, evidence.alike(best), strict=True)) if best else {}


def _shift(alike: float | None, profile: RankingProfile) -> float:
    if alike is None:
        return 0.0
    return profile.read_weight * max(-profile.read_usual, alike - profile.read_usual)


def merged_moments(ranking: Sequence[Ranked]) -> list[Ranked]:
    """Adjacent windows of one video above the line as one hit, in the place of the best of them."""
    runs: dict[bytes, dict[int, Ranked]] = {}
    for place in ranking:
        if place.relevant and place.fact.kind == "video":
            runs.setdefault(place.fact.content, {})[place.fact.ordinal] = place
    if all(len(windows) == 1 for windows in runs.values()):
        return list(ranking)
    result: list[Ranked] = []
    merged: set[int] = set()
    for place in ranking:
        if place.fact.chunk_id in merged:
            continue
        windows = runs.get(place.fact.content, {}) if place.relevant else {}
        first = last = place.fact.ordinal
        while first - 1 in windows:
            first -= 1
        while last + 1 in windows:
            last += 1
        if first < last:
            parts = [windows[n].fact for n in range(first, last + 1)]
            merged.update(p.chunk_id for p in parts)
            span = Span(parts[0].span.start_s, parts[-1].span.end_s)
            place = place._replace(span=span, windows=tuple(p.chunk_id for p in parts))
        result.append(place)
    return result
