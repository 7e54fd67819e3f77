"""Filters as conditions on the catalogue: which chunks are allowed in an answer.

Built around one `Restriction`, made once a query: its conditions over chunk, content and file narrow both
searches alike, and say which of a content's files to show. It knows nothing of how filters are typed.
"""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.gazetteer import nearest
from indexer.catalogue.connections import Reading
from indexer.catalogue.schema import RawName, stored_name
from indexer.catalogue.text.expression import matching
from indexer.search.query_syntax import ParsedQuery
from indexer.types import Filters

KM_PER_DEGREE = 111.2


Condition = tuple[str, list[Any]]
"""A piece of SQL and the values of its question marks."""


@dataclass(frozen=True)
class Restriction:
    """What may be in an answer, as conditions on the tables `c` (content), `k` (chunk) and `f` (file)."""

    query: ParsedQuery
    hidden: bool
    """Labels hide some chunks."""
    chunk: Condition
    """Over `c` and `k`: the filters hold, and nothing that is excluded is there."""
    file: Condition
    """Over `f`; no values: any file will do."""

    @property
    def chunk_rows(self) -> Condition:
        """The condition that `w.rowid` is a chunk that passes; empty where all do."""
        return self._rows("chunk k JOIN content c ON c.hash = k.content_hash WHERE k.id = w.rowid", ("1 = 1", []))

    @property
    def file_rows(self) -> Condition:
        """The condition that `w.rowid` is a file that passes, with a chunk that does; empty where all do."""
        return self._rows(
            "file f JOIN content c ON c.hash = f.content_hash JOIN chunk k ON k.content_hash = c.hash"
            " WHERE f.id = w.rowid",
            self.file,
        )

    def _rows(self, tables: str, own: Condition) -> Condition:
        if self.query.filters == Filters() and not self.query.excluded and not self.hidden:
            return "", []
        condition = f"{own[0]} AND c.orphaned_at IS NULL AND {self.chunk[0]}"
        return f"EXISTS (SELECT 1 FROM {tables} AND {condition})", [*own[1], *self.chunk[1]]

    @property
    def seen(self) -> Condition:
        """Over `f`: the files that the visitor may see; no values: all."""
        return file_condition(Filters(within=self.query.filters.within))

    @property
    def key(self) -> tuple[Filters, tuple[str, ...], tuple[str, ...]]:
        """The same for restrictions that let the same chunks pass."""
        return self.query.filters, self.query.phrases, self.query.excluded

    @property
    def by_kind_alone(self) -> bool:
        query = self.query
        return not (query.phrases or query.excluded or self.hidden) and query.filters.only_kinds

    def roots(self, connection: Reading) -> frozenset[int] | None:
        """The roots (their numbers) below which every chunk passes, and no other; None if it takes more."""
        query = self.query
        return None if query.phrases or query.excluded or self.hidden else roots_alone(connection, query.filters)

    def chunk_ids(self, connection: Reading) -> np.ndarray:
        """int64 ids, ascending, of all chunks that pass and hold the required phrases."""
        condition, values = _with_phrases(self.chunk, self.query.phrases, self.file)
        rows = connection.execute(
            "SELECT k.id FROM content c CROSS JOIN chunk k ON k.content_hash = c.hash"
            f" WHERE c.orphaned_at IS NULL AND {condition}",
            values,
        )
        return np.sort(np.fromiter((r[0] for r in rows), np.int64))


def restriction(connection: Reading, query: ParsedQuery) -> Restriction:
    """The filters of a query and the words that it excludes, as conditions."""
    hidden = connection.execute("SELECT 1 FROM label WHERE hidden <> 0 LIMIT 1").fetchone() is not None
    file = file_condition(query.filters)
    chunk = _with_phrases(chunk_condition(query.filters, file), query.excluded, file, "NOT ")
    return Restriction(query, hidden, chunk, file)


def far_from_all(connection: Reading, filters: Filters) -> str | None:
    """Returns a sentence where nothing that the visitor may see was taken near a place of the filters."""
    for place in filters.near:
        condition, values = file_condition(Filters(near=(place,), within=filters.within))
        if connection.execute(f"SELECT 1 FROM file f WHERE {condition} LIMIT 1", values).fetchone() is None:
            lat, lon, km = place
            town = nearest(lat, lon) or f"{lat:g}, {lon:g}"
            return (
                f"Nothing in the library was taken within {km:g} km of {town}: for another place write its position,"
                " near:38.72,-9.14."
            )
    return None


def roots_alone(connection: Reading, filters: Filters) -> frozenset[int] | None:
    """The roots (their numbers) that filters come down to, beside kinds: where folders are the only filter,
    and each of them is a root or lies above some; None otherwise."""
    if not (filters.under or filters.within) or not replace(filters, under=None, within=()).only_kinds:
        return None
    roots = {Path(os.fsdecode(p)): number for number, p in connection.execute("SELECT id, path FROM root")}
    chosen = frozenset(roots.values())
    for folders in ((filters.under,) if filters.under else (), filters.within):
        whole = [folder.absolute() for folder in folders]
        if any(root in folder.parents for folder in whole for root in roots):
            return None  # a part of a root
        if whole:
            chosen &= {n for root, n in roots.items() if any(f == root or f in root.parents for f in whole)}
    return chosen


def _with_phrases(condition: Condition, phrases: Sequence[str], file: Condition, negation: str = "") -> Condition:
    """The condition, and that the text of a chunk, or the name of a file that passes or the words beside it, hold (do
    not hold) the phrases."""
    parts, values = [condition[0]], [*condition[1]]
    for phrase in phrases:
        holds, more = _holding(phrase, file)
        parts.append(f"{negation}({holds})")
        values += more
    return " AND ".join(parts), values


