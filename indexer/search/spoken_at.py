"""The second of a video window at which the words of a query are said; a click on the hit leads there.

Built around the cues of the window and the stems of the text search; stop words count only if there are no other
words. It knows nothing of ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

from indexer.catalogue.dialects import Reading
from indexer.catalogue.text.expression import tokenised
from indexer.catalogue.text.tokenizers import stemmed
from indexer.search.ranking import Ranked
from indexer.search.text_search import STOP_WORDS
from model.inputs import Cue

LEAST = 0.5
"""Share of the query's words that two consecutive cues must have: a window matches by its text as a whole."""


def seconds(connection: Reading, page: Sequence[Ranked], words: Sequence[str]) -> dict[int, float]:
    """Returns chunk id -> the second at which the words of the query are said, for the video windows of a page that
    match by words and have them in consecutive cues."""
    stems = _stems(words)
    result: dict[int, float] = {}
    for place in page if stems else ():
        fact, start, end = place.fact, place.span.start_s, place.span.end_s
        if fact.kind != "video" or not place.has_query_words or start is None or end is None:
            continue
        rows = connection.execute(
            "SELECT start_s, end_s, text FROM cue WHERE content_hash = ? AND start_s < ? AND end_s > ?"
            " ORDER BY start_s, id",
            (fact.content, end, start),
        )
        best = said_best([Cue(*row) for row in rows], stems)
        if best is not None:
            result[fact.chunk_id] = max(best.start_s, start)
    return result


def said_best(cues: Sequence[Cue], stems: frozenset[str]) -> Cue | None:
    """Returns the first cue that has, with the next one, most of the stems; None if that is less than `LEAST` of
    them."""
    matches = [_stems((cue.text,), meaningful=False) & stems for cue in cues]
    best, most = None, LEAST * len(stems)
    for n, cue in enumerate(cues):
        following = matches[n + 1] if n + 1 < len(matches) else frozenset()
        count = len(matches[n] | following) + 0.1 * len(matches[n])  # prefer the cue itself to the one before it
        if matches[n] and count >= most and (best is None or count > most):
            best, most = cue, count
    return best


def _stems(texts: Sequence[str], *, meaningful: bool = True) -> frozenset[str]:
    tokens = [token for text in texts for token in tokenised(text)]
    meaningful_tokens = [t for t in tokens if t not in STOP_WORDS] if meaningful else tokens
    return frozenset(stemmed(t) for t in meaningful_tokens or tokens)
