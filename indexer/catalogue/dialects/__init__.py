"""The differences between the database engines of a catalogue, one file or package per engine.

Built around `Dialect`: opening and migrating a database, errors as sentences, the text indexes, the database's
clock, the owner lock, a backup. Everything else is written once, as SQLAlchemy expressions or as SQL for both
engines. It knows nothing of the rows' meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import sqlalchemy as sa

from indexer.catalogue.schema import Where
from indexer.errors import CatalogueAway, LibraryError

if TYPE_CHECKING:
    from indexer.catalogue.lock import OwnerLock
    from indexer.catalogue.text.expression import Expression
    from indexer.catalogue.text.spelling import Vocabulary


class Reading(Protocol):
    """A read-only connection of one thread."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
        """Returns a cursor over rows (tuples)."""

    def version(self) -> object:
        """Returns a value that changes with each write of another connection."""

    def known_counts(self) -> dict[tuple[str, str], int]:
        """Returns the cache (table, token) -> number of rows; it is emptied after each write."""

    def rows_with(self, table: str, stems: Sequence[str]) -> dict[str, int]:
        """Returns term -> number of rows; terms that are in no row may be missing."""

    def any_row(self, table: str, expression: Expression) -> bool:
        """Whether a row matches."""

    def any_term(self, table: str, beginning: str) -> bool:
        """Whether a term begins with `beginning`."""

    def near(self, table: str, word: str, most_edits: int) -> list[str]:
        """Returns up to three terms with the fewest edits to a word, at most `most_edits`."""

    def best(
        self,
        table: str,
        expression: Expression,
        limit: int,
        allowed: tuple[str, list[Any]] = ("", []),
        longest: int | None = None,
    ) -> list[tuple[int, float]]:
        """Returns (row, BM25 as in FTS5) of the rows that match, best first. `allowed`: a condition on `w.rowid` and
        its values. `longest`: the maximum length of the text (or name) in characters."""

    def snippet(self, chunk_id: int, expression: Expression, mark: str, unmark: str, tokens: int) -> str | None:
        """Returns a part of a chunk's text around the matches; None if it does not match."""

    def close(self) -> None: ...


class Dialect(Protocol):
    """The engine of one catalogue. `shared`: whether programs on other machines can index into it. `now`: SQL for
    the seconds since 1970 of the database's clock. `writing`: SQLAlchemy's execution options of a writing
    transaction. `locking`, `skip_locked`: the end of a SELECT from content `c` that locks its rows, and waits for
    rows that are locked or skips them."""

    name: str
    shared: bool
    now: str
    locking: str
    skip_locked: str
    writing: ClassVar[dict[str, Any]]

    def open_engine(self, read_only: bool) -> sa.Engine:
        """Create or migrate the library, and open it. Raises LibraryError."""

    def identity(self) -> object:
        """Returns which file the catalogue is now, without opening it; None for a server's. Raises CatalogueAway if
        the file is not there."""

    def sentence(self, error: Exception) -> str | None:
        """Returns a database error as a sentence for a person; None if it is a bug."""

    def is_away(self, error: Exception) -> bool:
        """Whether an error means that a server does not answer now, and may answer again."""

    def reading(self, vocabularies: dict[str, Vocabulary]) -> Reading:
        """Returns a new read-only connection for one thread."""

    def owner_lock(self, data_dir: Path) -> OwnerLock:
        """Returns the lock of the one program that indexes the library."""

    def feeding_lock(self) -> OwnerLock:
        """Returns the lock of the one program that sends vectors to a shared index."""

    def begin_write(self, c: sa.Connection) -> None:
        """Called at the start of a writing transaction."""

    def write_texts(self, c: sa.Connection, texts: Sequence[tuple[int, str]], *, new: bool) -> None:
        """Index texts of chunks, (chunk id, text), that are in `chunk` already. `new`: no text of them is indexed."""

    def name_files(self, c: sa.Connection, names: Sequence[tuple[str, str, str]]) -> None:
        """Add files to the index of names, (path, name, folders); files in the index stay as they are."""

    def rename_file(self, c: sa.Connection, file_id: int, name: str, folders: str) -> None:
        """Replace a file's name and folders in the index of names."""

    def clear_names(self, c: sa.Connection) -> None:
        """Empty the index of names."""

    def damage(self, c: sa.Connection) -> str | None:
        """Returns the engine's report of damaged files, as a sentence; None if it finds none."""

    def dangling(self, c: sa.Connection) -> list[tuple[str, int]]:
        """Returns (table, row number) of rows whose parent is missing."""

    def texts_agree(self, c: sa.Connection) -> bool:
        """Whether the text index agrees with the chunks; False if the engine cannot read it."""

    def rebuild_texts(self, c: sa.Connection) -> None:
        """Rebuild the text index of the chunks."""

    def last_ids(self, c: sa.Connection) -> dict[str, int]:
        """Returns table -> the last id that was given to a row, also to a deleted one."""

    def advance_sequences(self, c: sa.Connection, ids: dict[str, int]) -> None:
        """Advance the sequences past `ids` (table -> last id), so that ids are never reused."""

    backup_suffix: str

    def backup(self, to: Path, settings: Mapping[str, str]) -> None:
        """Copy the catalogue into one file, with further settings where the engine can write to it."""

    def restore_hint(self, backup: Path) -> str:
        """Returns how to restore a backup, as a phrase for a person."""


def dialect_of(where: Where) -> Dialect:
    if isinstance(where, Path):
        from indexer.catalogue.dialects.sqlite import SQLite

        return SQLite(where)
    if where.get_backend_name() != "postgresql":
        raise LibraryError(
            f"A catalogue is a file or postgresql+psycopg://USER@HOST/DATABASE, not {where.drivername}://…"
        )
    from indexer.catalogue.dialects.postgresql.engine import PostgreSQL

    return PostgreSQL(where)


def place(text: str | Path) -> Where:
    """Returns the place of a catalogue from a person's text: a file, or a PostgreSQL address. Raises LibraryError
    for an address that cannot be read."""
    if isinstance(text, Path) or "://" not in text:
        return Path(text)
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise LibraryError(
            "The catalogue's address cannot be read: write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
        ) from error
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername != "postgresql+psycopg":
        raise LibraryError(
            f"A catalogue is a file or postgresql+psycopg://USER@HOST/DATABASE, not {url.drivername}://…"
        )
    if not url.database:
        raise LibraryError("The catalogue's address names no database: end it with /DATABASE.")
    return url


@contextmanager
def explained(dialect: Dialect) -> Iterator[None]:
    """Raise the engine's errors as LibraryError or CatalogueAway, with a sentence for a person."""
    try:
        yield
    except LibraryError:
        raise
    except Exception as error:
        sentence = dialect.sentence(error)
        if sentence is None:
            raise
        raise (CatalogueAway if dialect.is_away(error) else LibraryError)(sentence) from error
