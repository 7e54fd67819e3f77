"""What a decoding process may still do: `confine` takes everything else away from the process that calls it.

Built around five layers of the kernel, each used where it is there (`layers` says which): bounds on resources
(setrlimit), no new privileges (prctl), Landlock for files and signals, and a seccomp filter for system calls.
Numbers and structures are those of the kernel's own headers: linux/landlock.h, linux/seccomp.h,
linux/filter.h, linux/audit.h, and the tables of system calls of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl)
and of arm64 (asm-generic/unistd.h). It knows nothing of media and of the protocol of the sandbox, and
imports nothing heavy: the process that calls it starts light.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable
from functools import cache

# Landlock: rights of a file, and those that a folder has besides (linux/landlock.h).
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many of the rights a kernel knows
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on all architectures

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER = 2
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000

# System calls that fail with "not permitted", as (x86-64, arm64); None where an architecture has no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # Sockets and queues, between machines and between processes.
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "bind": (49, 200), "listen": (50, 201),
    "socketpair": (53, 199), "accept4": (288, 242), "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180),
    # Other programs and processes. `clone` is looked into below: threads are allowed.
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129),
    "tkill": (200, 130), "ptrace": (101, 117), "setpgid": (109, 154), "setsid": (112, 157),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "setrlimit": (160, 164),
    "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "ioprio_set": (251, 30), "unshare": (272, 97), "setns": (308, 268), "personality": (135, 92),
    # What Landlock does not cover: modes, owners, times and attributes of files, and files by their handle.
    "chmod": (90, None), "fchmod": (91, 52), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None),
    "fchownat": (260, 54), "fchmodat": (268, 53), "fchmodat2": (452, 452), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "setxattrat": (463, 463), "removexattrat": (466, 466), "open_by_handle_at": (304, 265),
    # The kernel itself.
    "io_uring_setup": (425, 425), "io_setup": (206, 0), "bpf": (321, 280), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "fanotify_init": (300, 262), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432),
    "mount_setattr": (442, 442), "swapon": (167, 224), "reboot": (169, 142), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
}  # fmt: skip
# (index into the pairs, AUDIT_ARCH of linux/audit.h, clone, clone3, tgkill, prlimit64)
_MACHINES = {"x86_64": (0, 0xC000003E, 56, 435, 234, 302), "aarch64": (1, 0xC00000B7, 220, 435, 131, 261)}

READABLE = (
    *("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share/fonts", "/usr/local/share/fonts"),
    *("/usr/share/zoneinfo", "/usr/share/locale", "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime"),
    *("/dev/urandom", "/sys/devices/system/cpu", "/proc/sys/vm/overcommit_memory"),
)
"""What libraries read of the system, beside the interpreter's own folders: code, fonts, time zones."""


def layers() -> tuple[str, ...]:
    """The layers that this machine has, as words for a person."""
    found = ["empty environment", "killed as a whole"]
    if os.name == "posix":
        found.append("bounded memory, time, files" if sys.platform == "linux" else "bounded time and files")
    if sys.platform == "linux":
        found.append("no new privileges")
        if abi := landlock_abi():
            found.append(f"Landlock {abi}: reads its file, writes nothing")
        if _has_seccomp():
            found.append("seccomp: no sockets, no programs")
    return tuple(found)


@cache
def landlock_abi() -> int:
    """The version of Landlock that the kernel has; 0 without."""
    if sys.platform != "linux":
        return 0
    return max(0, _syscall(_CREATE_RULESET, None, 0, 1))  # LANDLOCK_CREATE_RULESET_VERSION


@cache
def _has_seccomp() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, 0, 0)
    return platform.machine() in _MACHINES and ctypes.get_errno() == errno.EFAULT  # EINVAL: not built in


def open_paths(paths: Iterable[str]) -> list[int]:
    """Descriptors (O_PATH) of those paths that are there, for `confine`."""
    found = []
    for path in paths:
        try:
            found.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        except OSError:
            continue
    return found


