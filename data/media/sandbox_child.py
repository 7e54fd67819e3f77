"""The child's side of `data.media.sandbox`: read a call, run it, write the answer, until the pipe closes.

Run as a script by a fresh interpreter that imports nothing of ours until a call names it. Built around
private copies of the pipe ends, so that a decoder that prints cannot break the protocol. It ends itself when
the parent goes: the kernel's word for it on Linux, an alarm for a hanging call, the closing of the pipe
everywhere.
"""

from __future__ import annotations

import mmap
import os
import pickle
import queue
import struct
import sys
import threading
from typing import Any, BinaryIO

MAX_FILES = 256  # open at once; a decoder has a handful
ARENA_KEEP = 128 << 20  # a larger arena is given back after its result has been read


def main() -> None:
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    setup = pickle.loads(_exactly(requests, *struct.unpack("<Q", _exactly(requests, 8))))
    sys.path[:] = setup["path"]
    _die_with(setup["parent"])
    if setup["nice"] and hasattr(os, "nice"):
        os.nice(10)
    _bound_resources(setup["memory_mb"])
    arena = _ArenaWriter(setup["arena"]) if setup["arena"] is not None else None
    answers.write(struct.pack("<Q", _private_memory()))
    calls: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, calls), daemon=True).start()
    while True:
        seconds, request = calls.get()
        _alarm(seconds)
        _answer(answers, arena, *_run(request))
        _alarm(0)


def _listen(requests: BinaryIO, calls: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    """Hand on calls; when the parent is gone, end the process, whatever it is doing."""
    try:
        while True:
            size, seconds = struct.unpack("<Qd", _exactly(requests, 16))
            calls.put((seconds, _exactly(requests, size)))
    except (EOFError, OSError):
        os._exit(0)


def _run(request: bytes) -> tuple[bool, Any]:
    try:
        function, args, kwargs = pickle.loads(request)
        return True, function(*args, **kwargs)
    except (Exception, SystemExit) as error:  # noqa: BLE001 – a process boundary: the parent raises it again
        return False, error


def _answer(pipe: BinaryIO, arena: _ArenaWriter | None, good: bool, value: Any) -> None:
    arrays: list[pickle.PickleBuffer] = []
    try:
        body = pickle.dumps((good, value), protocol=5, buffer_callback=arrays.append)
        if not good:
            pickle.loads(body)  # an exception that cannot be built again would break the parent's side
    except Exception as error:  # noqa: BLE001 – the same boundary
        arrays = []
        body = pickle.dumps((False, RuntimeError(f"{type(value).__name__}: {value} ({error})"[:2000])))
    views = [array.raw() for array in arrays]
    lengths = [view.nbytes for view in views]
    if arena is not None and views:
        try:
            arena.write(views, sum(lengths))
        except (OSError, MemoryError, ValueError):
            views, lengths = [], []
            body = pickle.dumps((False, MemoryError()))
    head = struct.pack("<QQ", len(body), len(lengths)) + body + struct.pack(f"<{len(lengths)}Q", *lengths)
    _write(pipe, memoryview(head))
    if arena is None:
        for view in views:
            _write(pipe, view.cast("B"))


def _write(pipe: BinaryIO, view: memoryview) -> None:
    at = 0
    while at < len(view):
        at += pipe.write(view[at : at + (1 << 20)]) or 0


def _exactly(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


class _ArenaWriter:
    """The memory that the parent maps too."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.map: mmap.mmap | None = None

    def write(self, views: list[memoryview], total: int) -> None:
        if self.map is not None and (len(self.map) < total or (total < ARENA_KEEP < len(self.map))):
            self.map.close()
            self.map = None
        if self.map is None:
            size = -(-max(total, 1 << 20) // (1 << 20)) << 20
            if size < os.fstat(self.number).st_size:
                os.ftruncate(self.number, 0)  # frees the pages
            os.ftruncate(self.number, size)
            self.map = mmap.mmap(self.number, size, mmap.MAP_SHARED)
        at = 0
        with memoryview(self.map) as whole:
            for view in views:
                whole[at : at + view.nbytes] = view.cast("B")
                at += view.nbytes


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes
        import signal

        libc = ctypes.CDLL(None)
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS: a program that it starts gains nothing by its owner's bit
        if os.getppid() != parent:
            os._exit(0)


def _alarm(seconds: float) -> None:
    """A second guard on time, for a call that holds the interpreter's lock when nobody is left to kill it."""
    if hasattr(os, "fork"):
        import signal

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + 10 if seconds else 0)


def _bound_resources(megabytes: int) -> None:
    """Allocations beyond the bound fail, which most decoders report (the parent's watcher is the second net), and
    so does opening more than MAX_FILES files."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        mapped = int(file.read().split()[0]) * mmap.PAGESIZE
    # Libraries map code and reserve stacks that they never touch: half a gigabyte above the bound is for
    # those.
    limit = mapped + (megabytes << 20) + (512 << 20)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = min(MAX_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _private_memory() -> int:
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            _, resident, shared, *_ = map(int, file.read().split())
            return (resident - shared) * mmap.PAGESIZE
    return 0


if __name__ == "__main__":
    main()
