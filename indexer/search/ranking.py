"""Ranking: several kinds of evidence to one list, the line of relevance, moments.

Built around `Evidence`: how far a chunk's score by meaning is above the background, and the share of the query's
information in its text and in its file's name. They are combined into one score, which sorts the list, is shown,
and is compared with the line. The weights belong to the model (`RankingProfile`). It knows nothing of where the
evidence comes from.

Adding evidence was measured against reciprocal rank fusion on the sample set (lite, no OCR;
MRR of text to photo / stamp / video / page, all kinds mixed; better single list .34 / .60 /
.21 / .85): reciprocal ranks .40 / .67 / .08 / .85, weighted by tier .54 / .81 / .16 / .82;
added .58 / .82 / .22 / .89. A rank does not tell how good a match is, and the best match by words is mostly a
poor one: a chunk with one common word of five may be first.
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
"""More than any score by meaning: exact matches always come first."""

NAMES_COMPARED = 3
"""Names, of the best by words, whose meaning is compared with the query; twelve change nothing (lite)."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """`meaning`: chunk id -> standardised score. `in_text`: chunks by words. `named`: chunk id -> (tier, coverage) of
    the chunks whose file's name or folder has words of the query. `in_words`: the query is text alone. `alike`:
    returns how near the names of some chunks' files are to the query in meaning, in standard deviations; it is
    called only if no other evidence is sure."""

    meaning: dict[int, float]
    in_text: WordMatches
    named: dict[int, tuple[int, float]]
    in_words: bool = True
    alike: Callable[[list[int]], Sequence[float]] = lambda ids: [0.0] * len(ids)
    literal: frozenset[int] = frozenset()
    """For a query of one word: the chunks with the word as typed, in their text or file's name."""


class Ranked(NamedTuple):
    """A place in the ranking. `span`: of the chunk, or of all `windows` (chunk ids) of a moment."""

    fact: Fact
    score: float
    relevant: bool
    span: Span
    worded: bool = False
    """Whether its text has words of the query."""
    windows: tuple[int, ...] = ()
    folded: int = 0
    """How many further chunks of its content stand under it (`folding.py`)."""


def ranked(evidence: Evidence, facts: dict[int, Fact], profile: RankingProfile) -> list[Ranked]:
    """Returns the ranking, best first; the relevant places, if there are any, are at the top."""
    in_text = evidence.in_text
    ids = in_text.ids.tolist()
    text = dict(zip(ids, in_text.coverage.tolist(), strict=True))
    exact = {n for n, tier in zip(ids, in_text.tiers.tolist(), strict=True) if tier == EXACT}
    exact.update(n for n, (tier, _) in evidence.named.items() if tier == EXACT)
    literal = evidence.literal.intersection(facts)
    if len(literal) == 1:  # the only chunk with the word
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
        # A name (with its folders) has all words.
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
    """Returns chunk id -> how near the name is to the query, for the best few chunks. `worded`: (score, chunk id)."""
    named = [(score, number) for score, number in worded if number in evidence.named]
    # Equal scores are sorted by meaning: names may share words, and ids differ between databases.
    named.sort(key=lambda pair: (-round(pair[0], 6), -evidence.meaning.get(pair[1], 0.0), pair[1]))
    best = [number for _, number in named[:NAMES_COMPARED]]
    return dict(zip(best, evidence.alike(best), strict=True)) if best else {}


def _shift(alike: float | None, profile: RankingProfile) -> float:
    if alike is None:
        return 0.0
    return profile.read_weight * max(-profile.read_usual, alike - profile.read_usual)


def merged_moments(ranking: Sequence[Ranked]) -> list[Ranked]:
    """Returns the ranking with adjacent relevant windows of one video merged, at the place of the best one."""
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
