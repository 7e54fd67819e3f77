"""Decoding in child processes that may crash, hang or swell without harm: `Sandbox.submit(function, ...)`.

Built around one rule: whatever a file does to its decoder, the caller gets an array or a plain reason. Each
worker is a thread here and a child there (`data.media.sandbox_child`, a fresh interpreter, so it starts light and
shares nothing). A watcher kills the child that is over its time or memory; a killed or crashed child is replaced for
the next file, and what it has started ends with it. On Linux large arrays come back through memory that both
processes have, elsewhere through the pipe. Children end with the parent, also with one that is killed.

A child that a file has taken over can do little. It sees few variables of its parent; on Linux it is confined when it
starts, for good (`data.media.confinement`): no sockets, no programs, no privileges. A child lives for many files,
because a process per call costs a third more of the CPU (1.31, measured), and Landlock's list of files cannot change
while a process lives; so the thread that waits for the answer opens the files of the call for the child
(`data.media.open_gate`; 0.05 ms each) and refuses others. Decoders open paths as always, so none had to change.
The answer is read as data of the type that the function declares (`data.media.sandbox_answer`): nothing that a child
sends is unpickled.

Knows nothing of media: it runs any function of a module that can be imported and declares what it returns.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import mmap
import os
import pickle
import queue
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from data.media import confinement, sandbox_answer
from data.media.kinds import Cause, MediaError
from data.media.sandbox_child import HEAD

if TYPE_CHECKING:
    from data.media.open_gate import OpenGate

log = logging.getLogger(__name__)

_WATCH_S = 0.05
_CONFINED = True
_ENVIRONMENT = (
    *("PATH", "TMPDIR", "TEMP", "TMP", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT"),
    "SIGHTLINE_PDF",
)
"""The variables that a child gets: it sees no token and no password of the parent's."""
_HELLO_BYTES = 1 << 16


class SandboxError(MediaError):
    """The file made its decoder crash, hang or ask for too much. `str(error)` is one plain reason."""


@dataclass(order=True)
class _Job:
    order: tuple[int, int]
    call: tuple[Any, ...] = field(compare=False)
    timeout_s: float = field(compare=False)
    memory_mb: int | None = field(compare=False)
    writes: Sequence[Path] = field(compare=False)
    future: Future[Any] = field(compare=False)


class Sandbox:
    """A pool of `workers` child processes, each bounded to `memory_mb` above what it starts with.

    Children start with the first job. `nice` gives them a low CPU priority. Also a context manager.
    """

    def __init__(self, workers: int = 2, memory_mb: int = 2048, nice: bool = True) -> None:
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._count = 0
        self._closed = False
        self._lock = threading.Lock()
        self._workers = [_Worker(self._jobs, memory_mb, nice) for _ in range(max(1, workers))]
        self._watcher: threading.Thread | None = None

    def submit(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        timeout_s: float = 60.0,
        memory_mb: int | None = None,
        urgent: bool = False,
        writes: Sequence[Path] = (),
        **kwargs: Any,
    ) -> Future[Any]:
        """Run `function(*args, **kwargs)`, a function of an importable module, in a child.

        It reads the files that are a `Path` in its arguments, and what lies beside them and describes them; it writes
        the files `writes`, renames and removes nothing. What it returns has the type that it declares.

        The future holds its result, or the `MediaError` it raised, or a `SandboxError`: crash, over
        `timeout_s` seconds (counted from its start), over the memory (with `memory_mb`: over so much more than
        when the call began), an answer of another type. `urgent` jobs go before those that wait. Python's own
        exceptions come back as they are, others as a RuntimeError.
        """
        with self._lock:
            if self._closed:
                raise SandboxError("the program is stopping", "closed")
            self._count += 1
            order = (0 if urgent else 1), self._count
            job = _Job(order, (function, args, kwargs), timeout_s, memory_mb, writes, Future())
            self._jobs.put(job)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="sandbox-watcher", daemon=True)
                self._watcher.start()
            for worker in self._workers:
                worker.start()
        return job.future

    def _watch(self) -> None:
        while not self._closed:
            for worker in self._workers:
                worker.check()
            time.sleep(_WATCH_S)

    def close(self) -> None:
        """Kill the children; what waits and what runs ends with a `SandboxError`. May be called twice."""
        with self._lock:
            self._closed = True
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(SandboxError("the program is stopping", "closed"))
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def pids(self) -> list[int]:
        """Process ids of the children that live now."""
        return [w.child.pid for w in self._workers if w.child is not None and w.child.poll() is None]


