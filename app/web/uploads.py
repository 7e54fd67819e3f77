"""Files that people send to search with: how much of them lies on the disk at once, and where.

Built around one temporary folder of the server, which only its user can read; each request has a folder in it
until it is answered, and the whole goes when the server ends. It knows nothing of queries.
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
"""Of all visitors together; a visitor has a half of it. A request counts with the length that it declares."""


class Uploads:
    """Safe to use from several threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._bytes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._root: Path | None = None

    @contextmanager
    def folder(self, visitor: str, size: int | None) -> Iterator[Path]:
        """A folder for one request of `size` bytes (None: it does not say), deleted with all it holds
        afterwards. Raises Busy when too much lies there already."""
        counted = UPLOAD_LIMIT if size is None else size
        with self._lock:
            if self._bytes[visitor] + counted > self._most // 2 or self._bytes.total() + counted > self._most:
                raise Busy
            self._bytes[visitor] += counted
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="sightline-uploads-"))
        folder = Path(tempfile.mkdtemp(dir=self._root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with self._lock:
                self._bytes[visitor] -= counted

    def close(self) -> None:
        """Delete what is there."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
