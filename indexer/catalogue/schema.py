"""The catalogue's tables, and the migrations that create them.

Built around SQLAlchemy Core over two engines, SQLite (the default) and PostgreSQL; their differences are in
`dialects/`. The folder `indexer/catalogue/migrations` has one file per schema version; they run in order. A
migration is written once, in SQLite's SQL, and translated for PostgreSQL (`dialects/postgresql/sql.py`); where
the engines differ (full text, triggers) there is a second file `NNNN_….postgresql.sql`. The `Table`s below
describe the same tables for queries (a test compares them on both engines). The full-text tables `words` and
`characters` (rowid = chunk.id) and `names` (rowid = file.id) exist only in SQL. The rows' meaning is in
`catalogue.py`.

Paths are stored without loss. A path that is UTF-8 is stored as text. Any other path (POSIX allows any bytes) is
a BLOB of its bytes in SQLite, an escaped text in PostgreSQL, and a `str` with surrogate escapes (`os.fsdecode`)
in Python.
"""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import sqlalchemy as sa

Where = Path | sa.URL
"""The place of a catalogue: a SQLite file, or a database of a PostgreSQL server."""

BUSY_S = 30.0
"""Seconds that a program waits for another one's transaction, which takes milliseconds; a backup may take seconds."""

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


class RawName(bytes):
    """The bytes of a path that is not UTF-8; a BLOB in SQLite."""


class PathText(sa.types.TypeDecorator[str]):
    """A path: a `str` in Python, with surrogate escapes; in the database as described above."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value if value is None or isinstance(value, RawName) else stored_name(os.fspath(value))

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return os.fsdecode(value) if isinstance(value, bytes) else value


def stored_name(name: str) -> str | RawName:
    """Returns the database value of a path: the path itself, or its bytes if they are not UTF-8."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return RawName(os.fsencode(name))


