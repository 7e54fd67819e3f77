"""What a scan leaves out: how many files and folders of each sort, the reason, and an example path.

Built around one count per (what, why), stored as JSON by root and by folder. It knows nothing of the rules.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from indexer.types import LeftOutSort

MOST_SORTS = 60
"""Sorts per root; further ones count as "other names" with the same reason."""


class LeftOut:
    """Counts by (what, why), each with an example path."""

    def __init__(self) -> None:
        self._sorts: dict[tuple[str, str], tuple[int, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._sorts)

    @property
    def total(self) -> int:
        return sum(count for count, _ in self._sorts.values())

    def put(self, what: str, why: str, path: str, count: int = 1) -> None:
        if (what, why) not in self._sorts and len(self._sorts) >= MOST_SORTS:
            what = "other names"
        before, example = self._sorts.get((what, why), (0, path))
        self._sorts[what, why] = (before + count, example)

    def add(self, other: LeftOut) -> None:
        for (what, why), (count, path) in other._sorts.items():
            self.put(what, why, path, count)

    def sorts(self) -> tuple[LeftOutSort, ...]:
        """Returns the sorts, the most frequent one first."""
        rows = sorted(self._sorts.items(), key=lambda row: (-row[1][0], row[0]))
        return tuple(LeftOutSort(what, why, count, path) for (what, why), (count, path) in rows)

    def stored(self) -> str:
        rows = [
            (_as_utf8(what), why, count, _as_utf8(path)) for (what, why), (count, path) in sorted(self._sorts.items())
        ]
        return json.dumps(rows)

    @classmethod
    def read(cls, stored: str) -> LeftOut:
        left_out = cls()
        for what, why, count, path in json.loads(stored):
            left_out.put(what, why, path, count)
        return left_out

    @classmethod
    def of(cls, parts: Iterable[str]) -> LeftOut:
        """Returns the sum of several stored ones."""
        total = cls()
        for part in parts:
            total.add(cls.read(part))
        return total


def _as_utf8(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")
