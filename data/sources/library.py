"""`type: library`: pairs mined from a Sightline library, from what is already in its catalogue.

Built around the rule that a chunk's own words describe it: a page and a passage of its text, a window of a
video and its transcript, an image and its caption or the text on it. Where the user agreed that clicks are
kept (`clicks.jsonl` in the library's folder), they are pairs in the user's own words.
The catalogue, a SQLite file or a PostgreSQL database, is only read; media are read from where they lie.
Files that moved since they were indexed are missing media, nothing more.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from data.names import unescaped
from data.sources.pair import Media, MediaKind, MissingMedia, Pair, Side, SourceError
from data.sources.rows import JsonlRows
from data.sources.source import Source, register
from data.span import Span
from model.inputs import InputKind

CATALOGUE = "catalogue.sqlite"
CLICKS = "clicks.jsonl"
"""A line a click: `query`, `content` (hash, hexadecimal), `page`, `start_s`, `end_s`."""
PASSAGE_WORDS = 24
"""Length of a query cut from a page: a long question's worth. Shorter ones are often not specific."""
MEDIA_OF: dict[InputKind, MediaKind] = {"image": "image", "video": "video", "pdf": "page"}

_PATH = "(SELECT file.path FROM file WHERE file.content_hash = content.hash ORDER BY file.id LIMIT 1) AS path"
_CHUNKS = sa.text(
    "SELECT chunk.id, chunk.text FROM chunk JOIN content ON content.hash = chunk.content_hash "
    "WHERE content.state = 'ready' AND EXISTS (SELECT 1 FROM file WHERE file.content_hash = content.hash) "
    "ORDER BY chunk.id"
)
_CHUNK = sa.text(
    f"SELECT content.kind, {_PATH}, chunk.page, chunk.start_s, chunk.end_s, chunk.text "
    "FROM chunk JOIN content ON content.hash = chunk.content_hash WHERE chunk.id = :chunk"
)
_CONTENT = sa.text(f"SELECT content.kind, {_PATH} FROM content WHERE content.hash = :hash")


