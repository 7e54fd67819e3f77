"""How search weighs a model's scores: what was measured with one model holds for that model alone.

Built around one record that travels with the model (`profile` of an embedder). A model that brings none is
untuned: words, names and kinds weigh alike, and only chance decides whether a library holds an answer. It
knows nothing of where the scores come from (`indexer/search/ranking.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

LINE = 3.0
CHANCE = 0.05
"""An untuned model answers by mistake in so many libraries that hold no answer, were their scores normal."""


@dataclass(frozen=True)
class RankingProfile:
    """Scores, shifts and lines are in standard deviations above what queries score by chance."""

    line: float
    """A hit is relevant from here on, if the library holds an answer at all."""
    video_shift: float
    """In one list of all kinds, a window of a video stands so much higher."""
    page_weight: float
    """In that list, a page counts for so much of its own score."""
    own_background: float
    """How far a text query's own background counts against that of ordinary queries, 0 to 1."""
    text_weight: float
    name_weight: float
    said_weight: float
    """What all words of a query are worth in a chunk's text, in its file's name, and said in a video."""
    sure_meaning: float
    sure: float
    """The library holds an answer if the meaning of one chunk reaches `sure_meaning`, or its meaning and
    words, by the weights below, reach `sure`."""
    sure_text: float
    sure_name: float
    sure_said: float
    sure_alike: float
    """The last one weighs how near the meaning of a file's name comes to the query (`title_match.py`)."""
    read_weight: float
    read_usual: float
    """The few names that are compared so move by `read_weight` for each deviation from `read_usual`."""
    avoided: float
    """What to avoid counts for so much of what to look for."""
    words_beside_picture: float
    """The weight of words in a query that holds a picture as well."""


def untuned(size: int) -> RankingProfile:
    """The profile for a model that brings none, over a library of `size` chunks."""
    by_chance = max(LINE, NormalDist().inv_cdf(1 - CHANCE / max(size, 1)))
    return RankingProfile(
        line=LINE,
        video_shift=0.0,
        page_weight=1.0,
        own_background=0.5,
        text_weight=LINE,
        name_weight=LINE,
        said_weight=LINE,
        sure_meaning=by_chance,
        sure=by_chance,
        sure_text=LINE,
        sure_name=LINE,
        sure_said=LINE,
        sure_alike=0.0,
        read_weight=0.0,
        read_usual=0.0,
        avoided=1.0,
        words_beside_picture=1.0,
    )
