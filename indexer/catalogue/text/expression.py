"""Expressions over a text index, in a form for every engine, and the tokens of a text.

Built around `Expression`: groups of phrases; a row matches if it has a phrase of each group. As a string it is
FTS5's syntax; `groups` is the same for other engines. In scripts that are written without spaces each character
is a token, and these tokens are in a table of their own. It knows nothing of frequencies, spelling or ranking.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from unicodedata import category


class Phrase(NamedTuple):
    """Consecutive words, separated by spaces. `prefix`: the last one is the beginning of a word."""

    text: str
    prefix: bool = False

    def __str__(self) -> str:
        return '"' + self.text.replace('"', '""') + '"' + (" *" if self.prefix else "")


class Expression(str):
    """A row matches if it has a phrase of each group. Empty if there is nothing to search for."""

    table: str
    groups: tuple[tuple[Phrase, ...], ...]

    def __new__(cls, table: str, groups: Sequence[Sequence[Phrase]]) -> Expression:
        filled = tuple(tuple(group) for group in groups if group)
        parts = [str(group[0]) if len(group) == 1 else "(" + " OR ".join(map(str, group)) + ")" for group in filled]
        self = super().__new__(cls, " AND ".join(parts))
        self.table, self.groups = table, filled
        return self


def phrase(text: str, table: str) -> Phrase | None:
    """Returns the words of a text that a table can hold, as one phrase; None if there are none."""
    tokens = tokenised(text, table)
    return Phrase(" ".join(spaced(" ".join(tokens)).split())) if tokens else None


def matching(text: str, table: str = "words") -> Expression:
    """Returns the expression of one word or phrase; empty if it has no word that the table can hold."""
    whole = phrase(text, table)
    return Expression(table, [(whole,)] if whole else ())


@lru_cache(maxsize=1024)
def tokenised(text: str, table: str = "words") -> tuple[str, ...]:
    """Returns the words of a text that a table can hold; a run of an unspaced script is one word."""
    result: list[str] = []
    for run in _words(text):
        for part in _OF_ONE_SORT.findall(run):
            if table == "names" or is_unspaced(part) == (table == "characters"):
                result.append(part.lower())
    return tuple(result)


def _words(text: str) -> list[str]:
    """Returns the words of a text as FTS5 splits it: runs of letters, numbers, marks and private-use characters.
    Marks alone are no word."""
    if text.isascii():
        return _ASCII_WORD.findall(text)
    cleaned = "".join(c if (sort := category(c)) == "Co" or sort[0] in "LNM" else " " for c in text)
    return [word for word in cleaned.split() if any(category(c)[0] != "M" for c in word)]


def spaced(text: str) -> str:
    """Returns the text with a space around every character of an unspaced script."""
    return _CHARACTER.sub(r" \g<0> ", text)


def unspaced_only(text: str) -> str:
    """Returns only the characters of unspaced scripts, separated by spaces; empty if there are none."""
    return " ".join(" ".join(run) for run in _RUN.findall(text))


def is_unspaced(text: str) -> bool:
    """Whether a text has characters of an unspaced script."""
    return not text.isascii() and _CHARACTER.search(text) is not None


# Thai, Lao, Khmer, Myanmar; Hiragana, Katakana; CJK ideographs with their extensions. Hangul is in `words`, as
# Korean has spaces between its words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")
_CHARACTER = re.compile(f"[{_UNSPACED}]")
_RUN = re.compile(f"[{_UNSPACED}]+")
_OF_ONE_SORT = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
