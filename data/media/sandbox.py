"""Decoding in child processes that may crash, hang or swell without harm: `Sandbox.submit(function, ...)`.

Built around one rule: whatever a file does to its decoder, the caller gets an array or a plain reason, and
nothing else happens. Each worker is a thread here and a child there (`data.media.sandbox_child`, a fresh
interpreter with an empty environment). On Linux the child forks a process for each call, which confines itself
(`data.media.confinement`) to the files among its arguments; arrays come back through memory that both
processes reach. Answers are read by `data.media.sandbox_answer` and cannot run code here. A watcher kills a
child, with all it started, that is over its time or memory; it is replaced for the next file. Children end
with the parent, also with one that is killed.

Knows nothing of media: it runs any function of a module that can be imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import io
import json
import logging
import mmap
import os
import pickle
import queue
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from data.media import sandbox_answer
from data.media.kinds import Cause, MediaError

log = logging.getLogger(__name__)

_WATCH_S = 0.05
_HEAD = struct.Struct("<?QQ")  # whether the function returned, bytes of the message, bytes of the arrays
_FORKS = sys.platform == "linux"
_PASSED_ON = ("TZ", "LANG", "LC_ALL", "LC_CTYPE", "SIGHTLINE_PDF", "SYSTEMROOT")
"""All that a child sees of the environment: no token, no home."""


class SandboxError(MediaError):
    """The file made its decoder crash, hang or ask for too much. `str(error)` is one plain reason."""


@dataclass(order=True)
class _Job:
    order: tuple[int, int]
    call: tuple[Any, ...] = field(compare=False)
    timeout_s: float = field(compare=False)
    future: Future[Any] = field(compare=False)
    writes: Path | None = field(compare=False, default=None)


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
        urgent: bool = False,
        writes: Path | None = None,
        **kwargs: Any,
    ) -> Future[Any]:
        """Run `function(*args, **kwargs)`, a function of an importable module, in a child.

        The function may read the files that are `Path`s among its arguments and those beside them with the
        same stem, and write to the folder `writes`. It returns what its annotation says: plain values,
        dataclasses and arrays.

        The future holds its result, or the `MediaError` it raised, or a `SandboxError`: crash, over
        `timeout_s` seconds (counted from its start), over the memory. `urgent` jobs go before those that
        wait. Other exceptions of the function come back as they are.
        """
        with self._lock:
            if self._closed:
                raise SandboxError("the program is stopping", "closed")
            self._count += 1
            job = _Job(((0 if urgent else 1), self._count), (function, args, kwargs), timeout_s, Future(), writes)
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
        self.running: int | None = None  # the process that is watched: of the call, or the child itself
        self.control: socket.socket | None = None  # to a child that forks
        self.sound = False  # whether that child is ready for the next call, whatever became of the last one
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
        self.jobs.put(_Job((-1, 0), (), 0.0, Future()))
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
        expected = sandbox_answer.declared(job.call[0])
        self._ensure_child()
        child = self.child
        assert child is not None
        with self.lock:
            if self.closed:
                raise SandboxError("the program is stopping", "closed")
            self.verdict = None
            self.deadline = time.monotonic() + job.timeout_s
        try:
            good, message, arrays = (self._ask_a_fork if self.control else self._ask)(job, request)
            value = sandbox_answer.unpack(message, arrays, expected) if good else sandbox_answer.unpack_error(message)
        except (EOFError, OSError, sandbox_answer.Unreadable) as error:
            raise self._epitaph(job.timeout_s, error) from error
        finally:
            with self.lock:
                self.deadline, self.running = None, None
        if isinstance(value, MemoryError) or _resident(child.pid) > self.start_memory + (self.memory_mb << 20) // 3:
            # What a call left behind is a good part of what the next one may use: decoders leak and keep
            # caches, and no file is to be refused for those before it.
            self._stop()
        if good:
            return value
        if isinstance(value, MemoryError):
            raise self._reason("memory", job.timeout_s) from value
        raise value

    def _ask(self, job: _Job, request: bytes) -> tuple[bool, bytearray, memoryview]:
        """The answer of a child that runs calls itself."""
        assert self.child is not None and self.child.stdin is not None and self.child.stdout is not None
        self.running = self.child.pid
        self.child.stdin.write(struct.pack("<Qd", len(request), job.timeout_s))
        self.child.stdin.write(request)
        self.child.stdin.flush()
        good, message, size = self._head(self.child.stdout)
        return good, message, memoryview(_read(self.child.stdout, size))

    def _ask_a_fork(self, job: _Job, request: bytes) -> tuple[bool, bytearray, memoryview]:
        """The answer of a process that the child forks for this call. Both ends of its connection and the
        memory for arrays are new: no call can reach another's."""
        assert self.control is not None and self.errors is not None
        self.errors.seek(0)  # the child's too: what it says from now on is about this call
        self.errors.truncate()
        self.sound = False
        function = job.call[0]
        order = {
            "module": function.__module__,
            "reads": [os.path.abspath(path) for path in _paths(job.call[1:])],  # noqa: PTH100 – no links resolved
            "writes": [os.fspath(job.writes)] if job.writes else [],
            "seconds": job.timeout_s,
        }
        ours, theirs = socket.socketpair()
        arena = os.memfd_create("sightline")
        try:
            with ours, ours.makefile("rwb") as pipe:
                with theirs:
                    socket.send_fds(self.control, [json.dumps(order).encode()], [theirs.fileno(), arena])
                pid, self.start_memory = struct.unpack("<QQ", self._heard(16))
                self.running = pid
                try:
                    pipe.write(struct.pack("<Q", len(request)) + request)
                    pipe.flush()
                    good, message, size = self._head(pipe)
                    return good, message, _taken(arena, size)
                finally:
                    self.running = None
                    self.control.send(b".")
                    code = struct.unpack("<i", self._heard(4))
                    log.debug("a call's process ended with %d", *code)
                    self.sound = True
        finally:
            os.close(arena)

    def _heard(self, size: int) -> bytes:
        assert self.control is not None
        data = self.control.recv(size)
        if len(data) < size:
            raise EOFError
        return data

    def _head(self, pipe: IO[bytes]) -> tuple[bool, bytearray, int]:
        """Whether the function returned, its message, and how many bytes of arrays there are."""
        good, length, size = _HEAD.unpack(_read(pipe, _HEAD.size))
        if length > sandbox_answer.MESSAGE_BYTES or size > self.memory_mb << 20:
            raise sandbox_answer.Unreadable("an answer is too long")
        return good, _read(pipe, length), size

    def _ensure_child(self) -> None:
        if self.child is not None and self.child.poll() is None:
            return
        self._stop()
        with self.lock:
            if self.closed:
                raise SandboxError("the program is stopping", "closed")
            self.errors = tempfile.TemporaryFile()  # noqa: SIM115 – lives as long as the child
            flags: dict[str, Any] = {}
            theirs: socket.socket | None = None
            if _FORKS:
                self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                flags["pass_fds"] = (theirs.fileno(),)
            if sys.platform == "win32":
                low = subprocess.BELOW_NORMAL_PRIORITY_CLASS if self.nice else 0
                flags["creationflags"] = subprocess.CREATE_NO_WINDOW | low
            setup = {
                "path": sys.path,
                "code": _code(),
                "parent": os.getpid(),
                "memory_mb": self.memory_mb,
                "nice": self.nice,
                "control": theirs.fileno() if theirs else None,
            }
            quiet = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
            here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
            self.child = subprocess.Popen(
                [sys.executable, "-I", os.path.join(here, "sandbox_child.py")],  # noqa: PTH118
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env=quiet | {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                start_new_session=True,
                **flags,
            )
            if theirs:
                theirs.close()
        child = self.child
        assert child.stdin is not None and child.stdout is not None
        hello = json.dumps(setup).encode()
        try:
            child.stdin.write(struct.pack("<Q", len(hello)) + hello)
            child.stdin.flush()
            (self.start_memory,) = struct.unpack("<Q", _read(child.stdout, 8))
        except (EOFError, OSError) as error:
            said = self._last_words()
            self._stop()
            if self.closed:
                raise self._reason("closed", 0.0) from error
            raise RuntimeError(f"a decoding process could not start: {said or 'no message'}") from error

    def _last_words(self) -> str:
        if self.errors is None:
            return ""
        with contextlib.suppress(OSError, ValueError):
            size = self.errors.seek(0, io.SEEK_END)
            self.errors.seek(max(0, size - 2000))
            return self.errors.read().decode("utf-8", "replace").strip()
        return ""

    def _epitaph(self, timeout_s: float, error: Exception) -> SandboxError:
        """Why a call has no answer. Its child ends, too, unless it only forked a process that fell over."""
        assert self.child is not None
        cause: Cause = self.verdict or "crash"
        if cause == "crash":
            said = self._last_words()
            log.info("a decoding process ended (%s): %s", error or self.child.poll(), said)
            # Out of memory where allocation fails inside C++ (abort) and says so.
            if "bad_alloc" in said or "MemoryError" in said:
                cause = "memory"
        if not (self.sound and self.verdict is None):
            self._stop()
        return self._reason(cause, timeout_s)

    def _reason(self, cause: Cause, timeout_s: float) -> SandboxError:
        return SandboxError(
            {
                "time": f"reading it took longer than allowed ({timeout_s:.0f} s); it was given up",
                "memory": f"reading it needs more memory than allowed ({self.memory_mb:,} MB)",
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
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.errors is not None:
            self.errors.close()
            self.errors = None

    def _kill(self, verdict: Cause | None) -> None:
        if self.child is not None and self.child.poll() is None:
            self.verdict = self.verdict or verdict
            if os.name == "posix":
                os.killpg(self.child.pid, signal.SIGKILL)  # not yet waited for, so the number is still its own
            else:
                self.child.kill()

    # Called by the watcher's thread

    def check(self) -> None:
        with self.lock:
            if self.deadline is None or self.child is None:
                return
            if time.monotonic() > self.deadline:
                self._kill("time")
            elif self.running and _resident(self.running) > self.start_memory + (self.memory_mb << 20):
                self._kill("memory")


def _paths(value: Any) -> Iterator[Path]:
    """The paths among the arguments of a call."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, Mapping):
        yield from _paths(list(value.values()))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for column in dataclasses.fields(value):
            yield from _paths(getattr(value, column.name))


def _code() -> list[str]:
    """The folders of the packages that can be imported, or have been, from outside the interpreter's own
    folders; never a folder on the path itself, which may hold anything."""
    found = {place for module in list(sys.modules.values()) for place in getattr(module, "__path__", ())}
    for entry in {os.path.abspath(entry) for entry in sys.path}:  # noqa: PTH100
        if not entry.startswith((sys.prefix, sys.base_prefix)) and os.path.isdir(entry):  # noqa: PTH112
            found.update(os.path.dirname(file) for file in glob.iglob(f"{glob.escape(entry)}/*/__init__.py"))  # noqa: PTH120, PTH207
    places = {os.path.abspath(place) for place in found}  # noqa: PTH100
    return [place for place in places if not place.startswith((sys.prefix + os.sep, sys.base_prefix + os.sep))]


def _taken(arena: int, size: int) -> memoryview:
    """The first `size` bytes of the memory that a call wrote its arrays to, copied. It is read and not mapped:
    a mapping that the other side cuts short would crash this one."""
    data = np.empty(size, dtype=np.uint8)
    at = 0
    while at < size:
        count = os.preadv(arena, [data[at:].data], at)
        if not count:
            raise EOFError
        at += count
    return data.data


def _read(pipe: IO[bytes], size: int) -> bytearray:
    """Exactly `size` bytes; EOFError when there is no other side any more."""
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