@register("library")
class LibrarySource(Source):
    """Pairs of the library in `data_dir`.

    `catalogue`  the address of its PostgreSQL database, where it is not in `data_dir`; `$NAME` in it is
                 taken from the environment, so that a password need not stand in the config.
    `pairs`      which to mine: `text` (a chunk and its words), `clicks`, `media` (every chunk alone, as
                 distillation wants it: the query is the chunk itself). Several may be named.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        catalogue: str | None = None,
        name: str = "library",
        pairs: str | list[str] = "text",
        min_words: int = 4,
        limit: int | None = None,
    ) -> None:
        self.name = name
        wanted = {pairs} if isinstance(pairs, str) else set(pairs)
        if unknown := wanted - {"text", "clicks", "media"}:
            raise SourceError(f"library: pairs are text, clicks or media, not {', '.join(sorted(unknown))}")
        self._folder = Path(data_dir).expanduser() if data_dir is not None else None
        self._catalogue = _Catalogue(_address(catalogue) if catalogue else _file(self._folder))
        self._rows: list[tuple[str, int]] = []
        self._clicks: JsonlRows | None = None
        with self._catalogue.reading() as reading:
            if "clicks" in wanted:
                self._rows += [("clicks", number) for number in self._mine_clicks(reading)]
            if wanted & {"text", "media"}:
                self._mine_chunks(reading, wanted, min_words)
        if limit is not None:
            del self._rows[limit:]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        kind_of_pair, number = self._rows[row]
        click: dict[str, Any] = {}
        if kind_of_pair == "clicks":
            assert self._clicks is not None
            click = self._clicks[number]
        with self._catalogue.reading() as reading:
            if click:
                found = reading.execute(_CONTENT, {"hash": bytes.fromhex(click["content"])}).one_or_none()
            else:
                found = reading.execute(_CHUNK, {"chunk": number}).one_or_none()
        if found is None or found.path is None:
            raise MissingMedia(f"{self.name}, row {row}: it is no longer in the library")
        at = click or found._mapping
        media = Media(
            MEDIA_OF[found.kind],
            self._catalogue.named(found.path),
            span=Span(at["start_s"], at["end_s"], at["page"]),
        )
        positive = Side(media=media, looks_for=found.kind)
        if kind_of_pair == "media":
            return Pair(positive, positive, source=self.name, row=row)
        words = click["query"] if click else passage(found.text, seed=number)
        return Pair(Side(words, role="query", looks_for=found.kind), positive, source=self.name, row=row)

    def _mine_chunks(self, reading: sa.Connection, wanted: set[str], min_words: int) -> None:
        for chunk, text in reading.execution_options(yield_per=1000).execute(_CHUNKS):
            if "text" in wanted and len(text.split()) >= min_words:
                self._rows.append(("text", chunk))
            if "media" in wanted:
                self._rows.append(("media", chunk))

    def _mine_clicks(self, reading: sa.Connection) -> list[int]:
        """Rows of the file: each query and what it opened once, of what is still in the library."""
        if self._folder is None:
            raise SourceError("library: clicks are kept in the library's folder; name it with data_dir")
        path = (self._folder.parent if self._folder.is_file() else self._folder) / CLICKS
        if not path.is_file():
            raise SourceError(
                f"{path} is not there: no clicks are kept of this library; `sightline clicks --keep` begins, "
                "or leave `clicks` out of `pairs`"
            )
        self._clicks = JsonlRows([path])
        found: dict[tuple[Any, ...], int] = {}
        for number in range(len(self._clicks)):
            click = self._clicks[number]
            try:
                key = tuple(click[name] for name in ("query", "content", "page", "start_s"))
                content = bytes.fromhex(click["content"])
            except (KeyError, TypeError, ValueError) as error:
                raise SourceError(f"{path}, row {number + 1}: no click ({error}); remove the line") from error
            named = reading.execute(_CONTENT, {"hash": content}).one_or_none()
            if named is not None and named.path is not None:
                found.setdefault(key, number)
        return list(found.values())


class _Catalogue:
    """A catalogue's database, opened to be read, in each process anew."""

    def __init__(self, where: Path | sa.URL) -> None:
        self.where = where
        self._engine: sa.Engine | None = None
        self._owner = 0

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Raises `SourceError`: not there, does not answer, no library's."""
        try:
            with self._here().connect() as connection:
                yield connection
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            reason = str(cause).strip().splitlines()[0]
            shown = self.where if isinstance(self.where, Path) else self.where.render_as_string()
            raise SourceError(f"{shown} cannot be read as a Sightline library ({reason})") from error

    def named(self, path: str | bytes) -> str:
        """A path as it was: SQLite keeps one that is not UTF-8 as bytes, PostgreSQL escaped."""
        return os.fsdecode(path) if isinstance(self.where, Path) else unescaped(str(path))

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where, "_engine": None, "_owner": 0}

    def _here(self) -> sa.Engine:
        """A connection does not cross a fork; what the parent's pool holds stays the parent's."""
        if self._engine is None:
            self._engine = _engine(self.where)
        elif self._owner != os.getpid():
            self._engine.dispose(close=False)
        self._owner = os.getpid()
        return self._engine


def _engine(where: Path | sa.URL) -> sa.Engine:
    if isinstance(where, Path):
        read_only = f"{where.resolve().as_uri()}?mode=ro"
        return sa.create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(read_only, uri=True, check_same_thread=False),
            poolclass=sa.QueuePool,
        )
    try:
        engine = sa.create_engine(where, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    except ImportError as error:
        raise SourceError(
            "a catalogue on PostgreSQL needs psycopg: pip install 'sightline[scale]'"
        ) from error
    return engine.execution_options(postgresql_readonly=True)


def _file(folder: Path | None) -> Path:
    if folder is None:
        raise SourceError("library: name the library's folder with data_dir, or its database with catalogue")
    path = folder if folder.is_file() else folder / CATALOGUE
    if not path.is_file():
        raise SourceError(
            f"{folder} holds no Sightline library ({CATALOGUE}); index a folder first, "
            "or name its PostgreSQL database with catalogue"
        )
    return path


def _address(text: str) -> sa.URL:
    """As `--catalogue` takes it. The text is not repeated in an error: it may hold a password."""
    try:
        url = sa.make_url(os.path.expandvars(text))
    except (sa.exc.ArgumentError, ValueError) as error:
        raise SourceError(
            "library: catalogue is an address, postgresql+psycopg://USER@HOST/DATABASE"
        ) from error
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername != "postgresql+psycopg" or not url.database:
        raise SourceError(
            f"library: catalogue is postgresql+psycopg://USER@HOST/DATABASE, not {url.render_as_string()}"
        )
    return url


def passage(text: str, seed: int, words: int = PASSAGE_WORDS) -> str:
    """At most `words` words of a text, from the start of a sentence; the same for the same seed."""
    sentences = [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n{2,}", text) if len(s.split()) >= 4]
    if not sentences:
        sentences = [text]
    pick = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=4).digest(), "little")
    tokens = sentences[pick % len(sentences)].split()
    return " ".join(tokens[:words])
