"""A catalogue moved to another engine, and back: every row, under its own number, checked.

Built around one snapshot of the old catalogue, which goes on answering and changing meanwhile;
what is indexed after the snapshot, the next run on the new one finds. Rows are compared a window
of numbers at a time and only what differs is written, so a move that was interrupted goes on.
Text indexes and journal are made by the new catalogue itself; vector index and thumbnails are
caches. It knows nothing of what rows mean.
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
"""Rows a transaction: about 3 MB of vectors."""

UNFINISHED, ORIGIN = "moving from", "moved from"
"""Settings of the new catalogue: whose rows it is taking in, has taken in. It has a name of its own: what
followed the old one's journal (a Milvus collection) cannot follow this one's."""
OWN = {UNFINISHED, ORIGIN, LIBRARY}

Progress = Callable[[str, int, int], None]
"""Called with what is being done, rows done, rows in all."""


@dataclass(frozen=True)
class _Kept:
    """A table as it is moved: `window` is the column whose numbers are gone through, `key` what names a row;
    `replaced`: a row that differs goes and comes anew (others may hold its unique values meanwhile)."""

    table: sa.TableClause
    window: str
    key: tuple[str, ...]
    replaced: bool

    @property
    def name(self) -> str:
        return self.table.name

    def key_of(self, row: Any) -> tuple[Any, ...]:
        return tuple(getattr(row, k) for k in self.key)


def _kept(table: sa.Table, window: str, *key: str, replaced: bool = False, row_number: bool = False) -> _Kept:
    columns: list[sa.ColumnClause[Any]] = [sa.column(c.name, c.type) for c in table.columns]
    if row_number:
        columns.append(sa.column("rowid", schema.Number))
    return _Kept(sa.table(table.name, *columns), window, key or (window,), replaced)


TABLES = (
    _kept(schema.root, "id"),
    _kept(schema.model, "id"),
    _kept(schema.content, "rowid", "hash", row_number=True),
    _kept(schema.file, "id", replaced=True),
    _kept(schema.chunk, "id", replaced=True),
    _kept(schema.embedding, "id", replaced=True),
    _kept(schema.label, "chunk_id", "chunk_id", "name", replaced=True),
    _kept(schema.cue, "id", replaced=True),
)
"""Parents before their children. Workers and claims end with a move; `seen` is made by the next scan."""


def move(old: Catalogue, new: Catalogue, progress: Progress = lambda *_: None) -> MigrationReport:
    """Bring the library of `old` into `new`, which is empty or was being moved to from `old` before. Where
    that move has ended and nothing was written since, nothing is done.

    Raises LibraryError: `new` holds another library, or what was written does not read back the same.
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
            for kept in reversed(TABLES):
                _drop_what_differs(source, new, kept)
        for kept in TABLES:
            for rows, low, high in _windows(source, kept):
                written += _write(new, kept, rows, low, high)
                done += len(rows)
                progress(f"copying: {kept.name}", done, total)
        _settings(source, new)
        numbers = old.database.dialect.last_numbers(source)
        with new.database.writer() as target:
            new.database.dialect.go_on_from(target, numbers)
        report = _compare(source, new, written, progress)
    _check_texts(new)
    with new.database.writer() as target:
        done_from = {"name": ORIGIN}
        target.execute(sa.update(schema.setting).where(schema.setting.c.name == UNFINISHED).values(done_from))
    return report


def refuse_unfinished(catalogue: Catalogue) -> None:
    """Raises LibraryError when a move into this catalogue did not end."""
    if catalogue.settings.get(UNFINISHED) is not None:
        raise LibraryError(
            "A library was being moved here and is not whole yet: run the same `sightline migrate` again."
        )


def _prepare(old: Catalogue, new: Catalogue) -> bool | None:
    """Whether the move was begun before; None: it has ended."""
    old.settings.name_library()
    identity = old.settings.get(LIBRARY) or ""
    begun = new.settings.get(UNFINISHED)
    if begun == identity:
        return True
    if begun is not None or new.files.roots() or new.models.all() or new.files.counts().files:
        if begun is None and new.settings.get(ORIGIN) == identity:
            return None
        raise LibraryError("There is another library already: name an empty database or folder.")
    new.settings.set(UNFINISHED, identity)
    return False


def _count(c: sa.Connection, kept: _Kept) -> int:
    return c.execute(sa.select(sa.func.count()).select_from(kept.table)).scalar_one()


def _windows(source: sa.Connection, kept: _Kept) -> Iterator[tuple[list[Any], int, int | None]]:
    """The old rows, some at a time, with the numbers (low, high] they span; the last window has no end."""
    number = kept.table.c[kept.window]
    low = -1
    while True:
        end = sa.select(number).where(number > low).order_by(number).offset(BATCH - 1).limit(1)
        high: int | None = source.execute(end).scalar()
        yield _rows(source, kept, low, high), low, high
        if high is None:
            return
        low = high


