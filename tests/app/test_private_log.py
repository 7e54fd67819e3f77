"""The log of a library is its owner's alone, wherever it lies, and after it has rotated."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from app.private_log import PrivateLog


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_each_file_of_a_log_is_private(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        handler = PrivateLog(
            tmp_path / "a.log", maxBytes=50, backupCount=1, encoding="utf-8", errors="backslashreplace"
        )
        for n in range(5):
            handler.emit(logging.LogRecord("x", logging.INFO, "", 0, f"a line of the log, number {n}", None, None))
        handler.close()
    finally:
        os.umask(before)
    files = list(tmp_path.iterdir())
    assert len(files) == 2 and all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
