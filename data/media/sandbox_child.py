"""The child's side of `data.media.sandbox`: take a call, run it where it can do no harm, answer.

Run as a script by a fresh interpreter that imports nothing of ours until a call names it. On Linux it is a
nursery: it imports what functions need, and forks for each call a process that confines itself
(`data.media.confinement`), runs the one function, answers and ends; no file is read by a process that has read
another. Elsewhere the one process runs all calls. It ends when the parent goes: the kernel's word for it on
Linux, an alarm for a hanging call, the closing of the pipe everywhere.
"""

from __future__ import annotations

import gc
import importlib
import json
import mmap
import os
import pickle
import queue
import signal
import struct
import sys
import threading
import time
import unicodedata
from bisect import bisect_left
from itertools import takewhile
from typing import Any, BinaryIO

RACY_S = 2.0  # a folder that changed so lately may change again without a new time


def main() -> None:
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    setup = json.loads(_exactly(requests, *struct.unpack("<Q", _exactly(requests, 8))))
    sys.path[:] = setup["path"]
    if setup["nice"] and hasattr(os, "nice"):
        os.nice(10)
    if setup["control"] is not None:
        _die_with(setup["parent"])
        answers.write(struct.pack("<Q", _private_memory()))
        _Nursery(setup, null).serve()
        return
    if os.name == "posix":
        _import_confinement().bound(setup["memory_mb"], None)
    answers.write(struct.pack("<Q", _private_memory()))
    calls: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, calls), daemon=True).start()
    while True:
        seconds, request = calls.get()
        _alarm(seconds)
        _write(answers, *_answer(request))
        _alarm(0)


