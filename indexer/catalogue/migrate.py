"""Moves a catalogue to another engine: every row, with the same id, and checked.

Built around one snapshot of the old catalogue, which stays in use meanwhile; the next run on the new catalogue
finds what was indexed after the snapshot. Rows are compared in windows of ids and only rows that differ are
written, so an interrupted move can be resumed. The new catalogue makes its text indexes and journal itself; the
vector index and the thumbnails are caches. It knows nothing of the rows' meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from blake3 import blake3

from indexer.catalogue import schema
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.catalogue.files import name_words
from indexer.catalogue.settings import LIBRARY, MOUNT_END
from indexer.errors import LibraryError
from indexer.types import MigrationReport

BATCH = 2000
"""Rows per transaction: about 3 MB of vectors."""

UNFINISHED, ORIGIN = "moving from", "moved from"
"""Settings of the new catalogue: the id of the library whose rows are being moved into it, or were. The new one
has an id of its own: what follows the old journal (a Milvus collection) cannot follow the new one."""
NOT_COPIED = {UNFINISHED, ORIGIN, LIBRARY}

Progress = Callable[[str, int, int], None]
"""Called with the step, the rows done, and all rows."""


@dataclass(frozen=True)
class _MovedTable:
    """A table that is moved. `window`: the integer column that windows are made of. `key`: the columns that
    identify a row. `replaced`: a row that differs is deleted and inserted again, as another row may have its
    unique values meanwhile."""

    table: sa.TableClause
    window: str
    key: tuple[str, ...]
    replaced: bool

    @property
    def name(self) -> str:
        return self.table.name

    def key_of(self, row: Any) -> tuple[Any, ...]:
        return tuple(getattr(row, k) for k in self.key)


def _moved(table: sa.Table, window: str, *key: str, replaced: bool = False, row_number: bool = False) -> _MovedTable:
    columns: list[sa.ColumnClause[Any]] = [sa.column(c.name, c.type) for c in table.columns]
    if row_number:
        columns.append(sa.column("rowid", schema.Number))
    return _MovedTable(sa.table(table.name, *columns), window, key or (window,), replaced)


TABLES = (
    _moved(schema.root, "id"),
    _moved(schema.model, "id"),
    _moved(schema.content, "rowid", "hash", row_number=True),
    _moved(schema.file, "id", replaced=True),
    _moved(schema.chunk, "id", replaced=True),
    _moved(schema.embedding, "id", replaced=True),
    _moved(schema.label, "chunk_id", "chunk_id", "name", replaced=True),
    _moved(schema.cue, "id", replaced=True),
    _moved(schema.album_item, "id", replaced=True),
)
"""Parents before their children. Workers and leases end with a move; the next scan fills `seen`."""


def move(old: Catalogue, new: Catalogue, progress: Progress = lambda *_: None) -> MigrationReport:
    """Move the library of `old` into `new`, which is empty or has a move from `old` that did not end. If that move
    has ended and nothing was written since, only the rows are compared.

    Raises LibraryError if `new` has another library, or if its rows differ from those of `old` at the end.
    """
    resumed = _prepare(old, new)
    if resumed is None:
        with old.database.reader() as source:
            try:
                return _compare(source, new, 0, progress)
            except LibraryError as error:
                raise LibraryError(
                    "This library was moved there already: name it with --catalogue (or --data-dir) and use it."
                ) from error
    written = 0
    with old.database.reader() as source:
        total = sum(_count(source, t) for t in TABLES)
        done = 0
        if resumed:
            for moved in reversed(TABLES):
                _delete_differing(source, new, moved)
        for moved in TABLES:
            for rows, low, high in _windows(source, moved):
                written += _write(new, moved, rows, low, high)
                done += len(rows)
                progress(f"copying: {moved.name}", done, total)
        _settings(source, new)
        ids = old.database.dialect.last_ids(source)
        with new.database.writer() as target:
            new.database.dialect.advance_sequences(target, ids)
        report = _compare(source, new, written, progress)
    _check_texts(new)
    with new.database.writer() as target:
        unfinished = schema.setting.c.name == UNFINISHED
        target.execute(sa.update(schema.setting).where(unfinished).values(name=ORIGIN))
    return report


def refuse_unfinished(catalogue: Catalogue) -> None:
    """Raise LibraryError if a move into this catalogue did not end."""
    if catalogue.settings.get(UNFINISHED) is not None:
        raise LibraryError(
            "A library was being moved here and is not whole yet: run the same `sightline migrate` again."
        )


def _prepare(old: Catalogue, new: Catalogue) -> bool | None:
    """Returns whether this resumes a move; None if the move has ended already."""
    old.settings.name_library()
    identity = old.settings.get(LIBRARY) or ""
    unfinished = new.settings.get(UNFINISHED)
    if unfinished == identity:
        return True
    if unfinished is not None or new.files.roots() or new.models.all() or new.files.counts().files:
        if unfinished is None and new.settings.get(ORIGIN) == identity:
            return None
        raise LibraryError("There is another library already: name an empty database or folder.")
    new.settings.set(UNFINISHED, identity)
    return False


def _count(c: sa.Connection, moved: _MovedTable) -> int:
    return c.execute(sa.select(sa.func.count()).select_from(moved.table)).scalar_one()


def _windows(source: sa.Connection, moved: _MovedTable) -> Iterator[tuple[list[Any], int, int | None]]:
    """Yields the old rows in windows of ids (low, high]; `high` is None for the last window."""
    number = moved.table.c[moved.window]
    low = -1
    while True:
        end = sa.select(number).where(number > low).order_by(number).offset(BATCH - 1).limit(1)
        high: int | None = source.execute(end).scalar()
        yield _rows(source, moved, low, high), low, high
        if high is None:
            return
        low = high


def _rows(c: sa.Connection, moved: _MovedTable, low: int, high: int | None) -> list[Any]:
    number = moved.table.c[moved.window]
    query = sa.select(moved.table).where(number > low)
    if high is not None:
        query = query.where(number <= high)
    return list(c.execute(query.order_by(number, *(moved.table.c[k] for k in moved.key))))


def _values(row: Any) -> tuple[Any, ...]:
    """Returns a row's values as every engine can hold them."""
    return tuple(v.replace("\0", " ") if isinstance(v, str) else v for v in row)


