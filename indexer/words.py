"""Search by words: BM25 over the text of chunks and the names of files and folders.

Built around the FTS5 tables of the catalogue: `words` (chunk text, English stems), `names`
(file and folder names) and `characters` (scripts without blanks between words). What is
found comes in tiers: the whole query as it stands, all of its words, some of them. Words
that nearly everything holds are left aside (a disjunction of them costs 0.6 s at a
million rows); words that nothing holds are looked for by their beginning, then by their
trigrams. It knows nothing of meaning, kinds or ranking across lists.
"""

from __future__ import annotations

import math
import re
import sqlite3
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from indexer.connections import Reading

SOME, ALL, EXACT = 1, 2, 3
"""Tiers of a match: some of the words; all of them; the query as it stands (or all of a short text)."""

MARK, UNMARK = "\ue000", "\ue001"
SNIPPET_TOKENS = 24
SNIPPET_CHARACTERS = 160

COMMON_SHARE, COMMON_LEAST = 0.05, 5000
"""A word in more of the chunks than both is looked for only where there is no rarer one beside it."""
BM25_FULL = 1.2
"""BM25 of a row that holds a word once or twice, over the word's inverse document frequency."""
FEW = 64
"""In fewer rows a word's frequency tells nothing: a text that holds all words asked for covers them whole."""
SLACK = 12
"""Characters beyond the word itself that a text of one word may have (an extension, a full stop)."""


