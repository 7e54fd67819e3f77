"""`sightline serve` in a process of its own, and the memory of a process with its children.

Built around PSS, in which memory that processes share counts once. Reads /proc, so for Linux.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

MB = 1 << 20


class ProcessTree:
    """A process and its children."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def size(self) -> int:
        """The sum of their PSS in bytes."""
        total = 0
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            except (OSError, psutil.NoSuchProcess):
                continue  # it has just ended
            total += int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) << 10  # type: ignore[index]
        return total

    def cpu_s(self) -> float:
        """The CPU time that they have taken, in seconds."""
        total = 0.0
        for process in (self._root, *self._root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def peak(self, call: Callable[[], Any], every_s: float) -> int:
        """The largest size during a call."""
        largest, done = self.size(), threading.Event()

        def watch() -> None:
            nonlocal largest
            while not done.wait(every_s):
                largest = max(largest, self.size())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            call()
        finally:
            done.set()
            watcher.join()
        return largest

    def growth(self, call: Callable[[], Any]) -> int:
        """How much the size grows during a call, at most."""
        before = self.size()
        return self.peak(call, 0.01) - before


@contextmanager
def served_program(*options: str) -> Iterator[tuple[str, ProcessTree]]:
    """(address, processes) of `sightline serve` with these options, Gradio loaded, open to everybody here."""
    command = [sys.executable, "-m", "app.cli", "serve", "--no-browser", "--no-token", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r"http://\S+[^/\s]", process.stderr.readline())
        assert found
        url = found[0]
        try:
            while not httpx.get(f"{url}/api/status", timeout=60).json()["gradio"]:
                time.sleep(0.1)
            yield url, ProcessTree(process.pid)
        finally:
            process.terminate()
