"""What is asked of a text index, in a form that every engine can render; and what a token is.

Built around `Expression`: groups that must all hold, each of phrases of which one must. As a
string it is FTS5's own syntax; `groups` is the same for other engines. Tokens of scripts that
are written without blanks are single characters, and live in a table of their own. It knows
nothing of frequencies, spelling or ranking.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from unicodedata import category


class Phrase(NamedTuple):
    """Words that stand one after another, blanks between them; with `prefix` the last is a beginning."""

    text: str
    prefix: bool = False

    def __str__(self) -> str:
        return '"' + self.text.replace('"', '""') + '"' + (" *" if self.prefix else "")


class Expression(str):
    """All of the groups, one phrase of each; empty where there is nothing to ask. The string is FTS5's."""

    table: str
    groups: tuple[tuple[Phrase, ...], ...]

    def __new__(cls, table: str, groups: Sequence[Sequence[Phrase]]) -> Expression:
        kept = tuple(tuple(group) for group in groups if group)
        rendered = [str(group[0]) if len(group) == 1 else "(" + " OR ".join(map(str, group)) + ")" for group in kept]
        self = super().__new__(cls, " AND ".join(rendered))
        self.table, self.groups = table, kept
        return self


def phrase(text: str, table: str) -> Phrase | None:
    """The words of a text as they stand, as far as a table can hold them; None when there are none."""
    tokens = tokenised(text, table)
    return Phrase(" ".join(spaced(" ".join(tokens)).split())) if tokens else None


def matching(text: str, table: str = "words") -> Expression:
    """One word or phrase as it stands; empty when there is no word in it."""
    whole = phrase(text, table)
    return Expression(table, [(whole,)] if whole else ())


@lru_cache(maxsize=1024)
def tokenised(text: str, table: str = "words") -> tuple[str, ...]:
    """The words of a text that a table can hold; a run of an unspaced script counts as one."""
    result: list[str] = []
    for run in _words(text):
        for part in _OF_ONE_SORT.findall(run):
            if table == "names" or is_unspaced(part) == (table == "characters"):
                result.append(part.lower())
    return tuple(result)


def _words(text: str) -> list[str]:
    """The words of a text as FTS5 parts them: letters, numbers, marks and what Unicode leaves to private use.
    A mark alone is no word."""
    if text.isascii():
        return _ASCII_WORD.findall(text)
    parted = "".join(c if (sort := category(c)) == "Co" or sort[0] in "LNM" else " " for c in text)
    return [word for word in parted.split() if any(category(c)[0] != "M" for c in word)]


def spaced(text: str) -> str:
    """The text with a blank around every character of a script that is written without them."""
    return _CHARACTER.sub(r" \g<0> ", text)


def unspaced_only(text: str) -> str:
    """Only what is written without blanks, a character a token; empty when nothing is."""
    return " ".join(" ".join(run) for run in _RUN.findall(text))


def is_unspaced(text: str) -> bool:
    """Whether any of it is written without blanks."""
    return not text.isascii() and _CHARACTER.search(text) is not None


# Thai, Lao, Khmer, Myanmar; Hiragana, Katakana; CJK ideographs with their extensions; Hangul stays with
# `words`, Korean puts blanks between its words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")
_CHARACTER = re.compile(f"[{_UNSPACED}]")
_RUN = re.compile(f"[{_UNSPACED}]+")
_OF_ONE_SORT = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
