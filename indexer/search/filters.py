"""Filters as SQL conditions on the catalogue: which chunks may be in an answer.

Built around one `Restriction` per query: its conditions on chunk, content and file apply to both searches, and
choose the file of a content to show. It knows nothing of the query syntax.
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
from indexer.catalogue.albums import album_key
from indexer.catalogue.dialects import Reading
from indexer.catalogue.schema import RawName, stored_name
from indexer.catalogue.text.expression import matching
from indexer.search.query_syntax import ParsedQuery
from indexer.types import Filters

KM_PER_DEGREE = 111.2


Condition = tuple[str, list[Any]]
"""An SQL condition and the values of its question marks."""


@dataclass(frozen=True)
class Restriction:
    """The conditions of a query on the tables `c` (content), `k` (chunk) and `f` (file)."""

    query: ParsedQuery
    hidden: bool
    """Whether labels hide some chunks."""
    chunk: Condition
    """On `c` and `k`: the filters hold, and the chunk has no excluded word."""
    file: Condition
    """On `f`; without values any file passes."""

    @property
    def chunk_rows(self) -> Condition:
        """The condition that `w.rowid` is a chunk that passes; empty if all pass."""
        return self._rows("chunk k JOIN content c ON c.hash = k.content_hash WHERE k.id = w.rowid", ("1 = 1", []))

    @property
    def file_rows(self) -> Condition:
        """The condition that `w.rowid` is a file that passes and has a chunk that passes; empty if all pass."""
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
        """The condition on `f` of the files that the visitor may see; without values all."""
        return file_condition(Filters(within=self.query.filters.within))

    @property
    def key(self) -> tuple[Filters, tuple[str, ...], tuple[str, ...]]:
        """Equal for restrictions that pass the same chunks."""
        return self.query.filters, self.query.phrases, self.query.excluded

    @property
    def by_kind_alone(self) -> bool:
        query = self.query
        return not (query.phrases or query.excluded or self.hidden) and query.filters.only_kinds

    def roots(self, connection: Reading) -> frozenset[int] | None:
        """Returns the ids of roots if exactly the chunks below them pass; None if the restriction is not of roots."""
        query = self.query
        return None if query.phrases or query.excluded or self.hidden else roots_alone(connection, query.filters)

    def chunk_ids(self, connection: Reading) -> np.ndarray:
        """Returns the ids of all chunks that pass and have the required phrases, int64, ascending."""
        condition, values = _with_phrases(self.chunk, self.query.phrases, self.file)
        rows = connection.execute(
            "SELECT k.id FROM content c CROSS JOIN chunk k ON k.content_hash = c.hash"
            f" WHERE c.orphaned_at IS NULL AND {condition}",
            values,
        )
        return np.sort(np.fromiter((r[0] for r in rows), np.int64))


def restriction(connection: Reading, query: ParsedQuery) -> Restriction:
    """Returns the restriction of a query: its filters and excluded words."""
    hidden = connection.execute("SELECT 1 FROM label WHERE hidden <> 0 LIMIT 1").fetchone() is not None
    file = file_condition(query.filters)
    chunk = _with_phrases(chunk_condition(query.filters, file), query.excluded, file, "NOT ")
    return Restriction(query, hidden, chunk, file)


def place_notice(connection: Reading, filters: Filters) -> str | None:
    """Returns a sentence if no file that the visitor may see was taken near a place in the filters, else None."""
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


def album_notice(connection: Reading, filters: Filters) -> str | None:
    """Returns a sentence if an album in the filters does not exist or none of its files is in the library, else None.
    What other visitors have in an album is not told."""
    for name in filters.albums:
        what = f"the album “{name}”" if name else "the favourites"
        inside = "SELECT {} FROM album_item a WHERE a.key = ?"
        here = " AND EXISTS (SELECT 1 FROM file f WHERE f.content_hash = a.content_hash AND {})"
        condition, values = file_condition(Filters(within=filters.within))
        key = album_key(name)
        if connection.execute(inside.format(1) + here.format(condition) + " LIMIT 1", (key, *values)).fetchone():
            continue
        count = connection.execute(inside.format("count(*)"), (key,)).fetchone()[0]
        if count and not filters.within:
            files = f"The {count} files" if count > 1 else "The only file"
            verb = "are" if count > 1 else "is"
            return f"{files} of {what} {verb} not in the library any more. What comes back is in {what} again."
        return f"There is nothing in {what} yet: select some results and add them."
    return None


def roots_alone(connection: Reading, filters: Filters) -> frozenset[int] | None:
    """Returns the ids of the roots that the filters, kinds aside, are equivalent to: folders are the only filter, and
    each of them is a root or above roots. None otherwise."""
    if not (filters.under or filters.within) or not replace(filters, under=None, within=()).only_kinds:
        return None
    roots = {Path(os.fsdecode(p)): number for number, p in connection.execute("SELECT id, path FROM root")}
    ids = frozenset(roots.values())
    for folders in ((filters.under,) if filters.under else (), filters.within):
        paths = [folder.absolute() for folder in folders]
        if any(root in path.parents for path in paths for root in roots):
            return None  # a part of a root
        if paths:
            ids &= {n for root, n in roots.items() if any(path == root or path in root.parents for path in paths)}
    return ids


def _with_phrases(condition: Condition, phrases: Sequence[str], file: Condition, negation: str = "") -> Condition:
    """Returns the condition with a further one for each phrase: the text of the chunk, or the name or sidecar text of
    a file that passes, has the phrase. `negation`: "NOT " if none may have it."""
    parts, values = [condition[0]], [*condition[1]]
    for phrase in phrases:
        has_phrase, phrase_values = _phrase_condition(phrase, file)
        parts.append(f"{negation}({has_phrase})")
        values += phrase_values
    return " AND ".join(parts), values


def chunk_condition(filters: Filters, file: Condition) -> Condition:
    """Returns the condition of filters on `c` (content) and `k` (chunk); `file`: their condition on `f` (file)."""
    parts: list[str] = ["1 = 1"]
    values: list[Any] = []

    def add(condition: str, *condition_values: Any) -> None:
        parts.append(condition)
        values.extend(condition_values)

    add("k.id NOT IN (SELECT h.chunk_id FROM label h WHERE h.hidden <> 0)")
    if filters.kinds:
        add(f"c.kind IN ({', '.join('?' * len(filters.kinds))})", *filters.kinds)
    if filters.min_s is not None:
        add("c.duration_s >= ?", filters.min_s)
    if filters.max_s is not None:
        add("c.duration_s <= ?", filters.max_s)
    for label in filters.labels:
        add("k.id IN (SELECT l.chunk_id FROM label l WHERE lower(l.name) = lower(?))", label)
    for album in filters.albums:
        add("c.hash IN (SELECT a.content_hash FROM album_item a WHERE a.key = ?)", album_key(album))
    if file[1]:
        add(f"EXISTS (SELECT 1 FROM file f WHERE f.content_hash = c.hash AND {file[0]})", *file[1])
    return " AND ".join(parts), values


def file_condition(filters: Filters) -> Condition:
    """Returns the condition of filters on `f` (file); without values any file passes."""
    parts: list[str] = ["1 = 1"]
    values: list[Any] = []
    if filters.file_id is not None:
        parts.append("f.id = ?")
        values.append(filters.file_id)
    for folders in ((filters.under,) if filters.under else (), filters.within):
        below = [_below(folder) for folder in folders]
        if below:
            parts.append("(" + " OR ".join(condition for condition, _ in below) + ")")
            values += [value for _, folder_values in below for value in folder_values]
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
    for person in filters.people:
        patterns = [f"%{start}{name}%" for start in ("\n", " ", "-") for name in _spellings(person)]
        _add_either(parts, values, "f.people", patterns)
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
    """Returns the spellings of a text for LIKE: as typed; with each accented letter as one character (most systems) and
    as a letter and its mark (names from a Mac); as SQLite's LIKE knows only the case of ASCII, also in other cases."""
    cases = (text, text.lower(), text.upper(), text.title(), text.capitalize()) if not text.isascii() else (text,)
    forms = (unicodedata.normalize(form, case) for case in cases for form in ("NFC", "NFD"))
    return [_escaped(form) for form in dict.fromkeys((text, *forms))]


def _below(folder: Path) -> Condition:
    start = os.fspath(folder.absolute()).rstrip(os.sep) + os.sep
    end = start[:-1] + chr(ord(os.sep) + 1)
    raw = "(f.path >= ? AND f.path < ?)"
    blobs = [RawName(os.fsencode(start)), RawName(os.fsencode(end))]
    if isinstance(stored_name(start), bytes):
        return raw, [*blobs]
    return f"({raw} OR {raw})", [start, end, *blobs]


def _phrase_condition(phrase: str, file: Condition) -> Condition:
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
    """Returns a text escaped for LIKE; `*` becomes its wildcard."""
    for character in "\\%_":
        text = text.replace(character, "\\" + character)
    return text.replace("*", "%")
