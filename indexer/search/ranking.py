"""Several kinds of evidence to one list, the line between relevant and not, moments.

Built around `Evidence`: how far a chunk's meaning stands above the background, and how much
of what the query's words tell its text and its file's name hold. One number comes out of it:
the list is in its order, it is what is shown, and it is what is cut. It knows nothing of
where the evidence came from.

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

from indexer.search.hit_facts import Fact
from indexer.search.text_search import ALL, EXACT, Found

TEXT_WEIGHT, NAME_WEIGHT = 3.0, 8.0
"""What all words of a query in a chunk's text, or in its file's name, are worth in standard deviations.
Words of a name are few and chosen; those of a page are many."""
SAID_WEIGHT = 6.0
"""The same in what is said in a film: a window has no meaning of its words beside it, as a page has. Pages of
the sample set said in films, 75 words a window, asked for as the pages are: MRR among films at 3.0 .43,
4.5 .51, 6.0 .56, 7.5 .58; text to photo beside them .489, .489, .487, .474, to stamp .819 to .811."""
EXACT_BONUS = 20.0
"""Above all that meaning alone reaches: exact words always win."""

LINE = 3.0
"""Relevant from here on, if the library holds an answer at all."""
SURE_MEANING = 6.75
SURE_TEXT, SURE_NAME, SURE_ALIKE, SURE = 7.0, 5.0, 1.35, 7.8
"""Whether it does is asked with more care, of one chunk: its meaning alone must reach SURE_MEANING, or
meaning and words by these weights SURE. A name counts less by the words it shares with the query than by
what it means beside it (`title_match.py`): "a jar of honey" shares one with a jar. Chosen on the tune half
of the sample set among twenty times as many distractors (lite, OCR on), 10 % of answerable queries refused.
Unanswerable ones then refused: 84 and 86 % on the halves; without what names mean 72 %. The whole curve:
`make bench-quality`."""
SURE_SAID = 8.0
"""All words of a query said in one window are an answer. For those questions the right film was above the
line in 71 % at 7.0 and in 91 % at 8.0; 88 % of unanswerable ones were refused, 11 % of others, at both."""
LOOKED_AT = 3
"""Names that are read so, of the best by words; twelve refuse no more."""
READ_WEIGHT, READ_USUAL = 0.5, 3.0
"""What was read also moves these few, by so much a deviation from what a name that shares a word usually has:
MRR of text to photo .458 to .487, to stamp .788 to .805 among distractors, .559 to .571 and .808 to .824
without; weight 1 gives the same."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """`meaning`: standardised score by chunk id. `in_text`: chunks by words. `named`: (tier, coverage) by
    chunk id, of those whose file's name or folder holds the words. `in_words`: the query is text alone.
    `alike`: how near the names of some chunks' files come to the query in meaning, in standard deviations;
    asked only where all else leaves it open whether there is an answer."""

    meaning: dict[int, float]
    in_text: Found
    named: dict[int, tuple[int, float]]
    in_words: bool = True
    alike: Callable[[list[int]], Sequence[float]] = lambda ids: [0.0] * len(ids)


class Ranked(NamedTuple):
    """A place in the ranking. `start_s` and `end_s` are a moment's own, None for a single chunk."""

    fact: Fact
    score: float
    relevant: bool
    worded: bool = False
    """Its text holds words of the query."""
    start_s: float | None = None
    end_s: float | None = None
    windows: tuple[int, ...] = ()


def ranked(evidence: Evidence, facts: dict[int, Fact]) -> list[Ranked]:
    """Best first; the relevant ones are at the top, or there are none."""
    found = evidence.in_text
    ids = found.ids.tolist()
    text = dict(zip(ids, found.coverage.tolist(), strict=True))
    exact = {n for n, tier in zip(ids, found.tiers.tolist(), strict=True) if tier == EXACT}
    exact.update(n for n, (tier, _) in evidence.named.items() if tier == EXACT)
    by_meaning_alone = (evidence.meaning.keys() & facts.keys()) - text.keys() - evidence.named.keys()
    listed = [(evidence.meaning[number], number) for number in by_meaning_alone]
    worded: list[tuple[float, int]] = []
    for number in {*text, *evidence.named}.intersection(facts):
        # Words that are there are there, however unlike the page seems.
        meaning = max(evidence.meaning.get(number, 0.0), 0.0)
        in_text, in_name = text.get(number, 0.0), evidence.named.get(number, (0, 0.0))[1]
        bonus = EXACT_BONUS if number in exact else 0.0
        said = facts[number].kind == "video"
        weight, sure_weight = (SAID_WEIGHT, SURE_SAID) if said else (TEXT_WEIGHT, SURE_TEXT)
        listed.append((meaning + weight * in_text + NAME_WEIGHT * in_name + bonus, number))
        worded.append((meaning + sure_weight * in_text + SURE_NAME * in_name, number))
    sure = (
        not evidence.in_words
        or not exact.isdisjoint(facts)
        or any(evidence.meaning.get(number, 0.0) >= SURE_MEANING for number in facts)
        or any(score >= SURE for score, _ in worded)
        # A name (with its folders) that holds every word.
        or any(evidence.named.get(number, (0, 0.0))[0] >= ALL for _, number in worded)
    )
    read = {} if sure else _read(worded, evidence)
    answered = sure or any(
        score + SURE_ALIKE * max(0.0, read[number]) >= SURE for score, number in worded if number in read
    )
    if read:
        listed = [(score + _moved(read.get(number)), number) for score, number in listed]
    listed.sort(key=lambda pair: (-pair[0], pair[1]))
    return [
        Ranked(facts[number], score, answered and score >= LINE, number in text) for score, number in listed
    ]


def _read(worded: Sequence[tuple[float, int]], evidence: Evidence) -> dict[int, float]:
    """What the names of the best few mean beside the query. `worded`: (evidence but for that, chunk)."""
    named = [(score, number) for score, number in worded if number in evidence.named]
    # Equals by what they mean: names may share words, and databases number chunks each in its own order.
    named.sort(key=lambda pair: (-round(pair[0], 6), -evidence.meaning.get(pair[1], 0.0), pair[1]))
    best = [number for _, number in named[:LOOKED_AT]]
    return dict(zip(best, evidence.alike(best), strict=True)) if best else {}


def _moved(alike: float | None) -> float:
    return 0.0 if alike is None else READ_WEIGHT * max(-READ_USUAL, alike - READ_USUAL)


def merged_moments(ranking: Sequence[Ranked]) -> list[Ranked]:
    """Adjacent windows of one video above the line as one hit, in the place of the best of them."""
    runs: dict[bytes, dict[int, Ranked]] = {}
    for found in ranking:
        if found.relevant and found.fact.kind == "video":
            runs.setdefault(found.fact.content, {})[found.fact.ordinal] = found
    if all(len(windows) == 1 for windows in runs.values()):
        return list(ranking)
    result: list[Ranked] = []
    merged: set[int] = set()
    for found in ranking:
        if found.fact.chunk_id in merged:
            continue
        windows = runs.get(found.fact.content, {}) if found.relevant else {}
        first = last = found.fact.ordinal
        while first - 1 in windows:
            first -= 1
        while last + 1 in windows:
            last += 1
        if first < last:
            parts = [windows[n].fact for n in range(first, last + 1)]
            merged.update(p.chunk_id for p in parts)
            found = found._replace(
                start_s=parts[0].start_s,
                end_s=parts[-1].end_s,
                windows=tuple(p.chunk_id for p in parts),
            )
        result.append(found)
    return result
