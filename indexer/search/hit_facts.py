"""What an answer tells of a chunk: its file or files, its place in them, size, length and date.

Built around two reads for a whole list of chunks. What was read is kept for as long as
the catalogue does not change. It knows nothing of scores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import NamedTuple

from indexer.catalogue.connections import Connections, Reading
from indexer.search.filters import TAKEN, file_condition
from indexer.search.query_syntax import Filters
from indexer.types import Kind

KEPT = 20_000
AT_ONCE = 500


class Held(NamedTuple):
    """A file that holds a content."""

    file_id: int
    path: str
    name: str
    folder: str


class Fact(NamedTuple):
    chunk_id: int
    content: bytes
    ordinal: int
    start_s: float | None
    end_s: float | None
    page: int | None
    kind: Kind
    pages: int | None
    duration_s: float | None
    width: int | None
    height: int | None
    taken_at: float | None
    files: tuple[Held, ...]


class Facts:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._local = threading.local()

    def of(self, ids: Iterable[int]) -> dict[int, Fact]:
        """By chunk id; those that have gone since, or lie in no file now, are left out."""
        connection = self._connections.get()
        kept = self._kept(connection)
        wanted = list(ids)
        missing = [i for i in wanted if i not in kept]
        for start in range(0, len(missing), AT_ONCE):
            for fact in _read(connection, missing[start : start + AT_ONCE]):
                kept[fact.chunk_id] = fact
        return {i: kept[i] for i in wanted if i in kept}

    def passing(self, facts: Iterable[Fact], filters: Filters) -> dict[bytes, Held]:
        """By content, the first of its files that passes the filters on files."""
        condition, values = file_condition(filters)
        contents = list({f.content for f in facts})
        if not values or not contents:
            return {}
        rows = self._connections.get().execute(
            "SELECT f.content_hash, f.id, f.path, f.name, f.folder FROM file f"
            f" WHERE f.content_hash IN ({', '.join('?' * len(contents))}) AND {condition} ORDER BY f.id DESC",
            (*contents, *values),
        )
        return {row[0]: _held(row[1:]) for row in rows}

    def _kept(self, connection: Reading) -> dict[int, Fact]:
        """This thread's, as far as nothing was written since."""
        version = connection.version()
        if getattr(self._local, "version", None) != version or len(self._local.kept) > KEPT:
            self._local.version, self._local.kept = version, {}
        kept: dict[int, Fact] = self._local.kept
        return kept


def _read(connection: Reading, ids: list[int]) -> list[Fact]:
    rows = connection.execute(
        "SELECT k.id, k.content_hash, k.ordinal, k.start_s, k.end_s, k.page, c.kind, c.pages, c.duration_s,"
        f" c.width, c.height, {TAKEN} FROM chunk k CROSS JOIN content c ON c.hash = k.content_hash"
        f" WHERE k.id IN ({', '.join('?' * len(ids))}) AND c.orphaned_at IS NULL",
        ids,
    ).fetchall()
    contents = list({row[1] for row in rows})
    files: dict[bytes, list[Held]] = {}
    for row in connection.execute(
        "SELECT content_hash, id, path, name, folder FROM file"
        f" WHERE content_hash IN ({', '.join('?' * len(contents))}) ORDER BY id",
        contents,
    ):
        files.setdefault(row[0], []).append(_held(row[1:]))
    return [Fact(*row, tuple(files[row[1]])) for row in rows if row[1] in files]  # type: ignore[call-arg]


def _held(row: tuple[int, str | bytes, str | bytes, str | bytes]) -> Held:
    number, path, name, folder = row
    return Held(number, os.fsdecode(path), os.fsdecode(name), os.fsdecode(folder))
