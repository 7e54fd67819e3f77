"""Files that their owner alone can read: `opener` and `make`. `indexer.files.private` closes those made before."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def opener(path: str, flags: int) -> int:
    """For `open(…, opener=opener)`: a file that it makes has the mode 0600, whatever folder it lies in."""
    return os.open(path, flags, 0o600)


def make(path: Path) -> None:
    """Make an empty file with the mode 0600, if there is none and it can be made: for what opens it by its name."""
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
