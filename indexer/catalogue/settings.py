"""Settings that belong to a library and not to a program: by name, as text.

Built around the table `setting`. It knows nothing of what the values mean.
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from indexer.catalogue.database import Database
from indexer.catalogue.schema import setting

RECIPE = "recipe"
"""How videos are cut, where several programs index one library."""

OCR = "ocr"
"""In which images words are read, likewise."""

SPEECH = "speech"
"""Who transcribes videos, likewise."""

LISTENER = "listener"
"""Who transcribed the videos that are transcribed in part."""

COPIES = "copies"
"""Whether other programs' copies are taken in: 1 or 0."""

LIBRARY = "library"
"""The library's own id."""

MOUNT_END = "\x1f"
"""Between mount points in a setting; a NUL in older libraries, which PostgreSQL's text cannot hold."""


class StoredSettings:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> str | None:
        with self._database.reader() as c:
            return c.execute(sa.select(setting.c.value).where(setting.c.name == name)).scalar()

    def set(self, name: str, value: str) -> None:
        with self._database.writer() as c:
            c.exec_driver_sql(
                "INSERT INTO setting (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )

    def name_library(self) -> None:
        """Give the library an id that no other has, once: what is stored elsewhere is marked with it."""
        with self._database.writer() as c:
            c.exec_driver_sql(
                "INSERT INTO setting (name, value) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM setting WHERE name = ?)",
                (LIBRARY, uuid.uuid4().hex, LIBRARY),
            )