def _listen(requests: BinaryIO, calls: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    """Hand on calls; when the parent is gone, end the process, whatever it is doing."""
    try:
        while True:
            size, seconds = struct.unpack("<Qd", _exactly(requests, 16))
            calls.put((seconds, _exactly(requests, size)))
    except (EOFError, OSError):
        os._exit(0)


class _Nursery:
    """Forks a confined process for each call; runs nothing of a call itself but imports."""

    def __init__(self, setup: dict[str, Any], null: int) -> None:
        import socket

        self.control = socket.socket(fileno=setup["control"])
        self.memory_mb: int = setup["memory_mb"]
        self.confinement = _import_confinement()
        code = [*setup["code"], sys.prefix, sys.base_prefix, sys.exec_prefix]
        self.readable = self.confinement.open_paths([*self.confinement.READABLE, *code])
        self.null, self.pid = null, os.getpid()
        self.scanned: set[str] = set()
        self.folder: tuple[str, int, list[tuple[str, str]]] = ("", 0, [])  # the last one that was listed

    def serve(self) -> None:
        import socket

        gc.disable()  # a collection writes to memory that the children share
        while True:
            message, fds, _, _ = socket.recv_fds(self.control, 1 << 20, 2)
            if not message:
                return
            order = json.loads(message)
            self._warm(order["module"])
            beside = [name for path in order["reads"] for name in self._beside(path)]
            start = _private_memory()
            pid = os.fork()
            if pid == 0:
                self.control.close()
                _in_the_child(self, order, beside, *fds)
            for fd in fds:
                os.close(fd)
            self.control.send(struct.pack("<QQ", pid, start))
            done = self.control.recv(1)
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if not done:
                return
            self.control.send(struct.pack("<i", os.waitstatus_to_exitcode(status)))

    def _warm(self, module: str) -> None:
        """Import the module and what modules of ours say, in `LATE`, that they import later."""
        if module in self.scanned:
            return
        try:
            importlib.import_module(module)
            importlib.import_module("data.media.sandbox_answer")
        except Exception:  # noqa: BLE001 – the child meets it again, and tells
            return
        while new := [name for name in sys.modules if name not in self.scanned]:
            self.scanned.update(new)
            for name in new:
                for late in getattr(sys.modules.get(name), "LATE", ()) if name.startswith(("data.", "app.")) else ():
                    target, _, function = late.partition(":")
                    try:
                        found = importlib.import_module(target)
                        if function:
                            getattr(found, function)()
                    except Exception:  # noqa: BLE001 – an optional library; the child meets it again
                        continue
        gc.collect()
        gc.freeze()

    def _beside(self, path: str) -> list[str]:
        """Files beside a file that may tell of it by their names: subtitles, notes, the film of a live photo."""
        from data.media.beside_names import begins_with, shared_beginning

        folder, name = os.path.split(path)
        try:
            found = os.stat(folder or ".")  # noqa: PTH116
        except OSError:
            return []
        if self.folder[:2] != (folder, found.st_mtime_ns):
            try:
                names = sorted((unicodedata.normalize("NFC", n), n) for n in os.listdir(folder or "."))  # noqa: PTH208
            except OSError:
                return []
            stamp = found.st_mtime_ns if time.time() - found.st_mtime > RACY_S else -1
            self.folder = (folder, stamp, names)
        names, beginning = self.folder[2], shared_beginning(name)
        near = takewhile(lambda n: n[0].startswith(beginning), names[bisect_left(names, (beginning, "")) :])
        return [os.path.join(folder, n) for composed, n in near if begins_with(composed, beginning)]  # noqa: PTH118


def _in_the_child(nursery: _Nursery, order: dict[str, Any], beside: list[str], pipe: int, arena: int) -> None:
    """The forked process: confine, run, answer, end."""
    try:
        _die_with(nursery.pid)
        here = nursery.confinement
        files = here.open_paths([*order["reads"], *beside])
        folders = here.open_paths({os.path.dirname(path) or "." for path in order["reads"]})  # noqa: PTH120
        writable = here.open_paths(order["writes"])
        _alarm(order["seconds"])
        here.bound(nursery.memory_mb, int(order["seconds"] * (os.cpu_count() or 1)) + 10)
        here.confine([*nursery.readable, *files], folders, [*writable, nursery.null])
        for opened in (*files, *folders, *writable):  # a call has few descriptors
            os.close(opened)
        requests = os.fdopen(os.dup(pipe), "rb")
        request = _exactly(requests, *struct.unpack("<Q", _exactly(requests, 8)))
        gc.enable()
        good, body, arrays = _answer(request)
        try:
            _fill(arena, arrays)
        except (OSError, MemoryError):
            good, body, arrays = _fault(MemoryError())
        with os.fdopen(pipe, "wb", buffering=0) as answers:
            _send(answers, struct.pack("<?QQ", good, len(body), sum(map(len, arrays))) + body)
    except BaseException:  # noqa: BLE001 – the process ends here whatever happened; the parent reads what it said
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _answer(request: bytes) -> tuple[bool, bytes, list[memoryview]]:
    from data.media.sandbox_answer import pack

    try:
        function, args, kwargs = pickle.loads(request)
        return True, *pack(function(*args, **kwargs))
    except (Exception, SystemExit) as error:  # noqa: BLE001 – a process boundary: the parent raises it again
        return _fault(error)


def _fault(error: BaseException) -> tuple[bool, bytes, list[memoryview]]:
    from data.media.sandbox_answer import pack_error

    return False, pack_error(error), []


def _fill(arena: int, arrays: list[memoryview]) -> None:
    """Write the arrays to the memory that the parent reads."""
    at = 0
    for array in arrays:
        done = 0
        while done < len(array):
            done += os.pwrite(arena, array[done:], at + done)
        at += done


def _write(pipe: BinaryIO, good: bool, body: bytes, arrays: list[memoryview]) -> None:
    _send(pipe, struct.pack("<?QQ", good, len(body), sum(map(len, arrays))) + body)
    for array in arrays:
        _send(pipe, array)


def _send(pipe: BinaryIO, data: bytes | memoryview) -> None:
    view, at = memoryview(data), 0
    while at < len(view):
        at += pipe.write(view[at : at + (1 << 20)]) or 0


def _exactly(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _import_confinement() -> Any:
    """`data.media.confinement`, which lies beside this file, without the rest of `data`."""
    from importlib.util import module_from_spec, spec_from_file_location

    place = os.path.join(os.path.dirname(os.path.abspath(__file__)), "confinement.py")  # noqa: PTH100, PTH118, PTH120
    spec = spec_from_file_location("sightline_confinement", place)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(0)


def _alarm(seconds: float) -> None:
    """A second guard on time, for a call that holds the interpreter's lock when nobody is left to kill it."""
    if hasattr(os, "fork"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + 10 if seconds else 0)


def _private_memory() -> int:
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            _, resident, shared, *_ = map(int, file.read().split())
            return (resident - shared) * mmap.PAGESIZE
    return 0


if __name__ == "__main__":
    main()
