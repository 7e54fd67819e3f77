"""egemma2, a server of EmbeddingGemma 2 by another author, as a process on a port of this machine.

Built around its command `egemma2 serve --http`: `pip install egemma2`. It knows nothing of ours.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

START_S = 60


def program() -> str | None:
    """Returns the path of egemma2; None if it is not installed."""
    return shutil.which("egemma2") or shutil.which("egemma2", path=str(Path(sys.prefix) / "bin"))


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yields the address of a server of the checkpoint in `folder`, and its process; it has one thread."""
    process, port = _started(folder)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(10)


def _started(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Returns a server that answers, and its port. Another program may take the free port first: then one more."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(program()), "serve", "--http", f"127.0.0.1:{port}", "--threads", "1", "--device", "cpu",
                   "--model-dir", str(folder)]  # fmt: skip
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                if process.poll() is None:
                    return process, port
            time.sleep(0.05)
        process.kill()
        process.wait()
    raise TimeoutError("egemma2 does not start")
