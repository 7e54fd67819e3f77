"""The vocabulary of filters: for each filter the values that the library has, the most frequent first.

Built around one small query a filter over the files that a visitor may see. It knows nothing of how they are typed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from data.gazetteer import locate, nearest
from indexer.catalogue.copies import unpacked_people
from indexer.catalogue.dialects import Reading
from indexer.search.filters import file_condition
from indexer.types import Filters

MOST = 60
"""Values of one filter."""
FOLDERS, DATES, PEOPLE, CELLS = 2000, 2000, 5000, 120
"""Rows that are read at most: folders, months, groups of people, and squares of a tenth of a degree, whose towns are
looked up."""

Vocabulary = dict[str, list[tuple[str, int]]]
"""Filter -> (value, number of files)."""


def vocabulary(connection: Reading, filters: Filters) -> Vocabulary:
    """Returns the values of the files that pass the filters."""
    condition, values = file_condition(filters)

    def counts(column: str, also: str, order: str = "count(*) DESC, value", limit: int = MOST) -> list[tuple[str, int]]:
        rows = connection.execute(
            f"SELECT {column} AS value, count(*) FROM file f WHERE {condition} AND {also}"
            f" GROUP BY value ORDER BY {order} LIMIT {limit}",
            values,
        )
        return [(os.fsdecode(value), number) for value, number in rows]

    return {
        "taken": _dates(counts("substr(f.taken, 1, 7)", "f.taken IS NOT NULL", "value DESC", DATES)),
        "near": _towns(connection, condition, values),
        "camera": counts("f.camera", "f.camera IS NOT NULL"),
        "person": _most(
            (name, number)
            for names, number in counts("f.people", "f.people IS NOT NULL", limit=PEOPLE)
            for name in unpacked_people(names)
        ),
        "type": counts("f.kind", "1 = 1"),
        "in": _most((PurePath(folder).name, number) for folder, number in counts("f.folder", "1 = 1", limit=FOLDERS)),
        "label": _labels(connection, condition, values),
    }


def _dates(months: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Returns the years, then the newest months."""
    years = _most((month[:4], number) for month, number in months)
    return sorted(years, reverse=True) + [(month, number) for month, number in months if len(month) == 7][:MOST]


def _towns(connection: Reading, condition: str, values: list[object]) -> list[tuple[str, int]]:
    """Returns the towns near which files were taken; those alone whose name leads back to the place."""
    rows = connection.execute(
        "SELECT CAST(f.lat * 10 AS integer) AS north, CAST(f.lon * 10 AS integer) AS east, count(*), min(f.lat),"
        f" min(f.lon) FROM file f WHERE f.lat IS NOT NULL AND {condition} GROUP BY north, east"
        f" ORDER BY count(*) DESC LIMIT {CELLS}",
        values,
    )
    named = ((nearest(lat, lon), number) for _, _, number, lat, lon in rows)
    return _most((name, number) for name, number in named if name is not None and locate(name) is not None)


def _labels(connection: Reading, condition: str, values: list[object]) -> list[tuple[str, int]]:
    of_visitor = ""
    if values:
        of_visitor = (
            " AND EXISTS (SELECT 1 FROM chunk k JOIN file f ON f.content_hash = k.content_hash"
            f" WHERE k.id = l.chunk_id AND {condition})"
        )
    rows: list[tuple[str, int]] = connection.execute(
        f"SELECT l.name, count(*) FROM label l WHERE l.hidden = 0{of_visitor} GROUP BY l.name"
        f" ORDER BY count(*) DESC, l.name LIMIT {MOST}",
        values,
    ).fetchall()
    return rows


def _most(counted: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    sums: Counter[str] = Counter()
    for name, number in counted:
        sums[name] += number
    return [(name, number) for name, number in sums.most_common(MOST) if name]