def clean_text(text: str) -> str:
    """Returns a text that a database can hold: lone surrogates and NULs are replaced."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


metadata = sa.MetaData()

root = sa.Table(
    "root",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("path", PathText, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # here | away | left_out
    sa.Column("mount", PathText),
    sa.Column("ignored", Number, nullable=False),
    sa.Column("scanned_at", sa.Float),
    sa.Column("left_out", sa.Text, nullable=False),  # JSON, see `LeftOut`
)

content = sa.Table(
    "content",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # pending | ready | failed
    sa.Column("error", sa.Text),
    sa.Column("failed_at", sa.Float),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("ocr", sa.Text, nullable=False),  # none | pending | done
    sa.Column("orphaned_at", sa.Float),
    sa.Column("duration_s", sa.Float),
    sa.Column("pages", Number),
    sa.Column("width", Number),
    sa.Column("height", Number),
    sa.Column("camera", sa.Text),
    sa.Column("lat", sa.Float),
    sa.Column("lon", sa.Float),
    sa.Column("note", sa.Text),
    sa.Column("live", Number, nullable=False),
    sa.Column("heard", sa.Text, nullable=False),  # none | pending | failed | subtitles | a speech model's id
    sa.Column("generation", Number, nullable=False),  # of reading: `data.media.kinds.GENERATION`
    sa.Column("taken", sa.Text),  # local, ISO 8601
    sa.Column("taken_from", sa.Text),  # `SOURCES` in data/media/dates.py
    sa.Column("facts", Number, nullable=False),  # `GENERATION` in data/media/metadata.py
    sa.Column("parts", sa.Text),  # JSON, `data.span.packed_parts`
    sa.Column("people", sa.Text),  # `packed_people` in copies.py
    sa.Column("picture_hash", sa.LargeBinary),  # `data/media/picture_hash.py`; empty: none, NULL: not known yet
)

cue = sa.Table(
    "cue",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("content_hash", sa.LargeBinary, sa.ForeignKey("content.hash"), nullable=False),
    sa.Column("start_s", sa.Float, nullable=False),
    sa.Column("end_s", sa.Float, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)

file = sa.Table(
    "file",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("root_id", sa.ForeignKey("root.id"), nullable=False),
    sa.Column("path", PathText, nullable=False),
    sa.Column("folder", PathText, nullable=False),
    sa.Column("name", PathText, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("size", Number, nullable=False),
    sa.Column("mtime_ns", Number, nullable=False),
    sa.Column("ctime_ns", Number, nullable=False),
    sa.Column("content_hash", sa.LargeBinary, sa.ForeignKey("content.hash")),
    sa.Column("state", sa.Text, nullable=False),  # pending | known | failed
    sa.Column("error", sa.Text),
    sa.Column("failed_at", sa.Float),
    sa.Column("taken", sa.Text),
    sa.Column("taken_from", sa.Text),
    sa.Column("camera", sa.Text),
    sa.Column("lat", sa.Float),
    sa.Column("lon", sa.Float),
    sa.Column("words", sa.Text, nullable=False),  # the text of its sidecar files
    sa.Column("due", Number),  # a number if its facts have to be read
    sa.Column("people", sa.Text),
)

chunk = sa.Table(
    "chunk",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("content_hash", sa.ForeignKey("content.hash"), nullable=False),
    sa.Column("ordinal", Number, nullable=False),
    sa.Column("start_s", sa.Float),
    sa.Column("end_s", sa.Float),
    sa.Column("page", Number),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("same_as", Number),
)

model = sa.Table(
    "model",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("dim", Number, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # answering | building | old
    sa.Column("source", sa.Text, nullable=False),
)

embedding = sa.Table(
    "embedding",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("chunk_id", sa.ForeignKey("chunk.id"), nullable=False),
    sa.Column("model_id", sa.ForeignKey("model.id"), nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)

change = sa.Table(
    "change", metadata, sa.Column("id", Number, primary_key=True), sa.Column("chunk_id", Number, nullable=False)
)

label = sa.Table(
    "label",
    metadata,
    sa.Column("chunk_id", sa.ForeignKey("chunk.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("hidden", Number, nullable=False),
)

album_item = sa.Table(
    "album_item",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("content_hash", sa.LargeBinary, nullable=False),
    sa.Column("path", PathText, nullable=False),
    sa.Column("added_at", sa.Float, nullable=False),
)

seen = sa.Table(
    "seen",
    metadata,
    sa.Column("root_id", sa.ForeignKey("root.id"), primary_key=True),
    sa.Column("folder", PathText, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("files", Number, nullable=False),
    sa.Column("ignored", Number, nullable=False),
    sa.Column("left_out", sa.Text, nullable=False),
)

worker = sa.Table(
    "worker",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("maps", sa.Text, nullable=False),
    sa.Column("told", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("seen", sa.Float, nullable=False),
)

lease = sa.Table(
    "claim",
    metadata,
    sa.Column("hash", sa.LargeBinary, sa.ForeignKey("content.hash"), primary_key=True),
    sa.Column("worker_id", sa.ForeignKey("worker.id"), nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("tries", Number, nullable=False),
)

setting = sa.Table(
    "setting", metadata, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False)
)


def migrations(dialect: str = "sqlite") -> list[tuple[int, str]]:
    """Returns the migrations for an engine: (version, SQL) in order. A migration without a file for the engine is
    returned in SQLite's SQL, to be translated."""
    files = {f.name: f for f in resources.files("indexer.catalogue").joinpath("migrations").iterdir()}
    steps = []
    for name in sorted(n for n in files if re.fullmatch(r"\d{4}_\w+\.sql", n)):
        of_dialect = name.removesuffix(".sql") + f".{dialect}.sql"
        steps.append((int(name[:4]), files[of_dialect if of_dialect in files else name].read_text(encoding="utf-8")))
    return steps


def full_disk(folder: Path) -> str:
    return (
        f"The disk that holds the library ({folder}) is full or failing: nothing is lost; "
        "make room and indexing goes on where it stopped."
    )
