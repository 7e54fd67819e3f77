"""Who opened which file: a line of `audit.jsonl` in the library's folder, once tokens were given out.

Built around a rotating log of its own. It knows nothing of routes.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import time
from pathlib import Path

from app.web.tokens import Tokens
from indexer.types import FileInfo

AUDIT = "audit.jsonl"
AUDIT_BYTES = 5 << 20
SAME_VISIT_S = 600.0
"""A file that the same visitor opens again within this time (a video is read in a hundred requests) is one
line."""


class AuditLog:
    def __init__(self, data_dir: Path, tokens: Tokens) -> None:
        self._tokens, self._log = tokens, _rotating_log(data_dir / AUDIT)
        self._opened: dict[tuple[str, int], float] = {}

    def opened(self, file: FileInfo) -> None:
        """Record that the current visitor opens a file. Nothing is recorded while there are no tokens."""
        if not self._tokens:
            return
        who, now = self._tokens.current_visitor().name, time.time()
        if now - self._opened.get((who, file.file_id), 0.0) < SAME_VISIT_S:
            return
        self._opened = {key: at for key, at in self._opened.items() if now - at < SAME_VISIT_S}
        self._opened[who, file.file_id] = now
        line = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "who": who, "opened": os.fspath(file.path)}
        self._log.info(json.dumps(line))


def _rotating_log(path: Path) -> logging.Logger:
    """A logger of its own for one file, which is made with the first line."""
    log = logging.getLogger(f"{__name__}.{path}")
    if not log.handlers:
        log.addHandler(logging.handlers.RotatingFileHandler(path, maxBytes=AUDIT_BYTES, backupCount=3, delay=True))
        log.setLevel(logging.INFO)
        log.propagate = False
    return log
