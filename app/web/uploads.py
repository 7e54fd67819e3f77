"""Files that people send to search with: where they lie until the answer, and how many bytes at once.

Built around one temporary folder of the server, which only its user can read. Each request has a folder in it,
deleted after the answer; `close` deletes the rest. It knows nothing of queries.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.web.guard import UPLOAD_LIMIT
from app.web.search_lane import Busy

MOST_BYTES = 4 * UPLOAD_LIMIT
"""Bytes of all visitors together; one visitor has half of them. A request counts with the length it declares."""


class Uploads:
    """Safe to use from several threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._bytes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._root: Path | None = None

    @contextmanager
    def folder(self, visitor: str, size: int | None) -> Iterator[Path]:
        """A folder for one request of `size` bytes (None: unknown, size as the most it may have), deleted with
        its files at the end of the block. Raises Busy if the uploads of others leave no room."""
        size = UPLOAD_LIMIT if size is None else size
        with self._lock:
            if self._bytes[visitor] + size > self._most // 2 or self._bytes.total() + size > self._most:
                raise Busy
            self._bytes[visitor] += size
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="sightline-uploads-"))
        folder = Path(tempfile.mkdtemp(dir=self._root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with self._lock:
                self._bytes[visitor] -= size

    def close(self) -> None:
        """Delete all uploads."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
