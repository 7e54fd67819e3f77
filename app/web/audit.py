"""The audit log: who opened which file, a line each in `audit.jsonl` in the library's folder.

Built around a rotating log. It records nothing while the library has no tokens. It knows nothing of routes.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

from app.private_log import PrivateLog
from app.web.tokens import Tokens
from indexer.types import FileInfo

AUDIT = "audit.jsonl"
AUDIT_BYTES = 5 << 20
SAME_VISIT_S = 600.0
"""Requests of one visitor for one file within this time are one line (a video takes a hundred requests)."""
PRUNE_ABOVE = 10_000
"""More openings than this in memory: those of earlier visits are dropped."""


class AuditLog:
    def __init__(self, data_dir: Path, tokens: Tokens) -> None:
        self._tokens, self._log = tokens, _rotating_log(data_dir / AUDIT)
        self._opened: dict[tuple[str, int], float] = {}

    def opened(self, file: FileInfo) -> None:
        """Record that the current visitor opens a file."""
        if not self._tokens:
            return
        who, now = self._tokens.current_visitor().name, time.time()
        if now - self._opened.get((who, file.file_id), 0.0) < SAME_VISIT_S:
            return
        if len(self._opened) > PRUNE_ABOVE:
            self._opened = {key: at for key, at in self._opened.items() if now - at < SAME_VISIT_S}
        self._opened[who, file.file_id] = now
        line = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "who": who, "opened": os.fspath(file.path)}
        self._log.info(json.dumps(line))


def _rotating_log(path: Path) -> logging.Logger:
    """The logger of one file; its first line creates the file."""
    log = logging.getLogger(f"{__name__}.{path}")
    if not log.handlers:
        log.addHandler(PrivateLog(path, maxBytes=AUDIT_BYTES, backupCount=3, delay=True))
        log.setLevel(logging.INFO)
        log.propagate = False
    return log
