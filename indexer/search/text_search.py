"""Search by words: BM25 over the text of chunks and the names of files and folders.

Built around the text tables of the catalogue: `words` (chunk text) and `names` (file and
folder names), both by English stems, and `characters` (scripts without blanks between words),
asked through a `Reading` connection (FTS5 or PostgreSQL; the same terms, the same BM25). What is
found comes in tiers: the whole query as it stands, all of its words, some of them. Words
that nearly everything holds are left aside (a disjunction of them costs 0.6 s at a
million rows); words that nothing holds are looked for by their beginning, then by their
trigrams. It knows nothing of meaning, kinds or ranking across lists.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.catalogue.connections import Reading
from indexer.catalogue.text.expression import Expression, Phrase, is_unspaced, phrase, tokenised
from indexer.catalogue.text.tokenizers import stemmed
from indexer.errors import QueryError
from indexer.search.query_syntax import parse
from indexer.types import MARK_OFF, MARK_ON

SOME, ALL, EXACT = 1, 2, 3
"""Tiers of a match: some of the words; all of them; the query as it stands (or all of a short text)."""

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


NOT_ASKED = Expression("words", ())
NOTHING = Found(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Expressions:
    """What to ask one table; empty where there is nothing to ask."""

    exact: Expression
    all: Expression
    some: Expression
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
    return _search(connection, "names", asked, limit, allowed)


def expressions(connection: Reading, words: Sequence[str], phrases: Sequence[str], table: str) -> Expressions:
    """What to ask a table for the words of a query, quoted phrases being required."""
    required = [(p,) for quoted in phrases if (p := phrase(quoted, table))]
    if len(required) < len(phrases) and table == "characters":
        nothing = Expression(table, ())
        return Expressions(nothing, nothing, nothing)  # a phrase in another script is not in this table
    rare: list[tuple[Phrase, ...]] = []
    common: list[tuple[Phrase, ...]] = []
    corrected = missing = False
    total = _total(connection, table)
    most = max(COMMON_LEAST, COMMON_SHARE * total)
    told = 0.0
    tokens = [t for t in dict.fromkeys(t for w in words for t in tokenised(w, table)) if t not in STOP_WORDS]
    known = connection.known_counts()
    _look_up(connection, known, tokens, table)
    for token in tokens:
        count = known[table, token]
        told += max(0.1, math.log((total - count + 0.5) / (count + 0.5)) if total > count else 0.1)
        if count == 0:
            corrected = True
            # A word that other texts or names hold is no mistake, this table just has none of it.
            other = "names" if table == "words" else "words"
            elsewhere = table != "characters" and _count(connection, known, token, other) > 0
            near = () if elsewhere else _near_terms(connection, token, table)
            missing |= not near
            rare += [near] if near else []
        elif own := phrase(token, table):
            (common if count > most else rare).append((own,))
    words_of = rare or common  # common words count only where there is nothing else: those that hold all
    some = [tuple(p for group in rare for p in group)] if rare else common
    whole = phrase(" ".join(words), table)
    # One ordinary word somewhere on a page says little; a sign that says just that, or a number, says all.
    text = str(whole or "")
    alone = len(rare + common) == 1 and not phrases and not any(c.isdigit() for c in text)
    return Expressions(
        told=told or 1.0,
        few=total < FEW and not corrected,
        longest=len(text) + SLACK if alone else None,
        exact=Expression(table, () if corrected else [*required, *([(whole,)] if whole else [])]),
        all=Expression(table, () if missing else [*required, *words_of]),
        some=Expression(table, [*required, *some]),
    )


def matching(text: str, table: str = "words") -> Expression:
    """One word or phrase as it stands; empty when there is no word in it."""
    whole = phrase(text, table)
    return Expression(table, [(whole,)] if whole else ())


def words_to_mark(text: str) -> tuple[str, ...]:
    """What to mark on a page that the query `text` found; nothing while half a filter is typed."""
    try:
        typed = parse(text)
    except QueryError:
        return ()
    return telling(typed.words, typed.phrases)


def telling(words: Sequence[str], phrases: Sequence[str]) -> tuple[str, ...]:
    """Each word that says something, and its stem."""
    tokens = [token for part in (*words, *phrases) for token in tokenised(part, "names")]
    chosen = [token for token in tokens if token not in STOP_WORDS] or tokens
    return tuple(dict.fromkeys(form for token in chosen for form in (token, stemmed(token))))


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
    asked = expressions(connection, words, phrases, "words").some if marked else NOT_ASKED
    for number in marked if asked else ():
        piece = connection.snippet(number, asked, MARK_ON, MARK_OFF, SNIPPET_TOKENS)
        if piece is not None:
            result[number] = " ".join(piece.split())
    rest = [i for i in ids if i not in result]
    parts = [w for w in (*words, *phrases) if is_unspaced(w)]
    for number, text in connection.execute(
        f"SELECT id, substr(text, 1, 2000) FROM chunk WHERE id IN ({', '.join('?' * len(rest))})", rest
    ):
        result[number] = _around(" ".join(text.split()), parts)
    return result


def _search(
    connection: Reading,
    table: str,
    asked: Expressions,
    limit: int,
    allowed: tuple[str, list[Any]],
) -> Found:
    if not asked.some and not asked.all and not asked.exact:
        return NOTHING
    tiers: dict[int, int] = {}
    scores: dict[int, float] = {}
    for tier, expression in ((EXACT, asked.exact), (ALL, asked.all), (SOME, asked.some)):
        if not expression or (tier == SOME and expression == asked.all):
            continue
        longest = asked.longest if tier == EXACT else None
        rows = connection.best(table, expression, limit, allowed, longest)
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
            after = text[at + len(part) : end] + ("…" if end < len(text) else "")
            return before + MARK_ON + part + MARK_OFF + after
    if len(text) <= SNIPPET_CHARACTERS:
        return text
    return text[:SNIPPET_CHARACTERS].rsplit(" ", 1)[0] + "…"


def _near_terms(connection: Reading, token: str, table: str) -> tuple[Phrase, ...]:
    """What a word that nothing holds may have meant: terms it begins, else terms a typo or two away."""
    if is_unspaced(token) or len(token) < 4:
        return ()
    stem = stemmed(token, table)
    if connection.any_term(table, token):
        return (Phrase(token, prefix=True),)
    if len(token) < 5 or any(c.isdigit() for c in token):
        return ()  # short words and numbers have too many neighbours, all of them something else
    near = connection.near(table, stem, 1 if len(stem) < 8 else 2)
    return tuple(Phrase(term) for term in near)


def _count(connection: Reading, known: dict[tuple[str, str], int], token: str, table: str) -> int:
    """How many rows hold a token; for unspaced scripts 1 if any does."""
    _look_up(connection, known, [token], table)
    return known[table, token]


def _look_up(
    connection: Reading, known: dict[tuple[str, str], int], tokens: Sequence[str], table: str
) -> None:
    """The counts of tokens that are not known yet, all asked for at once."""
    missing = [t for t in tokens if (table, t) not in known]
    stems = {t: stemmed(t, table) for t in missing if not is_unspaced(t)}
    counts = connection.rows_with(table, list(stems.values())) if stems else {}
    for token in missing:
        if token in stems:
            known[table, token] = counts.get(stems[token], 0)
        else:
            known[table, token] = int(connection.any_row(table, matching(token, table)))


def _total(connection: Reading, table: str) -> int:
    of = "file" if table == "names" else "chunk"
    row = connection.execute(f"SELECT max(id) FROM {of}").fetchone()
    return row[0] or 0
