"""Salvage of a damaged SQLite catalogue: every row that can be read goes into a new one.

Built around the idea of SQLite's `.recover`, with SQL alone: tables are read by ranges of row numbers, and a range
that cannot be read is halved until single rows are left. An index is a second copy of a row's identity: a chunk whose
page is damaged keeps its number, and so its labels. What people made comes first; what can be made anew is queued
again. The damaged file is kept. It knows nothing of the library's other files, except that the vector index is a cache.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import explained, sqlite, sqlite_access
from indexer.catalogue.schema import migrations
from indexer.catalogue.text.expression import unspaced_only
from indexer.errors import LibraryError
from indexer.types import VerifyReport

Row = dict[str, Any]

WINDOW = 2000
"""Row numbers that are read at a time: 5 MB of embeddings."""
OF_AN_INDEX = re.compile(r"(missing from|entries in|non-unique entry in) index ")
HEADER = 100
"""Bytes at the start of the file, with the page size and the schema's version."""


@dataclass(frozen=True)
class _Table:
    """`message`: what is said of `n` rows that cannot be read. `unique`: the columns of its first index, and
    `indexes`: those of others that a row can be made of. `is_made`: people made it; other rows are made anew."""

    name: str
    unique: tuple[str, ...]
    message: str
    indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_made: bool = False

    def identities(self, source: sqlite3.Connection) -> dict[int, Row]:
        """Returns by row number what those indexes hold of each row that can be read."""
        rows: dict[int, Row] = {}
        first = {f"sqlite_autoindex_{self.name}_1": self.unique} if self.unique else {}
        for index, columns in (first | dict(self.indexes)).items():
            query = f"SELECT rowid, {', '.join(columns)} FROM {self.name} INDEXED BY {index}"
            with suppress(sqlite3.DatabaseError):
                for number, *values in source.execute(query).fetchall():
                    rows.setdefault(number, {}).update(zip(columns, values, strict=True))
        return rows


OF_FILES = {"file_folder": ("root_id", "folder"), "file_content": ("content_hash",), "file_kind": ("root_id", "kind")}
TABLES = (
    _Table("setting", ("name",), "{n} settings are lost; the default holds", is_made=True),
    _Table("root", ("path",), "of {n} folders only the names are left; one below another is left out", is_made=True),
    _Table("label", ("chunk_id", "name"), "{n} labels have lost their score: label and moderate again", is_made=True),
    _Table("album_item", ("key", "content_hash"), "of {n} album items only album and content are left", is_made=True),
    _Table("cue", (), "{n} lines of transcripts are made again", {"cue_of_content": ("content_hash", "start_s")}),
    _Table("model", ("name",), "{n} models are lost: all is embedded again"),
    _Table("content", ("hash",), "{n} contents are read again"),
    _Table("file", ("path",), "{n} files are looked at again", OF_FILES),
    _Table("chunk", ("content_hash", "ordinal"), "{n} chunks are read again"),
    _Table("embedding", ("chunk_id", "model_id"), "{n} embeddings are made again"),
)
"""The tables that are read, in the order in which they are written. All others are made anew."""


