"""Ranking: several kinds of evidence to one list, the line of relevance, moments.

Built around `Evidence`: how far a chunk's score by meaning is above the background, and the share of the query's
information in its text and in its file's name. They are combined into one score, which sorts the list and is shown.
Whether an image or a page is an answer to words is asked of that chunk alone, by its contrast and its words, so the
verdict holds while the library grows; a video window is judged by its score, and so is everything for a query with
files. Beside an answer, chunks a little below their line are relevant too. One word names a thing: where the model
knows it, images found by looks alone must be about as near as the best one, and where it does not, none is an answer.
The weights belong to the model (`RankingProfile`). It knows nothing of where the evidence comes from.

Adding evidence was measured against reciprocal rank fusion on the sample set (lite, no OCR;
MRR of text to photo / stamp / video / page, all kinds mixed; better single list .34 / .60 /
.21 / .85): reciprocal ranks .40 / .67 / .08 / .85, weighted by tier .54 / .81 / .16 / .82;
added .58 / .82 / .22 / .89. A rank does not tell how good a match is, and the best match by words is mostly a
poor one: a chunk with one common word of five may be first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import NamedTuple

from data.span import Span
from indexer.search.hit_facts import Fact
from indexer.search.text_search import ALL, EXACT, WordMatches
from model.ranking_profile import RankingProfile

EXACT_BONUS = 20.0
"""More than any score by meaning: exact matches always come first."""

NAMES_COMPARED = 3
"""Names, of the best by words, whose meaning is compared with the query; twelve change nothing (lite)."""
USUALLY_ALIKE, LEAST_ALIKE = 2.0, -2.0
"""How near a name with words of the query usually is, taken where it is not compared; and the least that counts."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """`meaning`: chunk id -> standardised score. `in_text`: chunks by words. `named`: chunk id -> (tier, coverage) of
    the chunks whose file's name or folder has words of the query. `in_words`: the query is text alone. `alike`:
    returns how near the names of some chunks' files are to the query in meaning, in standard deviations; it is
    called only if no chunk is an answer without it."""

    meaning: dict[int, float]
    in_text: WordMatches
    named: dict[int, tuple[int, float]]
    in_words: bool = True
    alike: Callable[[list[int]], Sequence[float]] = lambda ids: [0.0] * len(ids)
    literal: frozenset[int] = frozenset()
    """For a query of one word: the chunks with the word as typed, in their text or file's name."""
    contrast: dict[int, float] = field(default_factory=dict)
    """chunk id -> contrast (`calibration.py`), for a query in words."""
    familiarity: float | None = None
    """Of a query of one word, how well the model knows in pictures what it means; None for any other query, and for a
    model that cannot tell."""


class Ranked(NamedTuple):
    """A place in the ranking. `span`: of the chunk, or of all `windows` (chunk ids) of a moment."""

    fact: Fact
    score: float
    relevant: bool
    span: Span
    has_query_words: bool = False
    """Whether its text has words of the query."""
    windows: tuple[int, ...] = ()
    folded: int = 0
    """How many further chunks of its content stand under it (`folding.py`)."""


def ranked(evidence: Evidence, facts: dict[int, Fact], profile: RankingProfile) -> list[Ranked]:
    """Returns the ranking: the relevant places first, if there are any, each part best first."""
    in_text = evidence.in_text
    ids = in_text.ids.tolist()
    text = dict(zip(ids, in_text.coverage.tolist(), strict=True))
    exact = {n for n, tier in zip(ids, in_text.tiers.tolist(), strict=True) if tier == EXACT}
    exact.update(n for n, (tier, _) in evidence.named.items() if tier == EXACT)
    literal = evidence.literal.intersection(facts)
    if len(literal) == 1:  # the only chunk with the word
        exact |= literal
    scores = {n: evidence.meaning[n] for n in (evidence.meaning.keys() & facts.keys())}
    for number in {*text, *evidence.named}.intersection(facts):
        # A text match is never penalised for a low semantic score.
        weight = profile.speech_weight if facts[number].kind == "video" else profile.text_weight
        in_name = profile.name_weight * evidence.named.get(number, (0, 0.0))[1]
        bonus = EXACT_BONUS if number in exact else 0.0
        scores[number] = max(scores.get(number, 0.0), 0.0) + weight * text.get(number, 0.0) + in_name + bonus
    if not evidence.in_words:
        order = sorted(scores, key=lambda n: (-scores[n], n))
        return [Ranked(facts[n], scores[n], scores[n] >= profile.line, facts[n].span, n in text) for n in order]
    all_text = {n for n, tier in zip(ids, in_text.tiers.tolist(), strict=True) if tier >= ALL}
    answers = _Answers(evidence, text, all_text, exact | literal, facts, profile)
    margins = answers.margins(scores)
    if profile.likeness_bonus and not any(margin >= 0 for margin in margins.values()):
        near = _nearness([(margins[n], n) for n in evidence.named if n in margins], evidence)
        for number, alike in near.items():
            margins[number] = answers.margin(number, max(alike, LEAST_ALIKE))
            scores[number] += profile.likeness_weight * max(-profile.usual_likeness, alike - profile.usual_likeness)
    answered = any(margin >= 0 for margin in margins.values())
    relevant = {n for n in scores if answered and margins[n] >= -answers.slack(n)}
    order = sorted(scores, key=lambda n: (n not in relevant, -scores[n], n))
    return [Ranked(facts[n], scores[n], n in relevant, facts[n].span, n in text) for n in order]


