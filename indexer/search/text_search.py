"""Text search: BM25 over the text of chunks and the names of files and folders.

Built around the text tables of the catalogue: `words` (chunk text) and `names` (file and folder names), both by
English stems, and `characters` (scripts without spaces between words), read through a `Reading` connection (FTS5
or PostgreSQL; the same terms, the same BM25). Matches come in tiers: the whole query as typed, all of its words,
some of them. Very frequent words are ignored (a disjunction of them costs 0.6 s at a million rows); words in no
row are replaced by terms that begin with them, then by terms with similar trigrams. It knows nothing of meaning,
kinds or ranking across lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from indexer.catalogue.dialects import Reading
from indexer.catalogue.text.expression import Expression, Phrase, is_unspaced, matching, phrase, tokenised
from indexer.catalogue.text.tokenizers import stemmed
from indexer.errors import QueryError
from indexer.search.query_syntax import parse

SOME, ALL, EXACT = 1, 2, 3
"""Tiers of a match: some of the words; all of them; the query as typed (for one word: all of a short text)."""

COMMON_SHARE, COMMON_LEAST = 0.05, 5000
"""A word in more chunks than both (a share, a number) is common: it is ignored if the query has a rarer word."""
BM25_FULL = 1.2
"""BM25 of a row with a word once or twice, divided by the word's inverse document frequency."""
FEW = 64
"""With fewer rows, frequencies say nothing: a row with all words of the query has full coverage."""
SLACK = 12
"""Characters beyond the word itself that a text of one word may have (an extension, a full stop)."""


# Words that carry no meaning of their own in a query; only English, as the stemming is.
_STOP_WORDS = """
a an and are as at be by for from has have how i in into is it its my of on or our over that the their there
these this to under was were what when where which who with without you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


NO_EXPRESSION = Expression("words", ())


@dataclass(frozen=True, eq=False)
class WordMatches:
    """Rows by word evidence, best first: ids int64 [n], tiers int [n], coverage float [n] from 0 to 1.

    Coverage is the share of the query's information: the row's BM25 divided by the highest one possible. A rare word
    counts more than a frequent one; a word in no row lowers the coverage of all.
    """

    ids: np.ndarray
    coverage: np.ndarray
    tiers: np.ndarray
    marks: Expression = NO_EXPRESSION
    """The words to mark in the text of a chunk."""
    literal: bool = False
    """The query is one word, and rows of the tier `ALL` have it as typed."""
    guessed: tuple[str, ...] = ()
    """The words of the query that no row has, in whose place others were looked for."""

    def doubted(self, is_word: Callable[[str], bool]) -> WordMatches:
        """Returns the matches with no tier above `SOME` if a guessed word is a word of its own: "corn" is no
        beginning of "corners", "glove" no mistyped "globe"."""
        if not any(is_word(word) for word in self.guessed):
            return self
        return replace(self, tiers=np.minimum(self.tiers, SOME))

    def __len__(self) -> int:
        return len(self.ids)


NOTHING = WordMatches(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Expressions:
    """The expressions of the three tiers for one table; empty if there is nothing to search for."""

    exact: Expression
    all: Expression
    some: Expression
    information: float = 1.0
    """The sum of the inverse document frequencies of the query's words."""
    literal: bool = False
    """The query is one word that some row has as typed."""
    guessed: tuple[str, ...] = ()
    """See `WordMatches.guessed`."""
    few: bool = False
    """The table has fewer than FEW rows, and no word was corrected."""
    longest: int | None = None
    """The maximum length of the text of an exact match, in characters."""


def search_chunks(
    connection: Reading,
    words: Sequence[str],
    phrases: Sequence[str],
    limit: int,
    allowed: tuple[str, list[Any]] = ("", []),
) -> WordMatches:
    """Returns the chunks with the words in their text. `allowed`: an SQL condition on `w.rowid` and its values."""
    in_words, in_characters = (expressions(connection, words, phrases, table) for table in ("words", "characters"))
    matches = _search(connection, "words", in_words, limit, allowed)
    others = _search(connection, "characters", in_characters, limit, allowed)
    return replace(_joined((matches, others), limit) if len(others) else matches, marks=in_words.some)


def search_names(
    connection: Reading,
    words: Sequence[str],
    phrases: Sequence[str],
    limit: int,
    allowed: tuple[str, list[Any]] = ("", []),
) -> WordMatches:
    """Returns the files with the words in their name or folders; ids are of files. `allowed`: as above."""
    return _search(connection, "names", expressions(connection, words, phrases, "names"), limit, allowed)


