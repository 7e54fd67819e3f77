"""A library's folder is its owner's alone: 0700, and the files in it 0600.

Built around `make_private`, called when a library is opened for writing. It changes what belongs to the user and is
named like a part of a library; the folder itself only if it holds nothing else. It knows nothing of what files hold.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

from indexer.files.roots import ADDED

log = logging.getLogger(__name__)

PARTS = (
    *("catalogue.sqlite*", "catalogue-damaged-*", "salvage-*", "indexer*.lock", "vectors*", "thumbnails"),
    *("clicks.jsonl*", "keep-clicks", "query-adapter.*"),
    *("tokens.*", "owner-token*", "cookie-key*", "audit.jsonl*", "sightline.log*", "demo"),
    *("serving", ADDED, ".fetch-*"),
)
"""Names of what a library's folder holds."""


def make_private(folder: Path) -> None:
    """Deny other accounts all access to a library's folder and its parts. Deeper files lie behind folders that others
    cannot enter. Logs a warning if others had access to a library."""
    if os.name != "posix":
        return
    with suppress(OSError):
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & stat.S_ISVTX:
            return
        entries = list(folder.iterdir())
        parts = [entry for entry in entries if any(map(entry.match, PARTS))]
        for part in parts:
            _tighten(part)
        if len(parts) == len(entries) and _tighten(folder) and folder / "catalogue.sqlite" in parts:
            log.warning("%s could be read by others of this machine; now only its owner can.", folder)


def _tighten(path: Path) -> bool:
    """Take the rights of other accounts from a file or folder. Returns whether they had any."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        if mode & 0o077 and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            path.chmod(mode & 0o700)
            return True
    return False
