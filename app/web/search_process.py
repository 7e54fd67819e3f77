"""A second process that answers searches beside the server while many wait.

Python's lock lets one thread of a process run at a time, and most of a search is Python: two cores do 1.3 times the
work of one. So a burst of searches starts a second process (`app.web.search_child`), which opens the library for
reading, as `sightline search` does, and ends when nothing has been asked of it for a while: an idle server is one
process. Built around a pipe to and from it and one thread, which keeps two requests in the pipe. It is a help and no
more: what it does not answer, because it died, hangs or failed, the server answers itself. It knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from pathlib import Path
from typing import Any

import psutil

from app.web.search_child import ANSWER, SIZE
from app.web.search_lane import Gone
from app.web.tokens import Visitor
from indexer.library import Library
from indexer.types import LibraryOptions, Query
from model.machine import cores

log = logging.getLogger("sightline")

IDLE_S = 30.0
"""Seconds without a request after which it ends."""
AGAIN_S = 10.0
"""Seconds after its end, unless it was idle, in which it is not started again."""
IN_PIPE = 2
"""Requests in its pipe: while the thread waits for Python's lock, the process goes on with the next one."""
MOST_BYTES = 2 << 10
"""Of a request (0.5 kB as a rule), so that the smallest pipe holds them, of 4 kB on Windows: with a full one and a long
answer both sides would wait. The server answers longer ones."""
MOST_MB = 600
"""Memory of its own at which it is ended; 120 MB at its start, 270 MB once words of other languages were asked for."""
CHECKED = 50
"""Answers between two looks at its memory."""


def request(query: Query, k: int, offset: int, visitor: Visitor) -> Callable[[], bytes] | None:
    """A search as bytes for the process. None if only the server can answer it: files are decoded by its children."""
    if query.rerank or any(part.file is not None for part in query.parts):
        return None
    return lambda: pickle.dumps((query, k, offset, visitor), protocol=5)


class SearchProcess:
    """`options`: returns how the process opens the library; None: it is not started, nor on a machine with one core.
    Safe to use from several threads."""

    def __init__(self, data_dir: Path, options: Callable[[], LibraryOptions | None]) -> None:
        self._data_dir, self._options = data_dir, options
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[tuple[bytes, Future[bytes]] | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._is_ready = self._is_closed = False
        self._not_before = 0.0

    @classmethod
    def of(cls, library: Library) -> SearchProcess:
        return cls(library.data_dir, library.options_of_a_reader)

    @property
    def is_ready(self) -> bool:
        return self._is_ready

    def pid(self) -> int | None:
        """None if it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self, on_ready: Callable[[], object]) -> None:
        """Start it in a thread of its own unless it runs, or has just failed."""
        if self._thread is not None or time.monotonic() < self._not_before:
            return
        with self._lock:
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, args=(on_ready,), name="search-process", daemon=True)
                self._thread.start()

    def submit(self, request: bytes) -> Future[bytes]:
        future: Future[bytes] = Future()
        with self._lock:
            if self._is_ready and len(request) <= MOST_BYTES:
                self._requests.put((request, future))
                return future
        future.set_exception(Gone())
        return future

    def end(self) -> None:
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                process.kill()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            thread = self._thread
        self.end()
        self._requests.put(None)
        if thread is not None:
            thread.join(timeout=5)

    # The thread

    def _run(self, on_ready: Callable[[], object]) -> None:
        asked: deque[Future[bytes]] = deque()
        try:
            options = self._options() if cores() > 1 else None
            if options is None:
                self._not_before = time.monotonic() + AGAIN_S
                return
            process = self._opened(options)
            with self._lock:
                self._is_ready = not self._is_closed
            on_ready()
            self._serve(process, asked)
        except (OSError, EOFError, RuntimeError) as error:
            self._not_before = time.monotonic() + AGAIN_S
            if not self._is_closed:
                log.warning("the second process of searches has ended; the server answers alone (%s)", error)
        finally:
            self._finish(asked)

    def _opened(self, options: LibraryOptions) -> subprocess.Popen[bytes]:
        """Raises OSError, EOFError."""
        flags: dict[str, Any] = {"start_new_session": True}  # Ctrl+C is for the server, which ends this
        if sys.platform == "win32":
            flags = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "app.web.search_child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, **flags,
        )  # fmt: skip
        with self._lock:
            self._process = process
            if self._is_closed:
                raise EOFError
        _write(process, pickle.dumps((self._data_dir, options)))
        assert process.stdout is not None
        if _answer(process) is None:
            raise EOFError("it could not open the library")
        return process

    def _serve(self, process: subprocess.Popen[bytes], asked: deque[Future[bytes]]) -> None:
        """Pass requests and answers on until it is idle or closed. Raises OSError, EOFError if the process is gone."""
        answers = 0
        while True:
            while len(asked) < IN_PIPE:
                try:
                    one = self._requests.get(timeout=IDLE_S) if not asked else self._requests.get_nowait()
                except queue.Empty:
                    if asked:
                        break
                    with self._lock:
                        if self._requests.empty():
                            self._is_ready = False
                            return
                    continue
                if one is None:
                    return
                asked.append(one[1])
                _write(process, one[0])
            answer = _answer(process)
            future = asked.popleft()
            with contextlib.suppress(InvalidStateError):  # nobody waits for it any more
                if answer is None:
                    future.set_exception(Gone())
                else:
                    future.set_result(answer)
            answers += 1
            if answers % CHECKED == 0 and _own_memory(process.pid) > MOST_MB << 20:
                raise RuntimeError(f"it had more than {MOST_MB} MB")

    def _finish(self, asked: deque[Future[bytes]]) -> None:
        with self._lock:
            self._is_ready, self._thread = False, None
            process, self._process = self._process, None
            waiting = list(asked)
            with contextlib.suppress(queue.Empty):
                while True:
                    one = self._requests.get_nowait()
                    waiting += [one[1]] if one is not None else []
        for future in waiting:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(Gone())
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            process.kill()
            process.wait()


def _write(process: subprocess.Popen[bytes], message: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(SIZE.pack(len(message)) + message)
    process.stdin.flush()


def _answer(process: subprocess.Popen[bytes]) -> bytes | None:
    """The next answer; None if it has none. Raises EOFError if the process is gone."""
    pipe = process.stdout
    assert pipe is not None
    head = pipe.read(ANSWER.size)
    if len(head) < ANSWER.size:
        raise EOFError("it is gone")
    is_answer, size = ANSWER.unpack(head)
    body = pipe.read(size)
    if len(body) < size:
        raise EOFError("it is gone")
    return body if is_answer else None


def _own_memory(pid: int) -> int:
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - getattr(memory, "shared", 0))