def expressions(connection: Reading, words: Sequence[str], phrases: Sequence[str], table: str) -> Expressions:
    """Returns the expressions of a query for a table; quoted phrases are required."""
    required = [(p,) for quoted in phrases if (p := phrase(quoted, table))]
    if len(required) < len(phrases) and table == "characters":
        nothing = Expression(table, ())
        return Expressions(nothing, nothing, nothing)  # this table cannot have a phrase in another script
    rare: list[tuple[Phrase, ...]] = []
    common: list[tuple[Phrase, ...]] = []
    corrected = missing = False
    guessed: list[str] = []
    total = _total(connection, table)
    most = max(COMMON_LEAST, COMMON_SHARE * total)
    information = 0.0
    tokens = [t for t in dict.fromkeys(t for w in words for t in tokenised(w, table)) if t not in STOP_WORDS]
    counts = connection.known_counts()
    _look_up(connection, counts, tokens, table)
    for token in tokens:
        count = counts[table, token]
        inverse = max(0.1, math.log((total - count + 0.5) / (count + 0.5)) if total > count else 0.1)
        information += inverse
        if count == 0:
            corrected = True
            # A word that is in the other table is no spelling mistake.
            other = "names" if table == "words" else "words"
            elsewhere = table != "characters" and _count(connection, counts, token, other) > 0
            near = () if elsewhere else _near_terms(connection, token, table)
            missing |= not near
            if near:  # the word may be another one: it counts half
                rare.append(near)
                guessed.append(token)
                information += inverse
        elif own := phrase(token, table):
            (common if count > most else rare).append((own,))
    words_of = rare or common  # common words count only if there are no others; then a row must have all of them
    some = [tuple(p for group in rare for p in group)] if rare else common
    whole = phrase(" ".join(words), table)
    # One word somewhere on a page says little; a text of just that word, or a number, is an exact match.
    text = str(whole or "")
    alone = len(rare + common) == 1 and not phrases and not any(c.isdigit() for c in text)
    return Expressions(
        information=information or 1.0,
        literal=not phrases and not corrected and bool(tokens) and len(telling(words)) == 1,
        guessed=tuple(guessed),
        few=total < FEW and not corrected,
        longest=len(text) + SLACK if alone else None,
        exact=Expression(table, () if corrected else [*required, *([(whole,)] if whole else [])]),
        all=Expression(table, () if missing else [*required, *words_of]),
        some=Expression(table, [*required, *some]),
    )


def words_to_mark(text: str) -> tuple[str, ...]:
    """Returns the words to mark on a page for the query `text`, each with its stem."""
    return tuple(dict.fromkeys(form for token in query_words(text) for form in (token, stemmed(token))))


def query_words(text: str) -> list[str]:
    """Returns the words of the query `text` without stop words, unless it has no others; none if the text cannot be
    parsed yet."""
    try:
        parsed = parse(text)
    except QueryError:
        return []
    return telling((*parsed.words, *parsed.phrases))


def telling(texts: Sequence[str]) -> list[str]:
    """Returns the words of the texts without stop words and repetitions; the stop words if there are no others."""
    tokens = list(dict.fromkeys(token for text in texts for token in tokenised(text, "names")))
    return [token for token in tokens if token not in STOP_WORDS] or tokens


def _search(
    connection: Reading, table: str, expressions: Expressions, limit: int, allowed: tuple[str, list[Any]]
) -> WordMatches:
    tiers: dict[int, int] = {}
    scores: dict[int, float] = {}
    for tier, expression in ((EXACT, expressions.exact), (ALL, expressions.all), (SOME, expressions.some)):
        if not expression or (tier == SOME and expression == expressions.all):
            continue
        longest = expressions.longest if tier == EXACT else None
        for number, score in connection.best(table, expression, limit, allowed, longest):
            tiers.setdefault(number, tier)
            whole = tier == EXACT or (tier == ALL and expressions.few)
            share = 1.0 if whole else min(1.0, max(0.0, score) / (BM25_FULL * expressions.information))
            scores[number] = max(share, scores.get(number, 0.0))
    found = _ordered(tiers, scores, limit)
    return replace(found, literal=expressions.literal, guessed=expressions.guessed) if tiers else NOTHING


def _ordered(tiers: dict[int, int], scores: dict[int, float], limit: int) -> WordMatches:
    order = sorted(tiers, key=lambda i: (-tiers[i], -scores[i], i))[:limit]
    return WordMatches(
        np.array(order, np.int64),
        np.array([scores[i] for i in order], float),
        np.array([tiers[i] for i in order], np.int64),
    )


def _joined(lists: Sequence[WordMatches], limit: int) -> WordMatches:
    tiers: dict[int, int] = {}
    scores: dict[int, float] = {}
    for each in lists:
        for number, score, tier in zip(each.ids.tolist(), each.coverage, each.tiers.tolist(), strict=True):
            tiers[number] = max(tier, tiers.get(number, 0))
            scores[number] = max(score, scores.get(number, 0.0))
    guessed = tuple(dict.fromkeys(word for each in lists for word in each.guessed))
    return replace(_ordered(tiers, scores, limit), literal=any(each.literal for each in lists), guessed=guessed)


def _near_terms(connection: Reading, token: str, table: str) -> tuple[Phrase, ...]:
    """Returns the terms that may replace a word that is in no row: those that begin with it, else those with one or
    two edits."""
    if is_unspaced(token) or len(token) < 4:
        return ()
    stem = stemmed(token, table)
    if connection.any_term(table, token):
        return (Phrase(token, prefix=True),)
    if len(token) < 5 or any(c.isdigit() for c in token):
        return ()  # short words and numbers have too many neighbours with another meaning
    near = connection.near(table, stem, 1 if len(stem) < 8 else 2)
    return tuple(Phrase(term) for term in near)


Counts = dict[tuple[str, str], int]
"""(table, token) -> number of rows with the token."""


def _count(connection: Reading, counts: Counts, token: str, table: str) -> int:
    """Returns how many rows have a token; at most 1 for unspaced scripts."""
    _look_up(connection, counts, [token], table)
    return counts[table, token]


def _look_up(connection: Reading, counts: Counts, tokens: Sequence[str], table: str) -> None:
    """Count the rows of tokens that are not in `counts` yet, with one query for all."""
    missing = [t for t in tokens if (table, t) not in counts]
    stems = {t: stemmed(t, table) for t in missing if not is_unspaced(t)}
    rows = connection.rows_with(table, list(stems.values())) if stems else {}
    for token in missing:
        if token in stems:
            counts[table, token] = rows.get(stems[token], 0)
        else:
            expression = matching(token, table)  # empty in a table of other scripts
            counts[table, token] = int(bool(expression) and connection.any_row(table, expression))


def _total(connection: Reading, table: str) -> int:
    source = "file" if table == "names" else "chunk"
    row = connection.execute(f"SELECT max(id) FROM {source}").fetchone()
    return row[0] or 0