def chunk_condition(filters: Filters, file: Condition) -> Condition:
    """A condition over `c` (content) and `k` (chunk); `file`: the one over `f` (file)."""
    parts: list[str] = ["1 = 1"]
    values: list[Any] = []

    def add(condition: str, *own: Any) -> None:
        parts.append(condition)
        values.extend(own)

    add("k.id NOT IN (SELECT h.chunk_id FROM label h WHERE h.hidden <> 0)")
    if filters.kinds:
        add(f"c.kind IN ({', '.join('?' * len(filters.kinds))})", *filters.kinds)
    if filters.min_s is not None:
        add("c.duration_s >= ?", filters.min_s)
    if filters.max_s is not None:
        add("c.duration_s <= ?", filters.max_s)
    for label in filters.labels:
        add("k.id IN (SELECT l.chunk_id FROM label l WHERE lower(l.name) = lower(?))", label)
    if file[1]:
        add(f"EXISTS (SELECT 1 FROM file f WHERE f.content_hash = c.hash AND {file[0]})", *file[1])
    return " AND ".join(parts), values


def file_condition(filters: Filters) -> Condition:
    """A condition over `f` (file); no values: any file will do."""
    parts: list[str] = ["1 = 1"]
    values: list[Any] = []
    if filters.file_id is not None:
        parts.append("f.id = ?")
        values.append(filters.file_id)
    for folders in ((filters.under,) if filters.under else (), filters.within):
        below = [_below(folder) for folder in folders]
        if below:
            parts.append("(" + " OR ".join(condition for condition, _ in below) + ")")
            values += [value for _, own in below for value in own]
    for folder in filters.folders:
        _add_either(parts, values, "f.folder || '/'", [f"%/{f}%/%" for f in _spellings(folder.strip("/"))])
    for name in filters.names:
        _add_either(parts, values, "f.name", [f"%{n}%" for n in _spellings(name)])
    if filters.extensions:
        parts.append("(" + " OR ".join(["f.name LIKE ? ESCAPE '\\'"] * len(filters.extensions)) + ")")
        values += [f"%.{_escaped(e)}" for e in filters.extensions]
    for camera in filters.cameras:
        parts.append("f.camera LIKE ? ESCAPE '\\'")
        values.append(_inside(camera))
    if filters.after is not None:
        parts.append("f.taken >= ?")
        values.append(filters.after)
    if filters.before is not None:
        parts.append("f.taken < ?")
        values.append(filters.before)
    for lat, lon, km in filters.near:
        east = "(180 - abs(abs(f.lon - ?) - 180)) * ?"
        parts.append(f"(f.lat - ?) * (f.lat - ?) + {east} * {east} <= ?")
        values += [lat, lat, *(lon, math.cos(math.radians(lat))) * 2, (km / KM_PER_DEGREE) ** 2]
    if filters.min_bytes is not None:
        parts.append("f.size >= ?")
        values.append(filters.min_bytes)
    if filters.max_bytes is not None:
        parts.append("f.size <= ?")
        values.append(filters.max_bytes)
    return " AND ".join(parts), values


def _add_either(parts: list[str], values: list[Any], column: str, patterns: Sequence[str]) -> None:
    parts.append("(" + " OR ".join([f"{column} LIKE ? ESCAPE '\\'"] * len(patterns)) + ")")
    values += patterns


def _spellings(text: str) -> list[str]:
    """For LIKE: as typed, with each accented letter as one character (most systems), and as a letter and its mark
    (names from a Mac); in SQLite, whose LIKE knows only the case of ASCII, also in small and capital letters."""
    cases = (text, text.lower(), text.upper(), text.title(), text.capitalize()) if not text.isascii() else (text,)
    forms = (unicodedata.normalize(form, case) for case in cases for form in ("NFC", "NFD"))
    return [_escaped(form) for form in dict.fromkeys((text, *forms))]


def _below(folder: Path) -> Condition:
    inside = os.fspath(folder.absolute()).rstrip(os.sep) + os.sep
    after = inside[:-1] + chr(ord(os.sep) + 1)
    raw = "(f.path >= ? AND f.path < ?)"
    blobs = [RawName(os.fsencode(inside)), RawName(os.fsencode(after))]
    if isinstance(stored_name(inside), bytes):
        return raw, [*blobs]
    return f"({raw} OR {raw})", [inside, after, *blobs]


def _holding(phrase: str, file: Condition) -> Condition:
    parts: list[str] = ["1 = 0"]
    values: list[Any] = []
    for table in ("words", "characters"):
        if expression := matching(phrase, table):
            parts.append(f"k.id IN (SELECT rowid FROM {table} WHERE {table} MATCH ?)")
            values.append(expression)
    if expression := matching(phrase, "names"):
        parts.append(
            f"c.hash IN (SELECT f.content_hash FROM file f WHERE f.content_hash IS NOT NULL AND {file[0]} AND f.id IN"
            " (SELECT rowid FROM names WHERE names MATCH ?))"
        )
        values += [*file[1], expression]
    return " OR ".join(parts), values


def _inside(text: str) -> str:
    return f"%{_escaped(text)}%"


def _escaped(text: str) -> str:
    """For LIKE; `*` is the wildcard that people type."""
    for character in "\\%_":
        text = text.replace(character, "\\" + character)
    return text.replace("*", "%")
