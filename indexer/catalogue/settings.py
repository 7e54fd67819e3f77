"""The settings of a library, by name, as text.

Built around the table `setting`. It knows nothing of the values' meaning.
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from indexer.catalogue.database import Database
from indexer.catalogue.schema import setting

RECIPE = "recipe"
"""How videos are cut (`IndexingOptions.recipe`), for a library that several programs index."""

OCR = "ocr"
"""`IndexingOptions.ocr`, for such a library."""

SPEECH = "speech"
"""`IndexingOptions.speech`, for such a library."""

LISTENER = "listener"
"""The name of the last speech model, which made the transcripts that are incomplete."""

COPIES = "copies"
"""Whether other programs' copies are indexed: 1 or 0."""

RULES = "rules"
"""The rules of each root (`files/ignore.py`), as JSON: path -> lines."""

MODERATION = "moderation"
"""The rules that hide and flag (`features/labels.py`), as they were written."""

LIBRARY = "library"
"""The id of the library."""

MOUNT_END = "\x1f"
"""The separator of mount points in a setting. Older libraries have a NUL, which PostgreSQL's text cannot hold."""


class StoredSettings:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> str | None:
        with self._database.reader() as c:
            return c.execute(sa.select(setting.c.value).where(setting.c.name == name)).scalar()

    def set(self, name: str, value: str) -> None:
        with self._database.writer() as c:
            put(c, name, value)

    def remove(self, name: str) -> None:
        with self._database.writer() as c:
            c.execute(sa.delete(setting).where(setting.c.name == name))

    def name_library(self) -> None:
        """Give the library a unique id if it has none; data on other servers is marked with it."""
        with self._database.writer() as c:
            c.exec_driver_sql(
                "INSERT INTO setting (name, value) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM setting WHERE name = ?)",
                (LIBRARY, uuid.uuid4().hex, LIBRARY),
            )


def put(c: sa.Connection, name: str, value: str) -> None:
    """Set a setting within a transaction."""
    c.exec_driver_sql(
        "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
