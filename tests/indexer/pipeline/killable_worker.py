"""Programs of a library on PostgreSQL, to be run side by side and killed:
`python -m tests.indexer.pipeline.killable_worker worker|watcher ADDRESS DATA_DIR OPTIONS-AS-JSON`.

Prints `begun` when the work begins. `slow_s`: the model takes so much longer a chunk; `stub_s`: only that.
`off_s`: the machine's clock is so far off. `core`: the one processor core that it has.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np


class Slow:
    """Lite, and as far away as a server: each chunk takes so long more, whoever asks."""

    def __init__(self, inner: Any, slow_s: float) -> None:
        self.id, self.dim, self.max_frames = inner.id, inner.dim, inner.max_frames
        self.max_side, self.page_side = inner.max_side, inner.page_side
        self.inner, self.slow_s = inner, slow_s

    def embed(self, inputs: Any) -> np.ndarray:
        time.sleep(self.slow_s * len(inputs))
        return self.inner.embed(inputs)


class Stub(Slow):
    """Embeds nothing, after the same time: for measuring what is around a model."""

    def embed(self, inputs: Any) -> np.ndarray:
        time.sleep(self.slow_s * len(inputs))
        rows = np.zeros((len(inputs), self.dim), np.float32)
        rows[:, 0] = 1.0
        return rows


class Program:
    """One of them as a process."""

    def __init__(self, role: str, address: str, data_dir: Path, **options: Any) -> None:
        self.command = [
            *(sys.executable, "-m", "tests.indexer.pipeline.killable_worker", role, address, str(data_dir)),
            json.dumps(options),
        ]
        self.said: list[str] = []
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        self._begun = threading.Event()
        self._reading = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reading.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.said.append(line.rstrip())
                if line == "begun\n":
                    self._begun.set()
        self._begun.set()

    def wait_begun(self) -> None:
        assert self._begun.wait(120) and "begun" in self.said, self.said

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def again(self) -> None:
        self.kill()
        self.start()

    def wait(self, seconds: float = 240.0) -> None:
        """Until it ends by itself, well."""
        code = self.process.wait(seconds)
        self._reading.join(10)
        assert code == 0, self.said[-20:]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


def main(role: str, address: str, data_dir: str, told: str) -> None:
    options: dict[str, Any] = json.loads(told)
    slow_s, stub_s, off_s = (options.pop(name, 0.0) for name in ("slow_s", "stub_s", "off_s"))
    if "core" in options:  # before any thread or child is started: they inherit it
        os.sched_setaffinity(0, {options.pop("core")})
    if off_s:
        real_time = time.time
        time.time = lambda: real_time() + off_s
    if slow_s or stub_s:
        from model import self_check
        from model.lite.embedder import LiteEmbedder

        real = LiteEmbedder.load
        self_check.check = lambda embedder, words_only=False: None
        LiteEmbedder.load = classmethod(  # type: ignore[assignment]
            lambda cls: Stub(real(), stub_s) if stub_s else Slow(real(), slow_s)
        )
    {"worker": _worker, "watcher": _watcher}[role](address, Path(data_dir), options)


def _worker(address: str, data_dir: Path, options: dict[str, Any]) -> None:
    from indexer.errors import LibraryError
    from indexer.pipeline.worker import Worker

    once = options.pop("once", False)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        worker = Worker(data_dir, address, nice=False, **options)
        print("begun", flush=True)
        tally = worker.run(stop, lambda line: print(line, flush=True), once=once)
        worker.close()
    except LibraryError as error:
        print(f"refused: {error}", flush=True)
        sys.exit(1)
    print(f"made {tally.contents} contents", flush=True)


def _watcher(address: str, data_dir: Path, options: dict[str, Any]) -> None:
    from indexer.library import Library

    folder = Path(options.pop("folder"))
    with Library.open(data_dir, catalogue=address, nice=False, ocr="off", **options) as library:
        print("begun", flush=True)

        def told(status: Any) -> None:
            print(" ".join(status.notices) or f"{status.pending} pending", flush=True)

        report = library.index([folder], progress=told)
        print(f"made {report.chunks} chunks", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
