"""A signal that ends the server while a module is imported."""

from __future__ import annotations

import _imp
import signal
import time

import pytest

from app.cli import serve


def test_a_signal_in_an_import_waits_for_its_end() -> None:
    before = signal.signal(signal.SIGTERM, serve._end)
    try:
        _imp.acquire_lock()
        try:
            signal.raise_signal(signal.SIGTERM)  # nothing is raised here
        finally:
            _imp.release_lock()
        with pytest.raises(SystemExit) as ended:
            time.sleep(30)
        assert ended.value.code == 128 + signal.SIGTERM
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
