"""Log files that their owner alone can read: `PrivateLog`, a rotating one."""

from __future__ import annotations

import os
from logging.handlers import RotatingFileHandler
from typing import Any


class PrivateLog(RotatingFileHandler):
    """Makes each of its files with the mode 0600; the folder may be one that others can enter."""

    def _open(self) -> Any:
        mode, encoding, errors = self.mode, self.encoding, self.errors
        return open(self.baseFilename, mode, encoding=encoding, errors=errors, opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
