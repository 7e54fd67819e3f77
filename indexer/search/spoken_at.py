"""Where in a window of a video the words of a query are said: the second that a click leads to.

Built around the cues of the window and the same word stems that it was found by; words that say little
count only where there are no others. It knows nothing of ranking and of windows without words.
"""

from __future__ import annotations

from collections.abc import Sequence

from indexer.catalogue.connections import Reading
from indexer.catalogue.text.expression import tokenised
from indexer.catalogue.text.tokenizers import stemmed
from indexer.search.ranking import Ranked
from indexer.search.text_search import STOP_WORDS
from model.inputs import Cue

LEAST = 0.5
"""Share of the query's words that two lines in a row must hold: a window is found by its text as a whole."""


def seconds(connection: Reading, page: Sequence[Ranked], words: Sequence[str]) -> dict[int, float]:
    """By chunk id, the second at which the words of the query are said; of those videos alone that were found
    by their words, and say them near one another."""
    stems = _stems(words)
    result: dict[int, float] = {}
    for place in page if stems else ():
        fact, start, end = place.fact, place.span.start_s, place.span.end_s
        if fact.kind != "video" or not place.worded or start is None or end is None:
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
    """The cue with which most of the stems begin to be said, within it and the next one; the first of
    equals. None where that is less than `LEAST` of them."""
    held = [_stems((cue.text,), meaningful=False) & stems for cue in cues]
    best, most = None, LEAST * len(stems)
    for n, cue in enumerate(cues):
        following = held[n + 1] if n + 1 < len(held) else frozenset()
        count = len(held[n] | following) + 0.1 * len(held[n])  # of one line and the one before it, the line
        if held[n] and count >= most and (best is None or count > most):
            best, most = cue, count
    return best


def _stems(texts: Sequence[str], *, meaningful: bool = True) -> frozenset[str]:
    tokens = [token for text in texts for token in tokenised(text)]
    chosen = [t for t in tokens if t not in STOP_WORDS] if meaningful else tokens
    return frozenset(stemmed(t) for t in chosen or tokens)