class _Worker:
    """One thread that feeds one child at a time."""

    def __init__(self, jobs: queue.PriorityQueue[_Job], memory_mb: int, nice: bool) -> None:
        self.jobs = jobs
        self.memory_mb = memory_mb
        self.nice = nice
        self.thread: threading.Thread | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.closed = False
        self.lock = threading.Lock()  # of the fields below, shared with the watcher
        self.deadline: float | None = None
        self.verdict: Cause | None = None  # why the child was killed
        self.start_memory = 0
        self.most_memory = 0  # of the child during a call
        self.arena: _Arena | None = None
        self.gate: OpenGate | None = None
        self.errors: IO[bytes] | None = None

    def start(self) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, name="sandbox-worker", daemon=True)
            self.thread.start()

    def close(self) -> None:
        self.closed = True
        with self.lock:
            self._kill("closed")
        # A job that orders before all others wakes the thread.
        self.jobs.put(_Job((-1, 0), (), 0.0, None, (), Future()))
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(timeout=5.0)

    # The thread

    def _run(self) -> None:
        while not self.closed:
            job = self.jobs.get()
            if not job.call:
                if not self.closed:
                    self.jobs.put(job)
                    time.sleep(_WATCH_S)
                continue
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                job.future.set_result(self._do(job))
            except BaseException as error:  # noqa: BLE001 – a process boundary: whoever holds the future decides
                job.future.set_exception(error)
            job = None  # type: ignore[assignment]  # lets go of the arrays while waiting
        self._stop()

    def _do(self, job: _Job) -> Any:
        request = pickle.dumps(job.call, protocol=5)
        self._ensure_child(job.call[0].__module__)
        child = self.child
        assert child is not None and child.stdin is not None and child.stdout is not None
        if self.gate is not None:
            self.gate.admit(job.call[1:], job.writes)
        with self.lock:
            if self.closed:
                raise SandboxError("the program is stopping", "closed")
            self.verdict = None
            self.deadline = time.monotonic() + job.timeout_s
            self.most_memory = self.start_memory + (self.memory_mb << 20)
            if job.memory_mb is not None:
                self.most_memory = min(self.most_memory, _resident(child.pid) + (job.memory_mb << 20))
            seconds = job.timeout_s
        try:
            child.stdin.write(struct.pack("<Qd", len(request), seconds))
            child.stdin.write(request)
            child.stdin.flush()
            self._open_files(child.stdout)
            good, value = self._answer(child.stdout, sandbox_answer.declared(job.call[0]))
        except sandbox_answer.Unreadable as error:
            log.warning("a decoding process answered what its function does not return: %s", error)
            self._stop()
            raise self._reason("crash", job) from error
        except (EOFError, OSError) as error:
            raise self._end_reason(job) from error
        finally:
            with self.lock:
                self.deadline = None
        if isinstance(value, MemoryError) or self._uses_too_much(child.pid):
            self._stop()
        if good:
            return value
        if isinstance(value, MemoryError):
            raise self._reason("memory", job) from value
        raise value

    def _uses_too_much(self, pid: int) -> bool:
        """Whether the memory kept from earlier calls exceeds a third of the limit: decoders leak and keep caches, and
        no file is refused for those before it."""
        return _resident(pid) > self.start_memory + (self.memory_mb << 20) // 3

    def _open_files(self, pipe: IO[bytes]) -> None:
        """Open what the call opens, until it answers or ends."""
        if self.gate is None:
            return
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        poll.register(self.gate, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if pipe.fileno() in ready:
                return
            if ready[self.gate.fileno()] & select.POLLIN:
                self.gate.serve()
            else:  # the child has ended; the pipe is about to say so
                poll.unregister(self.gate)

    def _answer(self, pipe: IO[bytes], expected: Any) -> tuple[bool, Any]:
        """(True, result) or (False, exception), with the arrays taken from the arena or the pipe. Raises EOFError if
        the child has ended, Unreadable."""
        good, size, total = HEAD.unpack(_read(pipe, HEAD.size))
        if size + total > self.memory_mb << 20:
            raise sandbox_answer.Unreadable(f"it is {size + total:,} bytes long")
        message = _read(pipe, size)
        if not good:
            return False, sandbox_answer.unpack_error(message)
        arrays = memoryview(b"")
        if total:
            arrays = self.arena.copy(total) if self.arena else memoryview(_read(pipe, total))
        return True, sandbox_answer.unpack(message, arrays, expected)

    def _ensure_child(self, module: str) -> None:
        if self.child is not None and self.child.poll() is None:
            return
        self._stop()
        with self.lock:
            if self.closed:
                raise SandboxError("the program is stopping", "closed")
            self.arena = _Arena() if _Arena.possible() else None
            self.errors = tempfile.TemporaryFile()  # noqa: SIM115 – lives as long as the child
            ours, theirs = socket.socketpair() if _CONFINED and confinement.has_gate() else (None, None)
            setup = {
                "path": sys.path,
                "parent": os.getpid(),
                "memory_mb": self.memory_mb,
                "nice": self.nice,
                "arena": self.arena.number if self.arena else None,
                "modules": (sandbox_answer.__name__, module),
                "confined": _CONFINED,
                "keeps_bytecode": not sys.dont_write_bytecode,
                "socket": theirs.fileno() if theirs else None,
            }
            quiet = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
            here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
            flags: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
            if os.name == "posix":
                passed = (self.arena.number if self.arena else None, theirs.fileno() if theirs else None)
                flags["pass_fds"] = tuple(number for number in passed if number is not None)
            if sys.platform == "win32":
                low = subprocess.BELOW_NORMAL_PRIORITY_CLASS if self.nice else 0
                flags["creationflags"] = subprocess.CREATE_NO_WINDOW | low
            self.child = subprocess.Popen(
                [sys.executable, "-I", os.path.join(here, "sandbox_child.py")],  # noqa: PTH118
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | quiet,
                **flags,
            )
            if theirs is not None:
                theirs.close()
        child = self.child
        assert child.stdin is not None and child.stdout is not None
        hello = pickle.dumps(setup)
        try:
            child.stdin.write(struct.pack("<Q", len(hello)) + hello)
            child.stdin.flush()
            answer = json.loads(child.stdout.readline(_HELLO_BYTES))
            self.start_memory = int(answer["memory"])
            _note_layers(tuple(answer["layers"]))
            if ours is not None and answer["gated"]:
                self.gate = _gate(child.pid, ours)
                if self.gate is None:
                    self._stop()
                    self._ensure_child(module)
        except (OSError, ValueError) as error:
            tail = self._stderr_tail()
            self._stop()
            if self.closed:
                raise SandboxError("the program is stopping", "closed") from error
            raise RuntimeError(f"a decoding process could not start: {tail or error}") from error
        finally:
            if ours is not None:
                ours.close()

    def _stderr_tail(self) -> str:
        if self.errors is None:
            return ""
        with contextlib.suppress(OSError, ValueError):
            size = self.errors.seek(0, io.SEEK_END)
            self.errors.seek(max(0, size - 2000))
            return self.errors.read().decode("utf-8", "replace").strip()
        return ""

    def _end_reason(self, job: _Job) -> SandboxError:
        """Returns why the child ended."""
        child = self.child
        assert child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=2.0)
        cause: Cause = self.verdict or "crash"
        if cause == "crash":
            log.info("a decoding process ended with %s: %s", child.returncode, self._stderr_tail())
            # Out of memory where allocation fails inside C++ (abort) and says so.
            if "bad_alloc" in self._stderr_tail():
                cause = "memory"
        self._stop()
        return self._reason(cause, job)

    def _reason(self, cause: Cause, job: _Job) -> SandboxError:
        return SandboxError(
            {
                "time": f"reading it took longer than allowed ({job.timeout_s:.0f} s); it was given up",
                "memory": f"reading it needs more memory than allowed ({job.memory_mb or self.memory_mb:,} MB)",
                "closed": "the program is stopping",
            }.get(cause, "the file crashed its decoder"),
            cause,
        )

    def _stop(self) -> None:
        """End the child, if any, and let go of what belonged to it."""
        with self.lock:
            self._kill(None)
            child, self.child = self.child, None
        if child is not None:
            for pipe in (child.stdin, child.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            child.wait()
        if self.gate is not None:
            self.gate.close()
            self.gate = None
        if self.arena is not None:
            self.arena.close()
            self.arena = None
        if self.errors is not None:
            self.errors.close()
            self.errors = None

    def _kill(self, verdict: Cause | None) -> None:
        if self.child is not None and self.child.poll() is None:
            self.verdict = self.verdict or verdict
            if os.name == "posix":
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.child.pid, signal.SIGKILL)  # and whatever the decoder has started
            else:
                self.child.kill()

    # Called by the watcher's thread

    def check(self) -> None:
        with self.lock:
            if self.deadline is None or self.child is None:
                return
            if time.monotonic() > self.deadline:
                self._kill("time")
            elif _resident(self.child.pid) > self.most_memory:
                self._kill("memory")


