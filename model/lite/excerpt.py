"""What a network reads of a long text: its beginning, and the rarest words of the rest.

Built around tokens whose numbers go by frequency, as those of WordPiece and SentencePiece vocabularies do: the higher,
the rarer. It knows nothing of networks and tokenizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np


class Length(NamedTuple):
    """How many tokens of a text's `head` are read and of its `rest`; those below `common` are no rare ones."""

    head: int
    rest: int
    common: int


def excerpt(tokens: Sequence[int], words: Sequence[int], length: Length) -> list[int]:
    """Returns the tokens of the head, then those of the rarest words of the rest, each once and in their order.

    `words`: for each token, the number of the word that it is part of, from 0 and never falling.
    """
    if len(tokens) <= length.head + length.rest:
        return list(tokens)
    starts = np.flatnonzero(np.diff(words, prepend=-1))
    rarest = np.maximum.reduceat(np.asarray(tokens), starts)
    bounds = [*starts.tolist(), len(tokens)]
    first = int(np.searchsorted(starts, length.head))  # the first word of the rest; the head may end within one
    head = {tuple(tokens[start:end]) for start, end in pairwise(bounds[: first + 1])}
    rare_at = (first + np.flatnonzero(rarest[first:] >= length.common)).tolist()
    rare = [
        parts
        for parts in dict.fromkeys(tuple(tokens[bounds[at] : bounds[at + 1]]) for at in rare_at)
        if parts not in head
    ]
    kept: set[tuple[int, ...]] = set()
    room = length.rest
    for parts in sorted(rare, key=max, reverse=True):
        if len(parts) <= room:
            kept.add(parts)
            room -= len(parts)
    return [*tokens[: length.head], *(token for parts in rare if parts in kept for token in parts)]
