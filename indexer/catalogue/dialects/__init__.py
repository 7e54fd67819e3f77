"""What truly differs between the databases that a catalogue can live in, one file an engine.

Built around `Dialect`: opening and bringing up to date, errors as sentences, the text
indexes, the database's clock, the one-indexer lock, a backup. Everything else is written once,
as SQLAlchemy expressions or as SQL that both understand. It knows nothing of what rows mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """One thread's connection."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
        """A cursor over rows: tuples."""

    def version(self) -> object:
        """Another one after anything was written by others."""

    def known_counts(self) -> dict[tuple[str, str], int]:
        """How many rows of a table hold a token, as far as was asked; emptied when something was written."""

    def rows_with(self, table: str, stems: Sequence[str]) -> dict[str, int]:
        """How many rows hold each term; those that none holds may be left out."""

    def any_row(self, table: str, asked: Expression) -> bool:
        """Whether a row holds what is asked."""

    def any_term(self, table: str, beginning: str) -> bool:
        """Whether a term begins so."""

    def near(self, table: str, word: str, most_edits: int) -> list[str]:
        """The terms closest to a word, at most `most_edits` letters away; at most three."""

    def best(
        self,
        table: str,
        asked: Expression,
        limit: int,
        allowed: tuple[str, list[Any]] = ("", []),
        longest: int | None = None,
    ) -> list[tuple[int, float]]:
        """(row, BM25 as FTS5 reckons it) of rows that hold what is asked, best first. `allowed`: a condition
        on `w.rowid` and its values; `longest`: of texts (names) of at most so many characters."""

    def snippet(self, chunk_id: int, asked: Expression, mark: str, unmark: str, tokens: int) -> str | None:
        """A piece of a chunk's text around what is asked; None when it does not hold that."""

    def close(self) -> None: ...


class Dialect(Protocol):
    """One catalogue's database. `shared`: whether programs on other machines may index into it.
    `now`: SQL for seconds since 1970 by the database's own clock.
    `writing`: SQLAlchemy's execution options of a writing transaction. `locking`, `skip_locked`: at
    the end of a SELECT from content `c`, to lock its rows, waiting for others or passing over theirs."""

    name: str
    shared: bool
    now: str
    locking: str
    skip_locked: str
    writing: ClassVar[dict[str, Any]]

    def open_engine(self, read_only: bool) -> sa.Engine:
        """Create the library or bring it up to date, and open it. Raises LibraryError."""

    def sentence(self, error: Exception) -> str | None:
        """What a person should know about a database error, or None when it is a bug of ours."""

    def is_away(self, error: Exception) -> bool:
        """Whether the error says that a server does not answer now, and may do so again."""

    def reading(self, vocabularies: dict[str, Vocabulary]) -> Reading:
        """A connection that only reads, for one thread of searches."""

    def owner_lock(self, data_dir: Path) -> OwnerLock:
        """One indexer a library."""

    def feeding_lock(self) -> OwnerLock:
        """One program at a time sends vectors to an index that several share."""

    def begin_write(self, c: sa.Connection) -> None:
        """At the start of a writing transaction."""

    def write_texts(self, c: sa.Connection, texts: Sequence[tuple[int, str]], *, new: bool) -> None:
        """Index the texts of chunks (they are in `chunk` already); not `new`: in place of older ones."""

    def name_files(self, c: sa.Connection, names: Sequence[tuple[str, str, str]]) -> None:
        """(path, name, folders) of files for the index of names; those in it already stay as they are."""

    def rename_file(self, c: sa.Connection, file_id: int, name: str, folders: str) -> None:
        """A file's name in the index of names, in place of what is there."""

    def clear_names(self, c: sa.Connection) -> None:
        """Empty the index of names."""

    def damage(self, c: sa.Connection) -> str | None:
        """What the engine itself finds wrong with its files; None: nothing."""

    def dangling(self, c: sa.Connection) -> list[tuple[str, int]]:
        """(table, row number) of rows whose parent is missing."""

    def texts_agree(self, c: sa.Connection) -> bool:
        """Whether the index of words holds what the chunks hold. Raises nothing of the engine's."""

    def rebuild_texts(self, c: sa.Connection) -> None:
        """Make the index of words anew."""

    def last_numbers(self, c: sa.Connection) -> dict[str, int]:
        """By table, the last number that was given to a row, also to one that is gone."""

    def go_on_from(self, c: sa.Connection, numbers: dict[str, int]) -> None:
        """Give no number again that was given before."""

    backup_suffix: str

    def backup(self, to: Path) -> None:
        """A copy of the catalogue as it is now in one file."""

    def restoring(self, backup: Path) -> str:
        """What a person does to have such a copy for a library."""


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
    """Where a catalogue is, as a person writes it: a file, or a PostgreSQL address.

    Raises LibraryError for an address that cannot be read.
    """
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
    """The engine's own errors as sentences for a person."""
    try:
        yield
    except LibraryError:
        raise
    except Exception as error:
        told = dialect.sentence(error)
        if told is None:
            raise
        raise (CatalogueAway if dialect.is_away(error) else LibraryError)(told) from error
