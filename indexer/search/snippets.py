"""Snippets: for each hit the piece of its text around the words of the query, marked.

Built around the expression that the search by words looked for, so that the very words are marked that led to
the hit. It knows nothing of ranking.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from indexer.catalogue.connections import Reading
from indexer.catalogue.text.expression import Expression, is_unspaced
from indexer.catalogue.text.tokenizers import tokenisers
from indexer.types import MARK, UNMARK

SNIPPET_TOKENS = 24
SNIPPET_CHARACTERS = 160


def snippets(
    connection: Reading, ids: Sequence[int], marks: Expression, words: Sequence[str], worded: Collection[int]
) -> dict[int, str]:
    """By chunk id. `worded` chunks hold words of the query, and their snippet is the piece around `marks`, or
    around one of the `words` in a script without blanks. The others' is the beginning of their text."""
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
    """By chunk id, from the words that lie beside the files that are shown (by chunk id): the piece that holds words of
    the query, or the beginning where there are no other words."""
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


def _around(text: str, words: Sequence[str]) -> str:
    """The text around the first of the words that it holds, marked; else its beginning."""
    for word in words:
        at = text.find(word)
        if at >= 0:
            start, end = max(0, at - SNIPPET_CHARACTERS // 2), at + len(word) + SNIPPET_CHARACTERS // 2
            before, after = ("…" if start else "") + text[start:at], text[at + len(word) : end]
            return f"{before}{MARK}{word}{UNMARK}{after}{'…' if end < len(text) else ''}"
    if len(text) <= SNIPPET_CHARACTERS:
        return text
    return text[:SNIPPET_CHARACTERS].rsplit(" ", 1)[0] + "…"
