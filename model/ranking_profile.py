"""The weights of search for one model; they hold only for the model that they were tuned with.

Built around one record, the `profile` of an embedder. A model without a profile is untuned: words, names and kinds
have equal weights, and only the scores of chance decide whether a library holds an answer. It knows nothing of where
the scores come from (`indexer/search/ranking.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

LINE = 3.0
CHANCE = 0.05
"""The share of libraries without an answer in which an untuned model has a relevant hit, for normal scores."""


@dataclass(frozen=True)
class RankingProfile:
    """Scores, shifts and lines are in standard deviations above the scores that queries have by chance."""

    line: float
    """The lowest score of a relevant hit, if the library holds an answer."""
    video_shift: float
    """Added to the score of a video window in a list of all kinds."""
    page_weight: float
    """The factor of a page's score in a list of all kinds."""
    own_background: float
    """The weight of a text query's own background against that of ordinary queries, 0 to 1."""
    text_weight: float
    name_weight: float
    said_weight: float
    """The score of all words of a query: in a chunk's text, in its file's name, in the speech of a video."""
    sure_meaning: float
    sure: float
    """The library holds an answer if the meaning of one chunk reaches `sure_meaning`, or its meaning and
    words, with the weights below, reach `sure`."""
    sure_text: float
    sure_name: float
    sure_said: float
    sure_alike: float
    """The weight of the similarity of a file's name to the query (`title_match.py`)."""
    read_weight: float
    read_usual: float
    """The scores of these file names change by `read_weight` per deviation from `read_usual`."""
    avoided: float
    """The weight of the parts to avoid, relative to the other parts of a query."""
    words_beside_image: float
    """The weight of words in a query with an image."""


def untuned(size: int) -> RankingProfile:
    """Returns the profile of a model without one, for a library of `size` chunks."""
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
        words_beside_image=1.0,
    )