def _delete_differing(source: sa.Connection, new: Catalogue, moved: _MovedTable) -> None:
    for rows, low, high in _windows(source, moved):
        expected = {moved.key_of(r): _values(r) for r in rows}
        with new.database.writer() as target:
            for row in _rows(target, moved, low, high):
                key = moved.key_of(row)
                if key not in expected or (moved.replaced and expected[key] != _values(row)):
                    target.execute(sa.delete(moved.table).where(_is(moved, row)))


def _is(moved: _MovedTable, row: Any) -> sa.ColumnElement[bool]:
    return sa.and_(*(moved.table.c[k] == getattr(row, k) for k in moved.key))


def _write(new: Catalogue, moved: _MovedTable, rows: list[Any], low: int, high: int | None) -> int:
    """Insert missing rows and update rows that differ. Returns how many rows."""
    names = [c.name for c in moved.table.columns]
    with new.database.writer() as target:
        stored = {moved.key_of(r): _values(r) for r in _rows(target, moved, low, high)}
        missing = [_values(r) for r in rows if moved.key_of(r) not in stored]
        changed = [r for r in rows if moved.key_of(r) in stored and stored[moved.key_of(r)] != _values(r)]
        added = [dict(zip(names, values, strict=True)) for values in missing]
        if added:
            target.execute(sa.insert(moved.table), added)
        for row in changed:
            values = dict(zip(names, _values(row), strict=True))
            target.execute(sa.update(moved.table).where(_is(moved, row)).values(values))
        if moved.name == "chunk":
            new.database.dialect.write_texts(target, [(a["id"], a["text"]) for a in added], new=True)
        elif moved.name == "file":
            tops = {r.id: r.path for r in target.execute(sa.select(schema.root.c.id, schema.root.c.path))}
            file_names = [(a["path"], *name_words(str(tops[a["root_id"]]), a["path"], a["words"])) for a in added]
            new.database.dialect.name_files(target, file_names)
    return len(added) + len(changed)


def _settings(source: sa.Connection, new: Catalogue) -> None:
    for row in source.execute(sa.select(schema.setting)).all():
        if row.name not in NOT_COPIED:
            new.settings.set(row.name, row.value.replace("\0", MOUNT_END))


def _compare(source: sa.Connection, new: Catalogue, written: int, progress: Progress) -> MigrationReport:
    """Read both catalogues again and compare the hashes of all values. Raises LibraryError if they differ."""
    rows: dict[str, int] = {}
    digests: dict[str, str] = {}
    for number, moved in enumerate(TABLES):
        progress(f"checking: {moved.name}", number, len(TABLES))
        count, digest = _digest(source, moved)
        with new.database.reader() as target:
            new_count, new_digest = _digest(target, moved)
        if (count, digest) != (new_count, new_digest):
            raise LibraryError(
                f"What was written to the new catalogue does not read back the same (table {moved.name}: "
                f"{count} rows, {new_count} there). Run the same command again; the old library is as it was."
            )
        rows[moved.name], digests[moved.name] = count, digest
    progress("checked", len(TABLES), len(TABLES))
    return MigrationReport(rows, digests, written)


def _digest(c: sa.Connection, moved: _MovedTable) -> tuple[int, str]:
    hasher, count = blake3(), 0
    for rows, _, _ in _windows(c, moved):
        for row in rows:
            hasher.update(repr(_values(row)).encode("utf-8", "surrogatepass"))
        count += len(rows)
    return count, hasher.hexdigest(16)


def _check_texts(new: Catalogue) -> None:
    with new.database.writer() as target:
        if not new.database.dialect.texts_agree(target):
            new.database.dialect.rebuild_texts(target)
    with new.database.reader() as target:
        unnamed = target.exec_driver_sql(
            "SELECT count(*) FROM file f WHERE NOT EXISTS (SELECT 1 FROM names n WHERE n.rowid = f.id)"
        ).scalar_one()
    if unnamed:
        new.files.rebuild_names()


def migrate(old: Catalogue, to: str | Path, progress: Progress) -> MigrationReport:
    """Move a catalogue to an address, or to the folder of a new library. Raises LibraryError."""
    where = place(to)
    new = Catalogue(catalogue_in(where) if isinstance(where, Path) else where)
    try:
        return move(old, new, progress)
    finally:
        new.close()


def catalogue_in(folder: Path) -> Path:
    """Returns the path of the catalogue in a library's folder, which is created if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LibraryError(f"{folder} cannot hold a library ({error.strerror}): name another.") from error
    return folder / "catalogue.sqlite"
