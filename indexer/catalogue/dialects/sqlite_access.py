"""Connections that only read a SQLite catalogue, also where nothing can be written.

Built around the WAL: commits that are not in the main file yet are in `-wal`, and `-shm` is the index of that file.
SQLite makes both when it opens the catalogue. Where it cannot (a read-only file system, a folder of another account)
there are three cases, as `test_read_only.py` has them: both files are there, and SQLite reads them as they are; only
`-wal` is there, and a connection that takes no locks reads it with an index in its own memory; neither is there, and
the main file is everything. It knows nothing of tables.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, TypeVar, overload

Made = TypeVar("Made", bound=sqlite3.Connection)

NO_LOCKS = "win32-none" if os.name == "nt" else "unix-none"
"""SQLite's file layer without locks: who cannot write the folder has no writer to lock out."""


@overload
def connect(path: Path, *, factory: type[Made], **options: Any) -> Made: ...
@overload
def connect(path: Path, **options: Any) -> sqlite3.Connection: ...
def connect(path: Path, **options: Any) -> Any:
    """Returns a connection that reads every commit of the catalogue and cannot write. `options`: of
    `sqlite3.connect`."""
    wal, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    mode, alone = "mode=ro", False
    if not os.access(path.parent, os.W_OK) and not (wal.exists() and index.exists()):
        alone = wal.exists() and wal.stat().st_size > 0
        mode += f"&vfs={NO_LOCKS}" if alone else "&immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, **options)
    if alone:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # the index of the WAL is in memory
    return connection
