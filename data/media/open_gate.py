"""Opens files for a confined child: `OpenGate.serve` performs one `open` on the child's behalf.

Built around seccomp's notifications (seccomp_unotify(2), linux/seccomp.h): the kernel stops a child that opens a
file until this side has read the name in the child's memory, and has either put an open descriptor into the child
or refused. The name is judged after it was copied, and this side opens it, so the child cannot change it in between.
A call may read the files among its arguments, what lies beside them and describes them by its name, and code of
Python and of the system; it may list the folders of those files; it may write what its caller says. Knows nothing of
what is done with the files.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from data.media.beside_names import lies_with
from data.media.confinement import OPEN

log = logging.getLogger(__name__)

_NOTIF, _ANSWER, _ADDFD = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI"), struct.Struct("=QIIII")
_RECV, _SEND, _ADD = 0xC0502100, 0xC0182101, 0x40182103  # SECCOMP_IOCTL_NOTIF_…
_SEND_WITH_IT = 1 << 1  # SECCOMP_ADDFD_FLAG_SEND
_AT_FDCWD = -100 & 0xFFFFFFFF
_PATH_MAX = 4096
_MOST_NAMED = 50  # refusals of one child that the log names: one that was taken over could fill it
_PASSED_ON = (
    os.O_ACCMODE | os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_APPEND | os.O_DIRECTORY | os.O_NOFOLLOW
    if sys.platform == "linux"
    else 0
)
_OF_THE_SYSTEM = (
    *("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib"),
    *("/usr/share/fonts", "/usr/local/share/fonts", "/usr/share/zoneinfo", "/usr/share/locale", "/etc/fonts"),
    *("/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system/cpu", "/proc/sys/vm/overcommit_memory"),
)
_DEVICES = ("/dev/null", "/dev/urandom")
_OURS = [str(Path(__file__).parents[2] / name) for name in ("app", "data", "indexer", "model")]


class OpenGate:
    """The openings of the child `pid`, which `fileno()` announces when it is readable.

    `listener` is the descriptor at which the kernel announces them; the gate closes it. Raises OSError if this process
    may not read the child's memory.
    """

    def __init__(self, pid: int, listener: int) -> None:
        self._listener = listener
        try:
            self._memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(listener)
            raise
        self._folder = os.getcwd()  # noqa: PTH109 – the child's too
        self._code, self._listed_code = _code_folders()
        self._files: set[str] = set()
        self._folders: dict[str, list[str]] = {}
        self._written: set[str] = set()
        self._named: set[str] = set()

    def fileno(self) -> int:
        return self._listener

    def close(self) -> None:
        os.close(self._memory)
        os.close(self._listener)

    def admit(self, arguments: Any, writes: Iterable[Path]) -> None:
        """From now on, the call with these arguments opens files: it reads each `Path` in them, and writes `writes`."""
        self._files = {os.path.abspath(path) for path in _paths_in(arguments)}  # noqa: PTH100
        self._folders = {}
        for file in self._files:
            folder, name = os.path.split(file)
            self._folders.setdefault(folder, []).append(name)
        self._written = {os.path.abspath(path) for path in writes}  # noqa: PTH100

    def serve(self) -> None:
        """Answer one opening. Returns at once if the child has ended meanwhile."""
        notification = bytearray(_NOTIF.size)
        try:
            fcntl.ioctl(self._listener, _RECV, notification)
        except OSError:
            return
        number, _, _, call, _, _, *values = _NOTIF.unpack(notification)
        at, address, flags, mode = (_AT_FDCWD, *values[:3]) if call == OPEN[0] else values[:4]
        try:
            descriptor = self._open(at & 0xFFFFFFFF, address, flags & 0xFFFFFFFF, mode)
        except OSError as error:
            self._refuse(number, error.errno or errno.EACCES)
            return
        try:
            cloexec = flags & os.O_CLOEXEC
            fcntl.ioctl(self._listener, _ADD, _ADDFD.pack(number, _SEND_WITH_IT, descriptor, 0, cloexec))
        except OSError as error:  # too many descriptors in the child, or it has ended
            self._refuse(number, error.errno or errno.EMFILE)
        finally:
            os.close(descriptor)

    def _refuse(self, number: int, code: int) -> None:
        try:
            fcntl.ioctl(self._listener, _SEND, _ANSWER.pack(number, 0, -code, 0))
        except OSError:
            return  # the child has ended

    def _open(self, at: int, address: int, flags: int, mode: int) -> int:
        name = os.pread(self._memory, _PATH_MAX, address).split(b"\0", 1)[0]
        path = os.path.abspath(os.path.join(self._folder, os.fsdecode(name)))  # noqa: PTH100, PTH118
        if at != _AT_FDCWD and not name.startswith(b"/"):
            raise self._refusal(path)
        if not name:
            raise FileNotFoundError(errno.ENOENT, "no name")
        writing = flags & os.O_ACCMODE != os.O_RDONLY or flags & (os.O_CREAT | os.O_TRUNC)
        if path not in self._written and path not in _DEVICES and (writing or not self._is_readable(path, flags)):
            raise self._refusal(path)
        if not flags & os.O_CREAT or os.path.exists(path):  # noqa: PTH110
            kind = os.stat(path).st_mode  # noqa: PTH116 – a pipe would hold this thread
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or path in _DEVICES):
                raise self._refusal(path)
        return os.open(path, flags & _PASSED_ON | os.O_CLOEXEC | os.O_NOCTTY, mode & 0o666)

    def _refusal(self, path: str) -> OSError:
        """Named in the log if there is such a file: the loader of libraries looks in many places where none is."""
        if path not in self._named and len(self._named) < _MOST_NAMED and os.path.lexists(path):
            self._named.add(path)
            log.info("a decoding process was refused %s", path)
        return PermissionError(errno.EACCES, "refused")

    def _is_readable(self, path: str, flags: int) -> bool:
        if path in self._files or path.startswith(self._code):
            return True
        if flags & os.O_DIRECTORY:
            return path in self._folders or path in self._listed_code
        folder, name = os.path.split(path)
        return any(lies_with(name, other) for other in self._folders.get(folder, ()))


def _paths_in(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _paths_in(item)
    elif isinstance(value, dict):
        yield from _paths_in(list(value.values()))
    elif is_dataclass(value):
        for field in fields(value):
            yield from _paths_in(getattr(value, field.name))


def _code_folders() -> tuple[tuple[str, ...], set[str]]:
    """Prefixes of paths of code, and folders of code that may be listed to find a module.

    Code is the standard library, the installed packages, Sightline's own, those loaded from elsewhere and the system's
    libraries. A folder of `sys.path` itself may hold other things.
    """
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed |= {path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")}  # noqa: PTH119
    packages = {
        path
        for name, module in list(sys.modules.items())
        if "." not in name
        for path in getattr(module, "__path__", None) or ()
        if isinstance(path, str)
    }
    folders = {os.path.abspath(path) for path in (*installed, *packages, *_OURS, *_OF_THE_SYSTEM) if path}  # noqa: PTH100
    folders |= {os.path.realpath(path) for path in folders}
    listed = {os.path.abspath(path) for path in sys.path} | folders  # noqa: PTH100
    files = {folder for folder in folders if os.path.isfile(folder)}  # noqa: PTH113
    return (*(f"{folder}/" for folder in folders - files), *files), listed
