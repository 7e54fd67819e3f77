"""Where a library is served on this machine: a note in its folder, locked while the server runs.

Built around a file lock, which ends with its process: a program that takes the port afterwards is never asked, nor
given the owner's token. It knows nothing of what is served.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from indexer import FileLock

FILE = "serving"


@contextmanager
def noted(data_dir: Path, address: str) -> Iterator[None]:
    """Note that `address` serves the library, for the block; where nothing can be written, do nothing."""
    lock = FileLock(data_dir / FILE, address)
    with suppress(OSError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def served_at(data_dir: Path) -> str | None:
    """Returns the address, `http://127.0.0.1:7860/`, of the server of a library; None if none runs here."""
    path = data_dir / FILE
    try:
        if not path.is_file():
            return None
        lock = FileLock(path)
        if lock.acquire():
            lock.release()
            return None
        address = path.read_text("utf-8").strip()
    except OSError:
        return None
    return address if address.startswith("http://") else None