@dataclass
class _Salvage:
    source: sqlite3.Connection
    target: sqlite3.Connection
    lost: dict[str, dict[int, Row] | None] = field(default_factory=dict)
    """By table, the rows that cannot be read; None if that is not known."""

    def copy(self, table: _Table) -> None:
        identities = table.identities(self.source)
        columns = [row[1] for row in self.target.execute(f"PRAGMA table_info({table.name})")]
        present = {row[1] for row in self.source.execute(f"PRAGMA table_info({table.name})")}
        if not present:
            return
        columns = [column for column in columns if column in present]  # an older library lacks some
        if table.name == "content":
            columns.insert(0, "rowid")  # the order of arrival
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT OR IGNORE INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"
        last = self._last(table, max(identities, default=0))
        is_damaged = False
        for rows in _readable(self.source, f"SELECT rowid, {', '.join(columns)} FROM {table.name}", last):
            if rows is None:
                is_damaged = True
                continue
            self.target.executemany(insert, [row[1:] for row in rows])
            for row in rows:
                identities.pop(row[0], None)
        if identities or is_damaged:
            self.lost[table.name] = identities or None

    def _last(self, table: _Table, in_index: int) -> int:
        """An upper bound of the row numbers. `in_index`: the last one in an index; 0 if none can be read."""
        for query in (
            f"SELECT coalesce(max(rowid), 0) FROM {table.name}",
            f"SELECT seq FROM sqlite_sequence WHERE name = '{table.name}'",
        ):
            with suppress(sqlite3.DatabaseError):
                if (row := self.source.execute(query).fetchone()) is not None:
                    return max(int(row[0]), in_index)
        return in_index + WINDOW if in_index else 1 << 20

    def complete(self) -> tuple[list[str], list[str]]:
        """Put back what the indexes know of lost rows, queue what has to be made anew, and drop the rows whose parent
        is lost. Returns sentences: of what is made anew, and of what people made and is lost."""
        made_anew: list[str] = []
        unsaved: list[str] = []
        for table in TABLES:
            if table.name in self.lost:
                lost = self.lost[table.name]
                line = table.message.format(n="an unknown number of" if lost is None else len(lost))
                (unsaved if table.is_made else made_anew).append(line)
        self._restore()
        self._queue()
        labels = self._drop_dangling()
        if labels:
            unsaved.append(f"{labels} labels are lost, as their chunks are")
        return made_anew, unsaved

    def _restore(self) -> None:
        """Put back the rows whose identity is left."""
        stored = {os.fsdecode(path) for (path,) in self.target.execute("SELECT path FROM root")}
        roots = self._lost("root")
        stored |= {os.fsdecode(row["path"]) for row in roots.values()}
        for number, row in roots.items():
            below = any(str(parent) in stored for parent in Path(os.fsdecode(row["path"])).parents)
            self._insert("root", {"id": number, **row, "state": "left_out" if below else "here"})
        for number, row in self._lost("file").items():
            if row.keys() >= {"path", "root_id", "folder", "kind"}:
                name = os.path.basename(row["path"])  # noqa: PTH119 – of bytes, too
                stamp = {"size": 0, "mtime_ns": 0, "ctime_ns": 0}  # so the next scan hashes it
                self._insert("file", {"id": number, **row, "name": name, **stamp})
        for number, row in self._lost("content").items():
            kind = "SELECT kind FROM file WHERE content_hash = ? LIMIT 1"
            if (found := self.target.execute(kind, (row["hash"],)).fetchone()) is not None:
                self._insert("content", {"rowid": number, **row, "kind": found[0]})
        for number, row in self._lost("chunk").items():
            self._insert("chunk", {"id": number, **row})
        for row in self._lost("label").values():
            query = "SELECT coalesce(max(hidden), 0) FROM label WHERE name = ?"
            hidden = self.target.execute(query, (row["name"],)).fetchone()[0]
            self._insert("label", {**row, "score": 0.0, "hidden": hidden})
        for number, row in self._lost("album_item").items():
            name = self._first("SELECT name FROM album_item WHERE key = ?", row["key"], row["key"])
            path = self._first("SELECT path FROM file WHERE content_hash = ?", row["content_hash"], "")
            self._insert("album_item", {"id": number, **row, "name": name, "path": path, "added_at": 0.0})

    def _first(self, query: str, value: Any, default: Any) -> Any:
        found = self.target.execute(f"{query} LIMIT 1", (value,)).fetchone()
        return found[0] if found else default

    def _lost(self, table: str) -> dict[int, Row]:
        return self.lost.get(table) or {}

    def _insert(self, table: str, row: Row) -> None:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.target.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))

    def _queue(self) -> None:
        """Contents whose chunks or cues are lost are read again."""
        for name, change in (
            ("chunk", "UPDATE content SET state = 'pending' WHERE state = 'ready'"),
            (
                "cue",
                "UPDATE content SET state = CASE state WHEN 'ready' THEN 'pending' ELSE state END,"
                " heard = CASE WHEN heard IN ('none', 'subtitles') THEN heard ELSE 'pending' END WHERE kind = 'video'",
            ),
        ):
            lost = self.lost.get(name, {})
            if lost is None:
                self.target.execute(change)
            else:
                digests = {row["content_hash"] for row in lost.values()}
                self.target.executemany(f"{change} AND hash = ?", [(digest,) for digest in digests])

    def _drop_dangling(self) -> int:
        """Returns how many labels were dropped."""
        labels = 0
        while rows := self.target.execute("PRAGMA foreign_key_check").fetchall():
            for table, rowid, parent, _ in rows:
                if (table, parent) == ("file", "content"):
                    self.target.execute("UPDATE file SET content_hash = NULL, state = 'pending' WHERE id = ?", (rowid,))
                else:
                    labels += self.target.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,)).rowcount * (
                        table == "label"
                    )
        return labels

    def finish(self) -> None:
        """What triggers and `Catalogue` do otherwise."""
        for chunk_id, text in self.target.execute("SELECT id, text FROM chunk"):
            if characters := unspaced_only(text):
                self.target.execute(sqlite.INSERT_CHARACTERS, (chunk_id, characters))
        with suppress(sqlite3.DatabaseError):  # numbers of deleted files and chunks are never given again
            for name, last in self.source.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
                if name in ("file", "chunk"):
                    self.target.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, name))


