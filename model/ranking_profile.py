"""The weights of search for one model; they hold only for the model that they were tuned with.

Built around one record, the `profile` of an embedder. A model without a profile is untuned: words, names and kinds
have equal weights, and only the scores of chance decide whether a chunk is an answer. It knows nothing of where
the scores come from (`indexer/search/ranking.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

LINE = 3.0
BY_CHANCE = NormalDist().inv_cdf(1 - 0.05 / 10_000)
"""4.4: one in twenty libraries of 10,000 chunks without an answer has a chunk above it, for normal scores. The line of
an untuned model, the same for a library of any size: a verdict does not change while it grows."""


@dataclass(frozen=True)
class RankingProfile:
    """Scores, shifts and lines are in standard deviations above the scores that queries have by chance."""

    line: float
    """The lowest score of a relevant hit of a query that is not text alone."""
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
    sure_image: float
    sure_page: float
    """The contrast (`Background.contrast`) from which an image or a page is an answer by itself."""
    sure_video: float
    """The score by meaning from which a video window is."""
    sure_text: float
    sure_all_text: float
    """Added to the contrast of a page: for all words of the query in its text; if it has each of them."""
    sure_name: float
    sure_all_names: float
    sure_alike: float
    named: float
    """A chunk with words of the query in its file's name (or an image with them in its text) is an answer if contrast
    + sure_name * coverage + sure_all_names (for all words) + sure_alike * similarity of the name to the query
    (`title_match.py`) reach `named`."""
    sure_said: float
    said: float
    """A video window with words of the query in its speech is an answer if contrast + sure_said * coverage reach
    `said`."""
    below_worded: float
    below: float
    """If the library holds an answer, chunks are relevant down to this far below their line: with words of the query,
    and by meaning alone."""
    read_weight: float
    read_usual: float
    """The scores of these file names change by `read_weight` per deviation from `read_usual`."""
    avoided: float
    """The weight of the parts to avoid, relative to the other parts of a query."""
    words_beside_image: float
    """The weight of words in a query with an image."""


def untuned() -> RankingProfile:
    """Returns the profile of a model without one."""
    return RankingProfile(
        line=LINE,
        video_shift=0.0,
        page_weight=1.0,
        own_background=0.5,
        text_weight=LINE,
        name_weight=LINE,
        said_weight=LINE,
        sure_image=BY_CHANCE,
        sure_page=BY_CHANCE,
        sure_video=BY_CHANCE,
        sure_text=LINE,
        sure_all_text=0.0,
        sure_name=LINE,
        sure_all_names=BY_CHANCE,
        sure_alike=0.0,
        named=BY_CHANCE,
        sure_said=LINE,
        said=BY_CHANCE,
        below_worded=BY_CHANCE - LINE,
        below=BY_CHANCE - LINE,
        read_weight=0.0,
        read_usual=0.0,
        avoided=1.0,
        words_beside_image=1.0,
    )