def bound(megabytes: int, cpu_s: int | None) -> None:
    """Bound address space (`megabytes` above what is mapped now), CPU seconds (None: not), the size of a file
    that is written, and open descriptors. No bound can be lifted again."""
    import resource

    def set_bound(which: int, value: int) -> None:
        hard = resource.getrlimit(which)[1]
        value = value if hard < 0 else min(value, hard)
        resource.setrlimit(which, (value, value))

    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        # Libraries map code and reserve stacks that they never touch: half a gigabyte is for those.
        set_bound(resource.RLIMIT_AS, mapped + (megabytes << 20) + (512 << 20))
    if cpu_s is not None:
        set_bound(resource.RLIMIT_CPU, cpu_s)
    set_bound(resource.RLIMIT_FSIZE, megabytes << 20)
    set_bound(resource.RLIMIT_NOFILE, 256)
    set_bound(resource.RLIMIT_CORE, 0)


def confine(readable: Iterable[int], listed: Iterable[int], writable: Iterable[int]) -> None:
    """Take from this process whatever a decoder does not need, for good (Linux; elsewhere nothing happens).

    All are descriptors of `open_paths`: files, or folders with all below. Of those `listed` only the names may
    be read. What the kernel lacks is left out. Raises OSError when a layer that it has cannot be put on.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _require(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if abi := landlock_abi():
        rules = (_READ, readable), (_READ_DIR, listed), (_WRITE, writable)
        _landlock(abi, [(rights, fd) for rights, fds in rules for fd in fds])
    if _has_seccomp():
        program = _filter(os.getpid())
        code = ctypes.create_string_buffer(program, len(program))
        header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
        _require(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0))


def _landlock(abi: int, rules: list[tuple[int, int]]) -> None:
    import stat

    handled = (1 << _RIGHTS_OF_ABI.get(abi, 16)) - 1
    network, scopes = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)  # TCP; abstract sockets and signals
    attributes = struct.pack("=QQQ", handled, network, scopes)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _require(_syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    for rights, fd in rules:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        _require(_syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights & handled, fd), 0))  # PATH_BENEATH
    _require(_syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _filter(pid: int) -> bytes:
    """The program of linux/filter.h that judges each system call by its number and, for four, its arguments."""
    column, arch, clone, clone3, tgkill, prlimit = _MACHINES[platform.machine()]
    lines: list[tuple[int, int, int, int]] = []

    def load(offset: int) -> None:
        lines.append((0x20, 0, 0, offset))  # BPF_LD | BPF_W | BPF_ABS, an offset into struct seccomp_data

    def answer(value: int) -> None:
        lines.append((0x06, 0, 0, value))  # BPF_RET

    def skip_unless(operation: int, value: int, count: int) -> None:
        lines.append((operation, 0, count, value))

    equal, at_least, shares_bits = 0x15, 0x35, 0x45  # BPF_JMP | BPF_JEQ, BPF_JGE, BPF_JSET
    refused = _ERRNO | errno.EPERM
    load(4)
    lines.append((equal, 1, 0, arch))
    answer(_KILL_PROCESS)
    load(0)
    if column == 0:  # x32 numbers reach the same calls
        skip_unless(at_least, 0x40000000, 1)
        answer(refused)
    for pair in _REFUSED.values():
        number = pair[column]
        if number is not None:
            skip_unless(equal, number, 1)
            answer(refused)
    skip_unless(equal, clone3, 1)
    answer(_ERRNO | errno.ENOSYS)  # its flags lie in memory; the C library then takes clone
    skip_unless(equal, clone, 4)
    load(16)
    skip_unless(shares_bits, _CLONE_THREAD, 1)
    answer(_ALLOW)
    answer(refused)
    skip_unless(equal, tgkill, 4)
    load(16)
    skip_unless(equal, pid, 1)  # abort()
    answer(_ALLOW)
    answer(refused)
    skip_unless(equal, prlimit, 8)
    for offset, left in ((16, 5), (32, 3), (36, 1)):  # one's own bounds, to be read: pid 0 and no new value
        load(offset)
        skip_unless(equal, 0, left)
    answer(_ALLOW)
    answer(refused)
    answer(_ALLOW)
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _syscall(number: int, *values: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(ctypes.c_long(number), *(ctypes.c_long(v) if isinstance(v, int) else v for v in values)))


def _require(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "a decoder cannot be confined")
    return result
