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
    speech_weight: float
    """The score of all words of a query: in a chunk's text, in its file's name, in the speech of a video."""
    image_line: float
    page_line: float
    """The contrast (`Background.contrast`) from which an image or a page is an answer by itself."""
    word_familiarity: float
    """A query of one word is answered by looks only if its familiarity (`Embedder.familiarity`) reaches this. For a
    model that tells none, such a query is as any other."""
    word_line: float
    word_share: float
    """And only by images that reach this contrast and this share of the best image's score by meaning."""
    word_sure_line: float
    word_sure_share: float
    """Or these: an image far above the line may be further from the best one."""
    video_line: float
    """The score by meaning from which a video window is."""
    text_bonus: float
    all_text_bonus: float
    """Added to the contrast of a page: for all words of the query in its text; if it has each of them."""
    name_bonus: float
    all_name_bonus: float
    likeness_bonus: float
    name_line: float
    """A chunk with words of the query in its file's name (or an image with them in its text) is an answer if contrast
    + name_bonus * coverage + all_name_bonus (for all words) + likeness_bonus * similarity of the name to the query
    (`title_match.py`) reach `name_line`."""
    speech_bonus: float
    speech_line: float
    """A video window with words of the query in its speech is an answer if contrast + speech_bonus * coverage reach
    `speech_line`."""
    slack_with_words: float
    slack: float
    """If the library holds an answer, chunks are relevant down to this far below their line: with words of the query,
    and by meaning alone."""
    likeness_weight: float
    usual_likeness: float
    """The scores of these file names change by `likeness_weight` per deviation from `usual_likeness`."""
    avoid_weight: float
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
        speech_weight=LINE,
        image_line=BY_CHANCE,
        page_line=BY_CHANCE,
        word_familiarity=0.0,
        word_line=BY_CHANCE,
        word_share=0.0,
        word_sure_line=BY_CHANCE,
        word_sure_share=0.0,
        video_line=BY_CHANCE,
        text_bonus=LINE,
        all_text_bonus=0.0,
        name_bonus=LINE,
        all_name_bonus=BY_CHANCE,
        likeness_bonus=0.0,
        name_line=BY_CHANCE,
        speech_bonus=LINE,
        speech_line=BY_CHANCE,
        slack_with_words=BY_CHANCE - LINE,
        slack=BY_CHANCE - LINE,
        likeness_weight=0.0,
        usual_likeness=0.0,
        avoid_weight=1.0,
        words_beside_image=1.0,
    )