def _gate(pid: int, connection: socket.socket) -> OpenGate | None:
    """The gate of a child that sends its listener over a connection. None if this system lets no parent read its
    child's memory; no child has a gate from then on."""
    from data.media.open_gate import OpenGate  # where there is fcntl

    (listener,) = socket.recv_fds(connection, 1, 1)[1]
    try:
        return OpenGate(pid, listener)
    except OSError as error:
        log.warning("this system does not let decoding processes be confined to their files: %s", error)
        confinement.give_up_gate()
        return None


@cache
def _note_layers(names: tuple[str, ...]) -> None:
    log.info("decoding processes are confined: %s", "; ".join(names) or "not at all")


class _Arena:
    """Anonymous memory that a child writes results to and the parent copies them from (Linux)."""

    def __init__(self) -> None:
        import fcntl

        # Sealed: if the child could shorten it, the parent would be killed as it reads.
        self.number = os.memfd_create("sightline", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(self.number, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self.map: mmap.mmap | None = None

    @staticmethod
    def possible() -> bool:
        return hasattr(os, "memfd_create")

    def copy(self, size: int) -> memoryview:
        """The first `size` bytes, in memory of the parent's own. NumPy's large blocks come in large pages:
        44 MB take 15 ms of CPU, into a bytearray 24. Raises Unreadable if there are fewer."""
        if self.map is None or len(self.map) < size:
            if self.map is not None:
                self.map.close()
            self.map = mmap.mmap(self.number, os.fstat(self.number).st_size, mmap.MAP_SHARED, mmap.PROT_READ)
        if len(self.map) < size:
            raise sandbox_answer.Unreadable("its arrays are shorter than it says")
        with memoryview(self.map) as view:
            data = np.empty(size, dtype=np.uint8)
            data[:] = np.frombuffer(view[:size], dtype=np.uint8)
            return data.data

    def close(self) -> None:
        if self.map is not None:
            self.map.close()
        os.close(self.number)


def _read(pipe: IO[bytes], size: int) -> bytearray:
    """Exactly `size` bytes; EOFError when the other side is gone."""
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        count = pipe.readinto(view[at:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        at += count
    return data


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 when it cannot be said."""
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
                _, resident, shared, *_ = map(int, file.read().split())
                return (resident - shared) * mmap.PAGESIZE
        except (OSError, ValueError):
            return 0
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
