"""Snippets: the part of a hit's text around the words of the query, which are marked.

Built around the expression of the text search, so that exactly the words that led to the hit are marked. It
knows nothing of ranking.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from indexer.catalogue.dialects import Reading
from indexer.catalogue.text.expression import Expression, is_unspaced, phrase
from indexer.catalogue.text.tokenizers import tokenisers
from indexer.search.text_search import query_words
from indexer.types import MARK, UNMARK

SNIPPET_TOKENS = 24
SNIPPET_CHARACTERS = 160


def snippets(
    connection: Reading, ids: Sequence[int], marks: Expression, words: Sequence[str], worded: Collection[int]
) -> dict[int, str]:
    """Returns chunk id -> snippet. `worded`: chunks with words of the query; their snippet is the text around `marks`,
    or around one of the `words` in an unspaced script. The snippet of others is the beginning of their text."""
    result: dict[int, str] = {}
    for number in [i for i in ids if i in worded] if marks else ():
        piece = connection.snippet(number, marks, MARK, UNMARK, SNIPPET_TOKENS)
        if piece is not None:
            result[number] = " ".join(piece.split())
    rest = [i for i in ids if i not in result]
    unspaced = [w for w in words if is_unspaced(w)]
    for number, text in connection.execute(
        f"SELECT id, substr(text, 1, 2000) FROM chunk WHERE id IN ({', '.join('?' * len(rest))})", rest
    ):
        result[number] = _around(" ".join(text.split()), unspaced)
    return result


def beside_snippets(
    connection: Reading, files: Mapping[int, int], marks: Expression, texts: Mapping[int, str]
) -> dict[int, str]:
    """Returns chunk id -> snippet of the sidecar text of `files` (chunk id -> file to show): the part with words of
    the query, or the beginning if `texts` has no other snippet."""
    beside = dict(
        connection.execute(
            f"SELECT id, words FROM file WHERE words <> '' AND id IN ({', '.join('?' * len(files))})", [*files.values()]
        ).fetchall()
    )
    result: dict[int, str] = {}
    for chunk_id, file_id in files.items():
        words = " ".join(beside.get(file_id, "").split())
        piece = tokenisers().snippet(words, marks, MARK, UNMARK, SNIPPET_TOKENS) if words and marks else None
        if piece is not None:
            result[chunk_id] = piece
        elif words and not texts.get(chunk_id):
            result[chunk_id] = _around(words, ())
    return result


def marked(texts: Sequence[str], query: str) -> list[str]:
    """Returns whole texts with the words of a query marked, in all their forms; in an unspaced script wherever their
    characters stand."""
    words = query_words(query)
    phrases = [one for word in words if not is_unspaced(word) and (one := phrase(word, "words"))]
    result = list(texts)
    if phrases:
        result = tokenisers().highlighted(result, Expression("words", [phrases]), MARK, UNMARK)
    unspaced = sorted(filter(is_unspaced, words), key=len, reverse=True)
    if unspaced:
        anywhere = re.compile("|".join(map(re.escape, unspaced)))
        result = [anywhere.sub(rf"{MARK}\g<0>{UNMARK}", text) for text in result]
    return result


def _around(text: str, words: Sequence[str]) -> str:
    """Returns the text around the first of the words in it, which is marked; else the beginning of the text."""
    for word in words:
        at = text.find(word)
        if at >= 0:
            start, end = max(0, at - SNIPPET_CHARACTERS // 2), at + len(word) + SNIPPET_CHARACTERS // 2
            before, after = ("…" if start else "") + text[start:at], text[at + len(word) : end]
            return f"{before}{MARK}{word}{UNMARK}{after}{'…' if end < len(text) else ''}"
    if len(text) <= SNIPPET_CHARACTERS:
        return text
    return text[:SNIPPET_CHARACTERS].rsplit(" ", 1)[0] + "…"
