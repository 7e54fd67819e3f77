"""The catalogue of a library: parts over one database.

Built around the tables of `schema.py`. Each part works by itself, so that a caller gets only the parts that it
needs. They share two ideas:

- The catalogue is the queue. A file is `pending` until its bytes are hashed; a content is `pending`, `ready` or
  `failed(reason)`. Work is recorded nowhere else, so nothing is lost when the program is killed.
- One content is one transaction: its chunks, their text, their vectors and its state.

It knows nothing of decoding, models, the pipeline or search.
"""

from __future__ import annotations

from indexer.catalogue.albums import Albums
from indexer.catalogue.contents import Contents
from indexer.catalogue.copies import Copies
from indexer.catalogue.database import Database
from indexer.catalogue.files import Files
from indexer.catalogue.leases import Leases
from indexer.catalogue.models import Models
from indexer.catalogue.queue import Queue
from indexer.catalogue.schema import Where
from indexer.catalogue.settings import StoredSettings
from indexer.catalogue.transcripts import Transcripts


class Catalogue:
    """The catalogue in `where`: a SQLite file, or the address of a PostgreSQL database. Safe to use from many
    threads and programs. Raises LibraryError."""

    def __init__(self, where: Where, *, read_only: bool = False) -> None:
        self.database = Database(where, read_only=read_only)
        self.files = Files(self.database)
        self.contents = Contents(self.database)
        self.copies = Copies(self.database)
        self.queue = Queue(self.database)
        self.leases = Leases(self.database)
        self.transcripts = Transcripts(self.database)
        self.models = Models(self.database)
        self.albums = Albums(self.database)
        self.settings = StoredSettings(self.database)
        if not read_only and self.files.are_nameless():
            self.files.rebuild_names()
        if not read_only and self.contents.are_wordless():
            self.contents.rebuild_words()

    def close(self) -> None:
        self.database.close()