def _rows(c: sa.Connection, kept: _Kept, low: int, high: int | None) -> list[Any]:
    number = kept.table.c[kept.window]
    query = sa.select(kept.table).where(number > low)
    if high is not None:
        query = query.where(number <= high)
    return list(c.execute(query.order_by(number, *(kept.table.c[k] for k in kept.key))))


def _told(row: Any) -> tuple[Any, ...]:
    """A row's values as every engine can hold them."""
    return tuple(_clean(v) if isinstance(v, str) else v for v in row)


def _clean(text: str) -> str:
    return text.replace("\0", " ")


def _drop_what_differs(source: sa.Connection, new: Catalogue, kept: _Kept) -> None:
    for rows, low, high in _windows(source, kept):
        wanted = {kept.key_of(r): _told(r) for r in rows}
        with new.database.writer() as target:
            for there in _rows(target, kept, low, high):
                key = kept.key_of(there)
                if key not in wanted or (kept.replaced and wanted[key] != _told(there)):
                    target.execute(sa.delete(kept.table).where(_is(kept, there)))


def _is(kept: _Kept, row: Any) -> sa.ColumnElement[bool]:
    return sa.and_(*(kept.table.c[k] == getattr(row, k) for k in kept.key))


def _write(new: Catalogue, kept: _Kept, rows: list[Any], low: int, high: int | None) -> int:
    """Add what is missing, change what differs; returns how many rows."""
    names = [c.name for c in kept.table.columns]
    with new.database.writer() as target:
        there = {kept.key_of(r): _told(r) for r in _rows(target, kept, low, high)}
        missing = [_told(r) for r in rows if kept.key_of(r) not in there]
        changed = [r for r in rows if kept.key_of(r) in there and there[kept.key_of(r)] != _told(r)]
        added = [dict(zip(names, values, strict=True)) for values in missing]
        if added:
            target.execute(sa.insert(kept.table), added)
        for row in changed:
            values = dict(zip(names, _told(row), strict=True))
            target.execute(sa.update(kept.table).where(_is(kept, row)).values(values))
        if kept.name == "chunk":
            new.database.dialect.write_texts(target, [(a["id"], a["text"]) for a in added], new=True)
        elif kept.name == "file":
            tops = {r.id: r.path for r in target.execute(sa.select(schema.root.c.id, schema.root.c.path))}
            named = [(a["path"], *name_words(str(tops[a["root_id"]]), a["path"], a["words"])) for a in added]
            new.database.dialect.name_files(target, named)
    return len(added) + len(changed)


def _settings(source: sa.Connection, new: Catalogue) -> None:
    for row in source.execute(sa.select(schema.setting)).all():
        if row.name not in OWN:
            new.settings.set(row.name, row.value.replace("\0", MOUNT_END))


def _compare(source: sa.Connection, new: Catalogue, written: int, progress: Progress) -> MigrationReport:
    """Read both again, in order, and hash every value. Raises LibraryError where they differ."""
    rows: dict[str, int] = {}
    digests: dict[str, str] = {}
    for number, kept in enumerate(TABLES):
        progress(f"checking: {kept.name}", number, len(TABLES))
        mine, digest = _digest(source, kept)
        with new.database.reader() as target:
            theirs, other = _digest(target, kept)
        if (mine, digest) != (theirs, other):
            raise LibraryError(
                f"What was written to the new catalogue does not read back the same (table {kept.name}: "
                f"{mine} rows, {theirs} there). Run the same command again; the old library is as it was."
            )
        rows[kept.name], digests[kept.name] = mine, digest
    progress("checked", len(TABLES), len(TABLES))
    return MigrationReport(rows, digests, written)


def _digest(c: sa.Connection, kept: _Kept) -> tuple[int, str]:
    hashed, count = blake3(), 0
    for rows, _, _ in _windows(c, kept):
        for row in rows:
            hashed.update(repr(_told(row)).encode("utf-8", "surrogatepass"))
        count += len(rows)
    return count, hashed.hexdigest(16)


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
    """`move` to an address, or to the folder of a new library. Raises LibraryError."""
    where = place(to)
    new = Catalogue(catalogue_in(where) if isinstance(where, Path) else where)
    try:
        return move(old, new, progress)
    finally:
        new.close()


def catalogue_in(folder: Path) -> Path:
    """The catalogue's file of a library that is kept in a folder, which is made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LibraryError(f"{folder} cannot hold a library ({error.strerror}): name another.") from error
    return folder / "catalogue.sqlite"
