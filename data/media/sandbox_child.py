"""The child's side of `data.media.sandbox`: read a call, run it, write the answer, until the pipe closes.

Run as a script by a fresh interpreter, which gives up what a decoder does not need (`data.media.confinement`) before
it reads a call, and imports nothing else of ours until a call names it. Built around private copies of the pipe
ends, so that a decoder that prints cannot break the protocol. It ends itself when the parent goes: the kernel's word
for it on Linux, an alarm for a hanging call, the closing of the pipe everywhere.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import mmap
import os
import pickle
import queue
import struct
import sys
import threading
from typing import Any, BinaryIO

HEAD = struct.Struct("<?QQ")  # whether the call succeeded, the bytes of the message, the bytes of its arrays
COLLECT_BYTES = 16 << 20  # of growth after which garbage is collected: frames stay in reference cycles until then
DECODERS = ("av", "pymupdf", "pypdfium2", "PIL")  # libraries of Python code that children import, PIL's formats alone
ARENA_KEEP = 16 << 20  # the memory of a larger result is given back before the next one


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
    statm: BinaryIO | None = None
    hello: dict[str, Any] = {"memory": 0, "layers": [], "gated": False}
    if sys.platform == "linux":
        from data.media import confinement

        confinement.bound(setup["memory_mb"])
        statm = open("/proc/self/statm", "rb", buffering=0)  # noqa: PTH123, SIM115 – for as long as the process lives
        hello["memory"] = _private_memory(statm)
        if setup["confined"]:
            with contextlib.suppress(ImportError):
                for name in setup["modules"]:  # after this, each file of a module costs the parent an opening
                    importlib.import_module(name)
            if setup["keeps_bytecode"]:
                _compile_decoders()
            if setup["socket"] is not None:
                import socket

                with socket.socket(fileno=setup["socket"]) as parent:
                    hello["layers"], listener = confinement.confine(gated=True)
                    if listener is not None:
                        socket.send_fds(parent, [b"."], [listener])
                        os.close(listener)
                        hello["gated"] = True
                        sys.dont_write_bytecode = True  # the parent refuses each attempt
            else:
                hello["layers"], _ = confinement.confine(gated=False)
    answers.write(json.dumps(hello).encode() + b"\n")
    arena = _ArenaWriter(setup["arena"]) if setup["arena"] is not None else None
    calls: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, calls), daemon=True).start()
    size = hello["memory"]
    while True:
        seconds, request = calls.get()
        _alarm(seconds)
        _answer(answers, arena, *_run(request))
        _alarm(0)
        if statm is not None and _private_memory(statm) > size + COLLECT_BYTES:
            _give_back_memory()
            size = _private_memory(statm)


def _compile_decoders() -> None:
    """Once after an installation without bytecode, as uv makes: a confined child cannot keep what it compiles, and
    PyMuPDF would cost half a second at each start."""
    for name in DECODERS:
        spec = importlib.util.find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            modules = [entry.path for entry in os.scandir(folder) if entry.name.endswith(".py")]
            kept = all(os.path.exists(importlib.util.cache_from_source(module)) for module in modules)  # noqa: PTH110
            if not kept and os.access(folder, os.W_OK):
                import compileall

                compileall.compile_dir(folder, quiet=2)


def _give_back_memory() -> None:
    """To the system, what calls left behind: after 40 windows of a 1080p video 80 MB are left of 620."""
    import ctypes

    gc.collect()
    gc.freeze()  # what is alive between calls are modules: the next collection passes over them
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # GNU's C library
        libc.malloc_trim(0)


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
    from data.media import sandbox_answer

    views: list[memoryview] = []
    try:
        if good:
            message, views = sandbox_answer.pack(value)
            if arena is not None and views:
                arena.write(views)
        else:
            message = sandbox_answer.pack_error(value)
    except Exception as error:  # noqa: BLE001 – the same boundary
        good, views = False, []
        message = sandbox_answer.pack_error(MemoryError() if isinstance(error, (OSError, MemoryError)) else error)
    total = sum(view.nbytes for view in views)
    _write(pipe, memoryview(HEAD.pack(good, len(message), total) + message))
    if arena is None:
        for view in views:
            _write(pipe, view)


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
    """The memory that the parent reads too."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.map: mmap.mmap | None = None
        self.used = 0  # bytes of the last result

    def write(self, views: list[memoryview]) -> None:
        total = sum(view.nbytes for view in views)
        if self.map is None or len(self.map) < total:
            if self.map is not None:
                self.map.close()
            size = max(os.fstat(self.number).st_size, -(-max(total, 1 << 20) // (1 << 20)) << 20)
            os.ftruncate(self.number, size)
            self.map = mmap.mmap(self.number, size, mmap.MAP_SHARED)
        if self.used > ARENA_KEEP:
            self.map.madvise(mmap.MADV_REMOVE)  # frees the pages
        self.used = total
        at = 0
        with memoryview(self.map) as whole:
            for view in views:
                whole[at : at + view.nbytes] = view
                at += view.nbytes


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(0)


def _alarm(seconds: float) -> None:
    """A second guard on time, for a call that holds the interpreter's lock when nobody is left to kill it."""
    if hasattr(os, "fork"):
        import signal

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + 10 if seconds else 0)


def _private_memory(statm: BinaryIO) -> int:
    statm.seek(0)
    _, resident, shared, *_ = map(int, statm.read().split())
    return (resident - shared) * mmap.PAGESIZE


if __name__ == "__main__":
    main()