@dataclass(frozen=True, eq=False)
class _Answers:
    """Whether a chunk is an answer by itself: `margin` >= 0."""

    evidence: Evidence
    text: dict[int, float]
    """Chunk id -> the share of the query's information in its text."""
    all_text: set[int]
    """The chunks with all words of the query in their text."""
    certain: set[int]
    """The chunks with the query as typed."""
    facts: dict[int, Fact]
    profile: RankingProfile

    def margins(self, numbers: Iterable[int]) -> dict[int, float]:
        """Returns chunk id -> margin. Most chunks have none of the words, and a simple one."""
        evidence, profile, facts = self.evidence, self.profile, self.facts
        lines = {
            "video": (evidence.meaning, profile.video_line),
            "pdf": (evidence.contrast, profile.page_line),
            "image": (evidence.contrast, profile.image_line),
        }
        margins: dict[int, float] = {}
        for number in numbers:
            kind = facts[number].kind
            if number in self.text or number in evidence.named or number in self.certain:
                margins[number] = self.margin(number)
            elif kind == "image" and evidence.familiarity is not None:
                margins[number] = self._by_looks(number)
            else:
                by, line = lines[kind]
                margins[number] = by.get(number, 0.0) - line
        return margins

    @cached_property
    def _best_image(self) -> float:
        """The highest score by meaning of an image."""
        meaning = self.evidence.meaning
        return max(
            (meaning[n] for n in meaning.keys() & self.facts.keys() if self.facts[n].kind == "image"), default=0.0
        )

    def _by_looks(self, number: int) -> float:
        """Returns how far an image is above its line by its looks alone. For a query of one word, -inf below it: what
        is a little below is another thing of its sort."""
        evidence, profile = self.evidence, self.profile
        contrast = evidence.contrast.get(number, 0.0)
        if evidence.familiarity is None:
            return contrast - profile.image_line
        meaning = evidence.meaning.get(number, 0.0)
        near = contrast >= profile.word_line and meaning >= profile.word_share * self._best_image
        sure = contrast >= profile.word_sure_line and meaning >= profile.word_sure_share * self._best_image
        known = evidence.familiarity >= profile.word_familiarity
        return contrast - profile.word_line if known and (near or sure) else -inf

    def margin(self, number: int, alike: float = USUALLY_ALIKE) -> float:
        """Returns how far a chunk is above its line, by meaning or by words. `alike`: how near its file's name is."""
        profile, kind = self.profile, self.facts[number].kind
        if number in self.certain:
            return EXACT_BONUS
        contrast = self.evidence.contrast.get(number, 0.0)
        share, whole = self.text.get(number, 0.0), number in self.all_text
        if kind == "video":
            margin = self.evidence.meaning.get(number, 0.0) - profile.video_line
            if share:
                margin = max(margin, max(contrast, 0.0) + profile.speech_bonus * share - profile.speech_line)
        elif kind == "pdf":
            margin = contrast + profile.text_bonus * share + profile.all_text_bonus * whole - profile.page_line
        else:
            margin = self._by_looks(number)
            if share:  # a caption, or words in the picture
                margin = max(margin, self._margin_of_name(contrast, share, whole, 0.0))
        tier, in_name = self.evidence.named.get(number, (0, 0.0))
        if tier:
            margin = max(margin, self._margin_of_name(contrast, in_name, tier >= ALL, alike))
        return max(margin, 0.0) if tier >= ALL else margin

    def _margin_of_name(self, contrast: float, share: float, whole: bool, alike: float) -> float:
        profile = self.profile
        words = profile.name_bonus * share + profile.all_name_bonus * whole + profile.likeness_bonus * alike
        return contrast + words - profile.name_line

    def slack(self, number: int) -> float:
        """Returns how far below its line a chunk is relevant beside an answer."""
        has_words = number in self.text or number in self.evidence.named
        return self.profile.slack_with_words if has_words else self.profile.slack


def _nearness(named: list[tuple[float, int]], evidence: Evidence) -> dict[int, float]:
    """Returns chunk id -> how near the name is to the query, for the best few. `named`: (margin, chunk id)."""
    # Equal scores are sorted by meaning: names may share words, and ids differ between databases.
    named.sort(key=lambda pair: (-round(pair[0], 6), -evidence.meaning.get(pair[1], 0.0), pair[1]))
    best = [number for _, number in named[:NAMES_COMPARED]]
    return dict(zip(best, evidence.alike(best), strict=True)) if best else {}


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
