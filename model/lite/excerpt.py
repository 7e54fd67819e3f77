"""What a network reads of a long text: its beginning, and the rarest words of the rest.

Built around tokens whose numbers go by frequency, as those of WordPiece and SentencePiece vocabularies do: the higher,
the rarer. It knows nothing of networks and tokenizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Length(NamedTuple):
    """How many tokens of a text's `head` are read and of its `rest`; those below `common` are no rare ones."""

    head: int
    rest: int
    common: int


def excerpt(tokens: Sequence[int], words: Sequence[int], length: Length) -> list[int]:
    """Returns the tokens of the head, then those of the rarest words of the rest, each once and in their order.

    `words`: for each token, the number of the word that it is part of.
    """
    if len(tokens) <= length.head + length.rest:
        return list(tokens)
    by_word: dict[int, list[int]] = {}
    for token, word in zip(tokens, words, strict=True):
        by_word.setdefault(word, []).append(token)
    last = words[length.head - 1]  # the last word of the head, perhaps cut
    head = {tuple(parts) for word, parts in by_word.items() if word <= last}
    rest = dict.fromkeys(tuple(parts) for word, parts in by_word.items() if word > last)
    rare = [parts for parts in rest if parts not in head and max(parts) >= length.common]
    kept: set[tuple[int, ...]] = set()
    room = length.rest
    for parts in sorted(rare, key=max, reverse=True):
        if len(parts) <= room:
            kept.add(parts)
            room -= len(parts)
    return [*tokens[: length.head], *(token for parts in rare if parts in kept for token in parts)]
