"""A library's folder, kept to its owner: 0700, and its files 0600.

Built around `make_private`, called whenever a library is opened for writing. Only what is the user's own and is
called as the parts of a library are is changed, and the folder itself only when it holds nothing else. It knows
nothing of what the files hold.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

PARTS = (
    *("catalogue.sqlite*", "indexer*.lock", "vectors*", "thumbnails", "tokens.*", "audit.jsonl*", "sightline.log*"),
    *("owner-token", "cookie-key", "demo"),
)
"""What a library's folder holds."""


def make_private(folder: Path, *, made: bool) -> None:
    """Take from others what they may do in `folder`; `made` says that this program has just created it. Files
    deeper than its first level are behind folders that others cannot enter."""
    if os.name != "posix":
        return
    with suppress(OSError):
        found = folder.stat()
        ours = found.st_uid == os.getuid() and not found.st_mode & stat.S_ISVTX
        parts, others = [], []
        for entry in folder.iterdir():
            (parts if any(entry.match(part) for part in PARTS) else others).append(entry)
        if not ours:
            return
        for part in parts:
            _tighten(part)
        if not others and (made or parts) and _tighten(folder) and not made:
            log.warning("%s could be read by others of this machine; now only its owner can.", folder)


def _tighten(path: Path) -> bool:
    """True when others could do something with a file or folder of ours, which they now cannot."""
    with suppress(OSError):
        found = path.lstat()
        if found.st_mode & 0o077 and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            path.chmod(found.st_mode & 0o700)
            return True
    return False