# Words that carry no meaning of their own in a query; only English, as the stemming is.
_STOP_WORDS = """
a an and are as at be by for from has have how i in into is it its my of on or our over that the their there
these this to under was were what when where which who with without you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, eq=False)
class Found:
    """Rows by word evidence, best first: ids int64 [n], tiers int [n], coverage float [n] from 0 to 1.

    Coverage is the share of what the query's words tell (their BM25 against what all of them could
    bring): a rare word counts for more than a frequent one, a word that nothing holds counts against.
    """

    ids: np.ndarray
    coverage: np.ndarray
    tiers: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


NOTHING = Found(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Expressions:
    """FTS5 expressions for one table; empty where there is nothing to ask."""

    exact: str = ""
    all: str = ""
    some: str = ""
    told: float = 1.0
    """What all words of the query together tell: the sum of their inverse document frequencies."""
    few: bool = False
    """Too few rows for frequencies to tell anything, and no word was corrected."""
    longest: int | None = None
    """An exact match must be (nearly) the whole of the text, at most so many characters."""


def search_chunks(
    connection: Reading,
    words: Sequence[str],
    phrases: Sequence[str],
    limit: int,
    allowed: tuple[str, list[Any]] = ("", []),
) -> Found:
    """Chunks whose text holds the words. `allowed`: an SQL condition on `w.rowid` and its values."""
    asked = [(table, expressions(connection, words, phrases, table)) for table in ("words", "characters")]
    found = [_search(connection, table, e, limit, allowed) for table, e in asked]
    return found[0] if not len(found[1]) else _joined(found, limit)


def search_names(
    connection: Reading,
    words: Sequence[str],
    phrases: Sequence[str],
    limit: int,
    allowed: tuple[str, list[Any]] = ("", []),
) -> Found:
    """Files whose name, or the folders they lie in, hold the words; ids are of files."""
    asked = expressions(connection, words, phrases, "names")
    return _search(connection, "names", asked, limit, allowed, weights="4.0, 1.0")


def expressions(connection: Reading, words: Sequence[str], phrases: Sequence[str], table: str) -> Expressions:
    """What to ask a table for the words of a query, quoted phrases being required."""
    required = [p for phrase in phrases if (p := _phrase(phrase, table))]
    if len(required) < len(phrases) and table == "characters":
        return Expressions()  # a required phrase in another script is not in this table
    rare: list[str] = []
    common: list[str] = []
    corrected = missing = False
    total = _total(connection, table)
    most = max(COMMON_LEAST, COMMON_SHARE * total)
    told = 0.0
    for token in dict.fromkeys(t for word in words for t in tokenised(word, table)):
        if token in STOP_WORDS:
            continue
        count = _count(connection, token, table)
        told += max(0.1, math.log((total - count + 0.5) / (count + 0.5)) if total > count else 0.1)
        if count == 0:
            corrected = True
            # A word that other texts or names hold is no mistake, this table just has none of it.
            other = "names" if table == "words" else "words"
            elsewhere = table != "characters" and _count(connection, token, other) > 0
            near = [] if elsewhere else _near_terms(connection, token, table)
            missing |= not near
            rare += ["(" + " OR ".join(near) + ")"] if near else []
        else:
            (common if count > most else rare).append(_phrase(token, table))
    words_of = rare or common  # common words count only where there is nothing else: those that hold all
    some = " OR ".join(words_of) if rare else " AND ".join(words_of)
    whole = _phrase(" ".join(words), table)
    # One ordinary word somewhere on a page says little; a sign that says just that, or a number, says all.
    alone = len(rare + common) == 1 and not phrases and not any(c.isdigit() for c in whole)
    return Expressions(
        told=told or 1.0,
        few=total < FEW and not corrected,
        longest=len(whole) + SLACK if alone else None,
        exact="" if corrected else " AND ".join([*required, *([whole] if whole else [])]),
        all="" if missing else " AND ".join([*required, *words_of]),
        some=" AND ".join([*required, *([f"({some})"] if some else [])]),
    )


def matching(text: str, table: str = "words") -> str:
    """The FTS5 expression for one word or phrase as it stands; empty when there is no word in it."""
    return _phrase(text, table)


def snippets(
    connection: Reading,
    ids: Sequence[int],
    words: Sequence[str],
    phrases: Sequence[str],
    found: Collection[int],
) -> dict[int, str]:
    """A piece of each chunk's text around the words, marked; its beginning where it is not among those
    that were `found` by their words."""
    result: dict[int, str] = {}
    marked = [i for i in ids if i in found]
    asked = expressions(connection, words, phrases, "words").some if marked else ""
    for number in marked if asked else ():
        row = connection.execute(
            f"SELECT snippet(words, 0, '{MARK}', '{UNMARK}', '…', {SNIPPET_TOKENS}) FROM words"
            " WHERE words MATCH ? AND rowid = ?",
            (asked, number),
        ).fetchone()
        if row is not None:
            result[number] = " ".join(row[0].split())
    rest = [i for i in ids if i not in result]
    parts = [w for w in (*words, *phrases) if _unspaced(w)]
    for number, text in connection.execute(
        f"SELECT id, substr(text, 1, 2000) FROM chunk WHERE id IN ({', '.join('?' * len(rest))})", rest
    ):
        result[number] = _around(" ".join(text.split()), parts)
    return result


def tokenised(text: str, table: str = "words") -> list[str]:
    """The words of a text that a table can hold; a run of an unspaced script counts as one."""
    result: list[str] = []
    for run in re.findall(r"\w+", text, re.UNICODE):
        for part in re.findall(f"[{_UNSPACED}]+|[^{_UNSPACED}]+", run):
            unspaced = _unspaced(part) is not None
            if table == "names" or unspaced == (table == "characters"):
                result.append(part.casefold())
    return result


def spaced(text: str) -> str:
    """The text with a blank around every character of a script that is written without them."""
    return re.sub(f"([{_UNSPACED}])", r" \1 ", text)


def unspaced_only(text: str) -> str:
    """Only what is written without blanks, a character a token; empty when nothing is."""
    return " ".join(" ".join(run) for run in re.findall(f"[{_UNSPACED}]+", text))


# Thai, Lao, Khmer, Myanmar; Hiragana, Katakana; CJK ideographs with their extensions; Hangul stays with
# `words`, Korean puts blanks between its words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)


def _unspaced(text: str) -> re.Match[str] | None:
    return re.search(f"[{_UNSPACED}]", text)


def _phrase(text: str, table: str) -> str:
    tokens = tokenised(text, table)
    return _quoted(" ".join(spaced(" ".join(tokens)).split())) if tokens else ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _search(
    connection: Reading,
    table: str,
    asked: Expressions,
    limit: int,
    allowed: tuple[str, list[Any]],
    weights: str = "",
) -> Found:
    if not asked.some and not asked.all and not asked.exact:
        return NOTHING
    tiers: dict[int, int] = {}
    scores: dict[int, float] = {}
    rank = f"bm25({table}, {weights})" if weights else "rank"
    condition, values = allowed
    where = f" AND {condition}" if condition else ""
    for tier, expression in ((EXACT, asked.exact), (ALL, asked.all), (SOME, asked.some)):
        if not expression or (tier == SOME and expression == asked.all):
            continue
        short = ""
        if tier == EXACT and asked.longest is not None:
            short = f" AND length(w.{'name' if table == 'names' else 'text'}) <= {asked.longest}"
        rows = connection.execute(
            f"SELECT w.rowid, -{rank} FROM {table} w WHERE {table} MATCH ?{where}{short}"
            f" ORDER BY {rank} LIMIT ?",
            (expression, *values, limit),
        ).fetchall()
        for number, score in rows:
            tiers.setdefault(number, tier)
            whole = tier == EXACT or (tier == ALL and asked.few)
            share = 1.0 if whole else min(1.0, max(0.0, score) / (BM25_FULL * asked.told))
            scores[number] = max(share, scores.get(number, 0.0))
    return _ordered(tiers, scores, limit)


def _ordered(tiers: dict[int, int], scores: dict[int, float], limit: int) -> Found:
    order = sorted(tiers, key=lambda i: (-tiers[i], -scores[i], i))[:limit]
    return Found(
        np.array(order, np.int64),
        np.array([scores[i] for i in order], float),
        np.array([tiers[i] for i in order], np.int64),
    )


def _joined(found: Sequence[Found], limit: int) -> Found:
    tiers: dict[int, int] = {}
    scores: dict[int, float] = {}
    for each in found:
        for number, score, tier in zip(each.ids.tolist(), each.coverage, each.tiers.tolist(), strict=True):
            tiers[number] = max(tier, tiers.get(number, 0))
            scores[number] = max(score, scores.get(number, 0.0))
    return _ordered(tiers, scores, limit)


def _around(text: str, parts: Sequence[str]) -> str:
    """The text around the first of the parts, marked; else its beginning."""
    for part in parts:
        at = text.find(part)
        if at >= 0:
            start, end = max(0, at - SNIPPET_CHARACTERS // 2), at + len(part) + SNIPPET_CHARACTERS // 2
            before = ("…" if start else "") + text[start:at]
            return (
                before + MARK + part + UNMARK + text[at + len(part) : end] + ("…" if end < len(text) else "")
            )
    if len(text) <= SNIPPET_CHARACTERS:
        return text
    return text[:SNIPPET_CHARACTERS].rsplit(" ", 1)[0] + "…"


def _near_terms(connection: Reading, token: str, table: str) -> list[str]:
    """What a word that nothing holds may have meant: terms it begins, else terms a typo or two away."""
    if _unspaced(token) or len(token) < 4:
        return []
    stem = stemmed(token, table)
    row = connection.execute(
        f"SELECT 1 FROM temp.{table}_terms WHERE term >= ? AND term < ? LIMIT 1", (token, token + "\uffff")
    ).fetchone()
    if row:
        return [f"{_quoted(token)} *"]
    if len(token) < 5 or any(c.isdigit() for c in token):
        return []  # short words and numbers have too many neighbours, all of them something else
    near = connection.vocabularies[table].near(connection, stem, 1 if len(stem) < 8 else 2)
    return [_quoted(term) for term in near]


def _count(connection: Reading, token: str, table: str) -> int:
    """How many rows hold a token; for unspaced scripts 1 if any does."""
    known = connection.known_counts()
    count = known.get((table, token))
    if count is None:
        if _unspaced(token):
            asked = _phrase(token, table)
            sql, value = f"SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT 1", asked
        else:
            sql, value = f"SELECT doc FROM temp.{table}_terms WHERE term = ?", stemmed(token, table)
        row = connection.execute(sql, (value,)).fetchone()
        count = known[table, token] = row[0] if row else 0
    return count


def _total(connection: Reading, table: str) -> int:
    of = "file" if table == "names" else "chunk"
    row = connection.execute(f"SELECT max(id) FROM {of}").fetchone()
    return row[0] or 0


class _Stemmer:
    """FTS5's own tokenisers, asked for what they make of a word."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        for name, tokenizer in (("words", "porter unicode61"), ("names", "unicode61")):
            self._connection.executescript(
                f"CREATE VIRTUAL TABLE {name} USING fts5(t, tokenize = '{tokenizer} remove_diacritics 2');"
                f"CREATE VIRTUAL TABLE {name}_terms USING fts5vocab({name}, instance);"
            )

    def stem(self, token: str, table: str) -> str:
        with self._lock:
            self._connection.execute(f"DELETE FROM {table}")
            self._connection.execute(f"INSERT INTO {table} VALUES (?)", (token,))
            row = self._connection.execute(f"SELECT term FROM {table}_terms").fetchone()
        return row[0] if row else token


@lru_cache(maxsize=1)
def _stemmer() -> _Stemmer:
    return _Stemmer()


@lru_cache(maxsize=8192)
def stemmed(token: str, table: str = "words") -> str:
    """What a table keeps of a token: `running` is `run` in chunk text."""
    return _stemmer().stem(token, table)
