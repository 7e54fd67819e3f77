"""The facts of a chunk in an answer: its files, its place in them, size, length and date.

Built around two queries for a whole list of chunks, whose results are cached until the catalogue changes. It
knows nothing of scores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import NamedTuple

from data.span import PdfPart, Span, unpacked_parts
from indexer.catalogue.connections import Connections
from indexer.catalogue.dialects import Reading
from indexer.search.filters import Condition
from indexer.types import Kind

CACHED = 20_000
BATCH = 500


class FileRef(NamedTuple):
    """A file of a content."""

    file_id: int
    path: str
    name: str
    folder: str
    taken: str | None = None
    taken_from: str | None = None

    @property
    def newness(self) -> tuple[bool, str]:
        """Sort key by the date taken; file-system dates come before all others."""
        return self.taken_from != "file", self.taken or ""


class Fact(NamedTuple):
    chunk_id: int
    content: bytes
    ordinal: int
    span: Span
    kind: Kind
    pages: int | None
    duration_s: float | None
    width: int | None
    height: int | None
    note: str | None
    live: int
    files: tuple[FileRef, ...]
    parts: tuple[PdfPart, ...] = ()
    picture_hash: bytes | None = None

    @property
    def own_time(self) -> str | None:
        """When it was taken, by its own account."""
        return next((file.taken for file in self.files if file.taken_from != "file"), None)

    @property
    def newest(self) -> FileRef:
        """The copy with the latest date; copies with only a file-system date come last."""
        files = self.files
        return files[0] if len(files) == 1 else max(files, key=lambda file: file.newness)


class Facts:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._local = threading.local()

    def of(self, ids: Iterable[int], seen: Condition = ("1 = 1", [])) -> dict[int, Fact]:
        """Returns chunk id -> facts; deleted chunks and chunks without a file are left out. `seen`: the condition on
        `f` (file) of the files that the visitor may see; the others are left out."""
        connection = self._connections.get()
        cache, ids = self._cache(connection), list(ids)
        missing = [i for i in ids if i not in cache]
        for start in range(0, len(missing), BATCH):
            for fact in _read(connection, missing[start : start + BATCH]):
                cache[fact.chunk_id] = fact
        facts = {i: cache[i] for i in ids if i in cache}
        return _seen_of(connection, facts, seen) if seen[1] else facts

    def matching_files(self, facts: Iterable[Fact], condition: Condition) -> dict[bytes, tuple[FileRef, ...]]:
        """Returns content -> its files that fulfil a condition on `f` (file), the first indexed first; {} for a
        condition without values."""
        contents = list({f.content for f in facts})
        if not condition[1] or not contents:
            return {}
        rows = self._connections.get().execute(
            "SELECT f.content_hash, f.id, f.path, f.name, f.folder, f.taken, f.taken_from FROM file f"
            " WHERE f.content_hash IN"
            f" ({', '.join('?' * len(contents))}) AND {condition[0]} ORDER BY f.id",
            (*contents, *condition[1]),
        )
        files: dict[bytes, tuple[FileRef, ...]] = {}
        for row in rows:
            files[row[0]] = (*files.get(row[0], ()), _file_ref(row[1:]))
        return files

    def _cache(self, connection: Reading) -> dict[int, Fact]:
        """Returns the cache of this thread, which is emptied when the catalogue has changed."""
        version = connection.version()
        if getattr(self._local, "version", None) != version or len(self._local.cache) > CACHED:
            self._local.version, self._local.cache = version, {}
        cache: dict[int, Fact] = self._local.cache
        return cache


def _seen_of(connection: Reading, facts: dict[int, Fact], seen: Condition) -> dict[int, Fact]:
    contents = list({fact.content for fact in facts.values()})
    files: set[int] = set()
    for start in range(0, len(contents), BATCH):
        batch = contents[start : start + BATCH]
        marks = ", ".join("?" * len(batch))
        sql = f"SELECT f.id FROM file f WHERE f.content_hash IN ({marks}) AND {seen[0]}"
        files.update(row[0] for row in connection.execute(sql, (*batch, *seen[1])))
    visible = ((i, tuple(f for f in fact.files if f.file_id in files)) for i, fact in facts.items())
    return {i: facts[i]._replace(files=refs) for i, refs in visible if refs}


def _read(connection: Reading, ids: list[int]) -> list[Fact]:
    rows = connection.execute(
        "SELECT k.id, k.content_hash, k.ordinal, k.start_s, k.end_s, k.page, c.kind, c.pages, c.duration_s,"
        " c.width, c.height, c.note, c.live, c.parts, c.picture_hash"
        " FROM chunk k CROSS JOIN content c ON c.hash = k.content_hash"
        f" WHERE k.id IN ({', '.join('?' * len(ids))}) AND c.orphaned_at IS NULL",
        ids,
    ).fetchall()
    contents = list({row[1] for row in rows})
    files: dict[bytes, list[FileRef]] = {}
    for row in connection.execute(
        "SELECT content_hash, id, path, name, folder, taken, taken_from FROM file"
        f" WHERE content_hash IN ({', '.join('?' * len(contents))}) ORDER BY id",
        contents,
    ):
        files.setdefault(row[0], []).append(_file_ref(row[1:]))
    return [
        Fact(*row[:3], Span(*row[3:6]), *row[6:-2], tuple(files[row[1]]), unpacked_parts(row[-2]), row[-1])  # type: ignore
        for row in rows
        if row[1] in files
    ]


def _file_ref(row: tuple[int, str | bytes, str | bytes, str | bytes, str | None, str | None]) -> FileRef:
    number, path, name, folder, *taken = row
    return FileRef(number, os.fsdecode(path), os.fsdecode(name), os.fsdecode(folder), *taken)
