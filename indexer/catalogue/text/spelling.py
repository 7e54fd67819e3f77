"""Corrections of a mistyped word: terms of a text index that share trigrams with it.

Built around the terms of one text table, the most frequent ones if there are very many, in memory with their
trigrams (PostgreSQL stores them itself, with pg_trgm, and uses only the last comparison from here). Reading
30,000 terms takes 0.1 s, a look-up 0.1 ms (scanning them in SQL took 50 ms per word). It knows nothing of
queries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import numpy as np

MAX_TERMS = 200_000
SMALL = 20_000
"""Up to this many terms are read again after each write; more terms at most every `STALE_S`."""
STALE_S = 60.0
CANDIDATES = 60
"""Terms with the most common trigrams that are compared letter by letter."""


class Vocabulary:
    """The terms of one table. Safe to use from many threads."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._version: object = None
        self._read_at = 0.0
        self._terms: list[str] = []
        self._by_trigram: dict[str, np.ndarray] = {}  # trigram -> numbers of terms

    def near(self, word: str, most_edits: int) -> list[str]:
        """Returns up to three terms with the fewest edits to a word, at most `most_edits`. Call `refresh` before."""
        terms, by_trigram = self._terms, self._by_trigram
        rows = [r for trigram in _trigrams(word) if (r := by_trigram.get(trigram)) is not None]
        if not rows:
            return []
        numbers, shared = np.unique(np.concatenate(rows), return_counts=True)
        best = numbers[np.lexsort((numbers, -shared))[:CANDIDATES]]
        return closest(word, [terms[n] for n in sorted(best.tolist())], most_edits)

    def refresh(self, version: object, terms: Callable[[int], Iterable[str]]) -> None:
        """Read the terms again if `version` has changed. `terms(n)`: the n most frequent ones, in that order."""
        if version == self._version:
            return
        if len(self._terms) > SMALL and time.monotonic() - self._read_at < STALE_S:
            return
        if not self._lock.acquire(blocking=not self._terms):
            return  # another thread reads them; the old terms serve meanwhile
        try:
            if version != self._version:
                self._read(list(terms(MAX_TERMS)))
                self._version, self._read_at = version, time.monotonic()
        finally:
            self._lock.release()

    def _read(self, terms: list[str]) -> None:
        by_trigram: dict[str, list[int]] = {}
        for number, term in enumerate(terms):
            for trigram in _trigrams(term):
                by_trigram.setdefault(trigram, []).append(number)
        self._by_trigram = {trigram: np.array(numbers, np.int32) for trigram, numbers in by_trigram.items()}
        self._terms = terms


def sharing(word: str, terms: list[str]) -> list[str]:
    """Returns the `terms` that share most trigrams with a word, in their order."""
    trigrams = _trigrams(word)
    shared = [(len(trigrams & _trigrams(term)), n) for n, term in enumerate(terms)]
    best = sorted((-s, n) for s, n in shared if s)[:CANDIDATES]
    return [terms[n] for _, n in sorted(best, key=lambda pair: pair[1])]


def closest(word: str, terms: list[str], most_edits: int) -> list[str]:
    """Returns the first three `terms` with the fewest edits to a word, at most `most_edits`."""
    distances = [(edits(word, term, most_edits), term) for term in terms]
    least = min((e for e, _ in distances), default=most_edits + 1)
    return [term for e, term in distances if e == least <= most_edits][:3]


def edits(a: str, b: str, most: int) -> int:
    """Returns the number of edits between two words; a number above `most` if it is larger than `most`.

    An edit is a missing or extra letter, a letter replaced by its neighbour on the keyboard or by one that sounds
    alike, or two letters swapped (optimal string alignment). Any other replacement counts as two edits: "tower" is
    not a mistyped "power" or "towel" but another word. Words with different first letters are never close.
    """
    if abs(len(a) - len(b)) > most or a[:1] != b[:1]:
        return most + 1
    two_before: list[int] = []
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            replacement = 0 if x == y else 1 if y in _ALIKE.get(x, "") else 2
            cost = min(before[j] + 1, now[j - 1] + 1, before[j - 1] + replacement)
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, two_before[j - 2] + 1)
            now.append(cost)
        if min(now) > most:
            return most + 1
        two_before, before = before, now
    return before[-1]


def _alike() -> dict[str, str]:
    """Returns letter -> its neighbours on the keyboard and letters that sound alike."""
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


def _trigrams(word: str) -> set[str]:
    return {word[i : i + 3] for i in range(len(word) - 2)}
