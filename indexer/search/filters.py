"""Filters as conditions on the catalogue: which chunks are allowed in an answer.

Built around one SQL statement over chunk, content and file; its outcome, a set of chunk
ids, narrows both searches alike. It knows nothing of how filters were typed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalogue.connections import Reading
from indexer.catalogue.schema import RawName, stored_name
from indexer.search import text_search
from indexer.search.query_syntax import Filters

TAKEN = "coalesce(c.taken_at, (SELECT min(t.mtime_ns) FROM file t WHERE t.content_hash = c.hash) / 1e9)"
"""The date taken; the file's own only when nothing else is known."""

KM_PER_DEGREE = 111.2


Condition = tuple[str, list[Any]]
"""A piece of SQL and the values of its question marks."""


def allowed_ids(
    connection: Reading, filters: Filters, required: Sequence[str], excluded: Sequence[str]
) -> np.ndarray:
    """int64 ids, ascending, of all chunks that pass; `required` phrases must be in their text or name,
    `excluded` words or phrases must not."""
    condition, values = passing(filters, required, excluded)
    rows = connection.execute(
        "SELECT k.id FROM content c CROSS JOIN chunk k ON k.content_hash = c.hash"
        f" WHERE c.orphaned_at IS NULL AND {condition}",
        values,
    )
    return np.sort(np.fromiter((r[0] for r in rows), np.int64))


def roots_alone(connection: Reading, filters: Filters) -> frozenset[int] | None:
    """The roots (their numbers) that filters come down to, beside kinds: where nothing but folders is asked
    for, and each of them is a root or above some; None otherwise."""
    if not (filters.under or filters.within) or not replace(filters, under=None, within=()).only_kinds:
        return None
    roots = {Path(os.fsdecode(p)): number for number, p in connection.execute("SELECT id, path FROM root")}
    wanted = frozenset(roots.values())
    for folders in ((filters.under,) if filters.under else (), filters.within):
        whole = [folder.absolute() for folder in folders]
        if any(root in folder.parents for folder in whole for root in roots):
            return None  # a part of a root
        if whole:
            wanted &= {n for root, n in roots.items() if any(f == root or f in root.parents for f in whole)}
    return wanted


def chunk_rows(filters: Filters, excluded: Sequence[str]) -> Condition:
    """The condition that `w.rowid` is a chunk that passes."""
    condition, values = passing(filters, (), excluded)
    return (
        "EXISTS (SELECT 1 FROM chunk k JOIN content c ON c.hash = k.content_hash"
        f" WHERE k.id = w.rowid AND c.orphaned_at IS NULL AND {condition})",
        values,
    )


def file_rows(filters: Filters, excluded: Sequence[str]) -> Condition:
    """The condition that `w.rowid` is a file that passes, with a chunk that does."""
    condition, values = passing(filters, (), excluded)
    own, more = file_condition(filters)
    return (
        "EXISTS (SELECT 1 FROM file f JOIN content c ON c.hash = f.content_hash"
        f" JOIN chunk k ON k.content_hash = c.hash WHERE f.id = w.rowid AND {own} AND {condition})",
        [*more, *values],
    )


def passing(filters: Filters, required: Sequence[str], excluded: Sequence[str]) -> Condition:
    """Over `c` and `k`: the filters hold, the required phrases are there, the excluded are not."""
    condition, values = chunk_condition(filters)
    for phrase, wanted in (*((p, True) for p in required), *((e, False) for e in excluded)):
        held, more = _holding(phrase)
        condition += f" AND {'' if wanted else 'NOT '}({held})"
        values += more
    return condition, values


def chunk_condition(filters: Filters) -> Condition:
    """A condition over `c` (content) and `k` (chunk), and its values."""
    parts: list[str] = ["1 = 1"]
    values: list[Any] = []

    def add(condition: str, *own: Any) -> None:
        parts.append(condition)
        values.extend(own)

    add("k.id NOT IN (SELECT h.chunk_id FROM label h WHERE h.hidden <> 0)")
    if filters.kinds:
        add(f"c.kind IN ({', '.join('?' * len(filters.kinds))})", *filters.kinds)
    if filters.after is not None:
        add(f"{TAKEN} >= ?", filters.after)
    if filters.before is not None:
        add(f"{TAKEN} < ?", filters.before)
    if filters.min_s is not None:
        add("c.duration_s >= ?", filters.min_s)
    if filters.max_s is not None:
        add("c.duration_s <= ?", filters.max_s)
    for camera in filters.cameras:
        add("c.camera LIKE ? ESCAPE '\\'", _inside(camera))
    for lat, lon, km in filters.near:
        east = "(180 - abs(abs(c.lon - ?) - 180)) * ?"
        add(
            f"(c.lat - ?) * (c.lat - ?) + {east} * {east} <= ?",
            *(lat, lat, *(lon, math.cos(math.radians(lat))) * 2, (km / KM_PER_DEGREE) ** 2),
        )
    for label in filters.labels:
        add("k.id IN (SELECT l.chunk_id FROM label l WHERE lower(l.name) = lower(?))", label)
    condition, own = file_condition(filters)
    if own:
        add(f"EXISTS (SELECT 1 FROM file f WHERE f.content_hash = c.hash AND {condition})", *own)
    return " AND ".join(parts), values


def file_condition(filters: Filters) -> Condition:
    """A condition over `f` (file), and its values; no values: any file will do."""
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
        parts.append("f.folder || '/' LIKE ? ESCAPE '\\'")
        values.append(f"%/{_escaped(folder.strip('/'))}%/%")
    for name in filters.names:
        parts.append("f.name LIKE ? ESCAPE '\\'")
        values.append(_inside(name))
    if filters.extensions:
        parts.append("(" + " OR ".join(["f.name LIKE ? ESCAPE '\\'"] * len(filters.extensions)) + ")")
        values += [f"%.{_escaped(e)}" for e in filters.extensions]
    if filters.min_bytes is not None:
        parts.append("f.size >= ?")
        values.append(filters.min_bytes)
    if filters.max_bytes is not None:
        parts.append("f.size <= ?")
        values.append(filters.max_bytes)
    return " AND ".join(parts), values


def _below(folder: Path) -> Condition:
    inside = os.fspath(folder.absolute()).rstrip(os.sep) + os.sep
    after = inside[:-1] + chr(ord(os.sep) + 1)
    raw = "(f.path >= ? AND f.path < ?)"
    blobs = [RawName(os.fsencode(inside)), RawName(os.fsencode(after))]
    if isinstance(stored_name(inside), bytes):
        return raw, [*blobs]
    return f"({raw} OR {raw})", [inside, after, *blobs]


def _holding(phrase: str) -> tuple[str, list[str]]:
    parts: list[str]
    values: list[str]
    parts, values = ["1 = 0"], []
    for table in ("words", "characters"):
        if asked := text_search.matching(phrase, table):
            parts.append(f"k.id IN (SELECT rowid FROM {table} WHERE {table} MATCH ?)")
            values.append(asked)
    if asked := text_search.matching(phrase, "names"):
        parts.append(
            "c.hash IN (SELECT f.content_hash FROM file f WHERE f.content_hash IS NOT NULL AND f.id IN"
            " (SELECT rowid FROM names WHERE names MATCH ?))"
        )
        values.append(asked)
    return " OR ".join(parts), values


def _inside(text: str) -> str:
    return f"%{_escaped(text)}%"


def _escaped(text: str) -> str:
    """For LIKE; `*` is the wildcard that people type."""
    for character in "\\%_":
        text = text.replace(character, "\\" + character)
    return text.replace("*", "%")