def salvage(path: Path) -> VerifyReport:
    """Repair the file of a catalogue that no program has open for writing; a sound one, and none, stay as they are.

    An index that disagrees with its table is made again in place. Any other damage: a new catalogue takes the file's
    place, and the damaged one is kept beside it under its date. Raises LibraryError if another program indexes the
    library, or if nothing can be written.
    """
    dialect = sqlite.SQLite(path)
    if not path.exists() or not path.stat().st_size:
        return VerifyReport()
    lock = dialect.owner_lock(path.parent)
    if not lock.acquire():
        raise LibraryError(f"Another Sightline ({lock.holder()}) is indexing this library: stop it, then repair.")
    try:
        with explained(dialect):
            damage = sqlite.damage_of(path)
            if not damage:
                return VerifyReport()
            if all(map(OF_AN_INDEX.search, damage)):
                with closing(sqlite3.connect(path)) as connection:
                    connection.execute("REINDEX")
                if not sqlite.damage_of(path):
                    line = f"The catalogue's indexes do not agree with its rows ({damage[0]}): they are made again."
                    return VerifyReport([line], repaired=1)
            return _rewritten(path, damage[0])
    finally:
        lock.release()


def _rewritten(path: Path, damage: str) -> VerifyReport:
    new = path.with_name(f"{path.name}.salvaged")
    new.unlink(missing_ok=True)
    try:
        sqlite.bring_up_to_date(new, migrations())
        with (
            tempfile.TemporaryDirectory(prefix="salvage-", dir=path.parent) as folder,
            closing(_opened(path, Path(folder))) as source,
            closing(sqlite3.connect(new, isolation_level=None)) as target,
        ):
            work = _Salvage(source, target)
            target.execute("BEGIN")
            for table in TABLES:
                work.copy(table)
            made_anew, unsaved = work.complete()
            work.finish()
            target.execute("COMMIT")
        Catalogue(new).close()  # the index of names
        with closing(sqlite3.connect(new)) as target:
            target.execute("PRAGMA journal_mode = DELETE")  # one file, without a WAL file
        kept = _exchange(path, new)
    finally:
        for suffix in ("", "-wal", "-shm"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
    shutil.rmtree(path.parent / "vectors", ignore_errors=True)  # it follows the journal, which begins anew
    first = f"The catalogue is damaged ({damage}): what can be read is in a new one, the old one is {kept.name}."
    problems = [first, *(f"The damaged catalogue: {line}." for line in (*made_anew, *unsaved))]
    return VerifyReport(problems, repaired=1 + len(made_anew))


def _opened(path: Path, folder: Path) -> sqlite3.Connection:
    """The damaged catalogue, open to be read: a copy in `folder` with a new header if its own is damaged."""
    connection = _tolerant(path)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection
    except sqlite3.DatabaseError:
        connection.close()
    copy = folder / path.name
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            shutil.copy(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
    sound = folder / "sound.sqlite"
    sqlite.bring_up_to_date(sound, migrations())
    with closing(sqlite3.connect(sound)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    header = bytearray(sound.read_bytes()[:HEADER])
    header[32:40] = bytes(8)  # no free pages are known
    page = int.from_bytes(header[16:18], "big")
    header[28:32] = (copy.stat().st_size // page).to_bytes(4, "big")
    header[18:20] = b"\2\2" if copy.with_name(f"{copy.name}-wal").exists() else b"\1\1"
    with copy.open("r+b") as file:
        file.write(header)
    connection = _tolerant(copy)
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # raises what `explained` has a sentence for
    return connection


def _tolerant(path: Path) -> sqlite3.Connection:
    connection = sqlite_access.connect(path)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    connection.execute("PRAGMA writable_schema = ON")  # so that a file that was cut off can be opened
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _readable(source: sqlite3.Connection, query: str, last: int) -> Iterator[list[Any] | None]:
    """Yields the rows with the numbers 1 to `last`; None for a number that cannot be read, whether there is such a row
    or not."""
    for start in range(1, last + 1, WINDOW):
        spans = [(start, start + WINDOW)]
        while spans:
            low, high = spans.pop()
            try:
                yield source.execute(f"{query} WHERE rowid >= ? AND rowid < ? ORDER BY rowid", (low, high)).fetchall()
            except sqlite3.DatabaseError:
                if high - low == 1:
                    yield None
                    continue
                middle = (low + high) // 2
                spans += [(middle, high), (low, middle)]


def _exchange(path: Path, new: Path) -> Path:
    """Put `new` in the place of `path`. Returns where the old file is."""
    kept = path.with_name(f"{path.stem}-damaged-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            _link(path.with_name(path.name + suffix), kept.with_name(kept.name + suffix))
    for suffix in ("-wal", "-shm"):  # they would be read as the new file's
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    new.replace(path)
    return kept


def _link(path: Path, to: Path) -> None:
    try:
        to.hardlink_to(path)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copy2(path, to)
