"""What a mistyped word may have meant: terms of a text index that share trigrams with it.

Built around the terms of one text table, kept in memory with their trigrams, the most
frequent ones where there are very many (PostgreSQL keeps them itself, with pg_trgm, and takes
only the last comparison from here). Reading 30,000 of them anew takes 0.1 s, asking
0.1 ms (scanning them in SQL took 50 ms a word). It knows nothing of queries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import numpy as np

MOST_TERMS = 200_000
SMALL = 20_000
"""So many terms are read anew at once when something was written; more only every `STALE_S`, beside."""
STALE_S = 60.0
CANDIDATES = 60
"""Terms that share the most trigrams are compared letter by letter."""


class Vocabulary:
    """The terms of one table; safe to ask from any thread."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._version: object = None
        self._read_at = 0.0
        self._terms: list[str] = []
        self._holding: dict[str, np.ndarray] = {}

    def near(self, word: str, most_edits: int) -> list[str]:
        """The terms closest to a word, at most `most_edits` letters away; at most three. `refresh` first."""
        terms, holding = self._terms, self._holding
        rows = [r for piece in _pieces(word) if (r := holding.get(piece)) is not None]
        if not rows:
            return []
        numbers, shared = np.unique(np.concatenate(rows), return_counts=True)
        best = numbers[np.lexsort((numbers, -shared))[:CANDIDATES]]
        return closest(word, [terms[n] for n in sorted(best.tolist())], most_edits)

    def refresh(self, version: object, terms: Callable[[int], Iterable[str]]) -> None:
        """Read the `terms` (at most so many, the most frequent first) anew when the `version` is another."""
        if version == self._version:
            return
        if len(self._terms) > SMALL and time.monotonic() - self._read_at < STALE_S:
            return
        if not self._lock.acquire(blocking=not self._terms):
            return  # another thread is at it; what is known is good enough meanwhile
        try:
            if version != self._version:
                self._read(list(terms(MOST_TERMS)))
                self._version, self._read_at = version, time.monotonic()
        finally:
            self._lock.release()

    def _read(self, terms: list[str]) -> None:
        holding: dict[str, list[int]] = {}
        for number, term in enumerate(terms):
            for piece in _pieces(term):
                holding.setdefault(piece, []).append(number)
        self._holding = {piece: np.array(numbers, np.int32) for piece, numbers in holding.items()}
        self._terms = terms


def sharing(word: str, terms: list[str]) -> list[str]:
    """Of `terms` in order of merit those that share most trigrams with a word, in their order."""
    pieces = _pieces(word)
    shared = [(len(pieces & _pieces(term)), n) for n, term in enumerate(terms)]
    best = sorted((-s, n) for s, n in shared if s)[:CANDIDATES]
    return [terms[n] for _, n in sorted(best, key=lambda pair: pair[1])]


def closest(word: str, terms: list[str], most_edits: int) -> list[str]:
    """Of `terms` in order of merit those with the fewest edits, at most `most_edits`; at most three."""
    found = [(edits(word, term, most_edits), term) for term in terms]
    least = min((e for e, _ in found), default=most_edits + 1)
    return [term for e, term in found if e == least <= most_edits][:3]


def edits(a: str, b: str, most: int) -> int:
    """How many slips make one word the other; > `most` when it takes more.

    A slip is a letter left out, put in, or taken for its neighbour on the keyboard or for one that sounds
    alike; or two letters swapped (optimal string alignment). Any other letter in a letter's place counts as
    two: "tower" is not a mistyped "power" or "towel" but a word of its own. So is another first letter.
    """
    if abs(len(a) - len(b)) > most or a[:1] != b[:1]:
        return most + 1
    two_before: list[int] = []
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            other = 0 if x == y else 1 if y in _ALIKE.get(x, "") else 2
            cost = min(before[j] + 1, now[j - 1] + 1, before[j - 1] + other)
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, two_before[j - 2] + 1)
            now.append(cost)
        if min(now) > most:
            return most + 1
        two_before, before = before, now
    return before[-1]


def _alike() -> dict[str, str]:
    """Letter -> letters that fingers or ears take for it."""
    result: dict[str, str] = {}
    rows = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for number, row in enumerate(rows):
        for at, letter in enumerate(row):
            below = rows[number + 1][max(0, at - 1) : at + 1] if number < 2 else ""
            for other in row[at + 1 : at + 2] + below:
                result[letter] = result.get(letter, "") + other
                result[other] = result.get(other, "") + letter
    for group in ("aeiouy", "ckqsxz", "td", "pb", "fv", "gj", "mn", "vw"):
        for letter in group:
            result[letter] = result.get(letter, "") + group.replace(letter, "")
    return result


_ALIKE = _alike()


def _pieces(word: str) -> set[str]:
    return {word[i : i + 3] for i in range(len(word) - 2)}
