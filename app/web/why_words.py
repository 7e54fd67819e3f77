"""Why a chunk is a hit, as sentences for a person.

Built around `indexer.types.Why` alone. It knows nothing of how the facts are computed, nor of pages.
"""

from __future__ import annotations

from indexer.types import MARK, UNMARK, Kind, Query, Why

PLACES = {
    "name": "its name",
    "folder": "its folder's name",
    "caption": "its caption",
    "picture": "its caption or the words read in it",
    "page": "the text of the page",
    "speech": "what is said",
}
KINDS: dict[Kind, tuple[str, str]] = {
    "image": ("photo", "photos"),
    "video": ("stretch of video", "stretches of video"),
    "pdf": ("page", "pages"),
}
FEW = 50
"""Chunks among which a place is told."""
USUAL = 0.6
"""A share of the others that is too small to be told."""


def sentences(why: Why, kind: Kind, query: Query) -> list[str]:
    """Returns one sentence for each word that stands somewhere, and how near the chunk is by looks; words stand between
    `MARK` and `UNMARK`."""
    lines = [
        f"{MARK}{one.word}{UNMARK} stands in {', '.join(PLACES.get(place, place) for place in one.places)}."
        for one in why.words
    ]
    if not lines and query.text.strip():
        lines.append("None of the words stands in it: it was found by what it shows.")
    if why.looks is not None:
        lines.append(_closeness(why, kind, in_words=all(part.text for part in query.parts)))
    return lines


def _closeness(why: Why, kind: Kind, *, in_words: bool) -> str:
    assert why.looks is not None
    one, many = KINDS[kind]
    target = "your words" if in_words else "what you look for"
    how = "In meaning" if in_words and kind == "pdf" else "By its looks"
    rank, of = why.looks.rank, why.looks.of
    if rank is not None and of is not None:
        if of == 1:
            return f"{how} there is no other {one} to compare it with."
        if rank == 1:
            return f"{how} it is the closest to {target} of your {of:,} {many}."
        if of < FEW and 2 * rank <= of:
            return f"{how} it is number {rank} of your {of:,} {many}, by closeness to {target}."
    if why.looks.closer_than < USUAL:
        found = ": it was found by its words" if why.words else ""
        return f"{how} it is no closer to {target} than most of your {many}{found}."
    return f"{how} it is closer to {target} than {min(99, int(100 * why.looks.closer_than))} % of your {many}."
