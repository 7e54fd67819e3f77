"""What a decoding process may still do: `confine` takes everything else away from the process that calls it.

Built around layers of the Linux kernel, each used where it is there (`layers` says which): no new privileges and no
capabilities, bounds on resources, Landlock for files, signals and TCP, and a seccomp filter for system calls. The
filter also hands each opening of a file to the parent (`data.media.open_gate`), which opens what the call needs and
refuses the rest; so a process that lives for many files sees only those of its call. The numbers and structures are
those of the kernel's headers: linux/landlock.h, linux/seccomp.h, linux/filter.h, linux/audit.h, linux/capability.h,
and the tables of system calls of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl) and arm64 (asm-generic/unistd.h). It
knows nothing of media and of the sandbox's protocol, and imports little: the process that calls it starts light.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from functools import cache

# Landlock: the number of a file's rights that a kernel knows, by the version of Landlock (linux/landlock.h).
_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
_MOST_RIGHTS = 16
_EXECUTE = 1 << 0
_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # system calls, on all architectures

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER, _SET_MODE_FILTER, _GET_NOTIF_SIZES = 2, 1, 3
_SPEC_ALLOW, _NEW_LISTENER = 1 << 2, 1 << 3  # SECCOMP_FILTER_FLAG_…
_ALLOW, _USER_NOTIF, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x7FC00000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000
_GATE_KERNEL = (5, 14)  # the first with SECCOMP_ADDFD_FLAG_SEND
_CAPABILITY_VERSION = 0x20080522
MAX_FILES = 256  # open at once; a decoder has a handful
MAX_WRITTEN = 4 << 30  # bytes of a file that a call writes: a clip

Numbers = dict[str, tuple[int | None, int | None]]
"""System calls by name: their numbers on x86-64 and on arm64, None where an architecture has no such call."""

# System calls that fail with "not permitted".
_REFUSED: Numbers = {
    # Sockets and queues, between machines and between processes.
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "bind": (49, 200), "listen": (50, 201),
    "socketpair": (53, 199), "accept4": (288, 242), "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180),
    # Other programs and processes. `clone` is looked into below: threads are allowed.
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "ptrace": (101, 117),
    "setpgid": (109, 154), "setsid": (112, 157), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "setrlimit": (160, 164), "setpriority": (141, 140), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "ioprio_set": (251, 30), "unshare": (272, 97), "setns": (308, 268), "personality": (135, 92),
    "seccomp": (317, 277),
    # The kernel itself.
    "io_uring_setup": (425, 425), "io_setup": (206, 0), "bpf": (321, 280), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "fanotify_init": (300, 262), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442), "swapon": (167, 224),
    "reboot": (169, 142), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "iopl": (172, None), "ioperm": (173, None), "memfd_create": (319, 279),
    "open_by_handle_at": (304, 265),
}  # fmt: skip
# Refused besides where a gate opens files: all that changes a file system by names or a file's attributes.
_CHANGES: Numbers = {
    "truncate": (76, 45), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, None),
    "mkdirat": (258, 34), "rmdir": (84, None), "creat": (85, None), "link": (86, None), "linkat": (265, 37),
    "unlink": (87, None), "unlinkat": (263, 35), "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None),
    "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469),
}  # fmt: skip
OPEN, OPENAT = (2, None), (257, 56)
_OPENAT2 = (437, 437)
# (index into the pairs, AUDIT_ARCH of linux/audit.h, clone, clone3, tgkill, prlimit64)
_MACHINES = {"x86_64": (0, 0xC000003E, 56, 435, 234, 302), "aarch64": (1, 0xC00000B7, 220, 435, 131, 261)}

_gate_given_up = False

FILES = "each file is opened by the parent: reads those of its call, writes nothing"
NO_SOCKETS = "seccomp: no sockets, no programs"
NO_PRIVILEGES = "no privileges"


def layers() -> tuple[str, ...]:
    """The layers that confine a decoder on this machine, as words for a person."""
    names = ["few variables", "ended as a whole" if os.name == "posix" else "ended by its parent", "bounded memory"]
    if sys.platform == "linux":
        names += ["bounded files", NO_PRIVILEGES]
        if _has_seccomp():
            names += [NO_SOCKETS, *([FILES] if has_gate() else [])]
        if version := landlock_version():
            names.append(_landlock_name(version))
    return tuple(names)


def _landlock_name(version: int) -> str:
    return f"Landlock {version}"


@cache
def landlock_version() -> int:
    """The version of Landlock that the kernel has; 0 without."""
    if sys.platform != "linux":
        return 0
    return max(0, syscall(_CREATE_RULESET, None, 0, 1))  # LANDLOCK_CREATE_RULESET_VERSION


@cache
def _has_seccomp() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, 0, 0)
    return platform.machine() in _MACHINES and ctypes.get_errno() == errno.EFAULT  # EINVAL: not built in


@cache
def has_gate() -> bool:
    """Whether a parent can open the files of a child on this machine. It reads the name of a file in the child's
    memory: `kernel.yama.ptrace_scope` 2 and 3 forbid that."""
    if sys.platform != "linux" or _gate_given_up or not _has_seccomp():
        return False
    major, minor = (int("".join(c for c in part if c.isdigit()) or 0) for part in os.uname().release.split(".")[:2])
    if (major, minor) < _GATE_KERNEL:
        return False
    if syscall(_seccomp_number(), _GET_NOTIF_SIZES, 0, ctypes.create_string_buffer(6)):
        return False
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:  # noqa: PTH123
            return int(file.read()) < (2 if os.geteuid() else 3)
    except (OSError, ValueError):
        return True  # a kernel without Yama


def give_up_gate() -> None:
    """From now on, `has_gate` is False: a child's memory could not be read."""
    global _gate_given_up
    _gate_given_up = True
    has_gate.cache_clear()


def bound(megabytes: int) -> None:
    """Bound the address space (`megabytes` above what is mapped now), open files and the size of a written file, for
    good (Linux). Allocations beyond the bound fail, which most decoders report; the parent's watcher is the second
    net."""
    import resource

    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    # Libraries map code and reserve stacks that they never touch: half a gigabyte above the bound is for those.
    for which, value in (
        (resource.RLIMIT_AS, mapped + (megabytes << 20) + (512 << 20)),
        (resource.RLIMIT_NOFILE, MAX_FILES),
        (resource.RLIMIT_FSIZE, MAX_WRITTEN),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(which)[1]
        value = value if hard < 0 else min(value, hard)
        resource.setrlimit(which, (value, value))


def confine(gated: bool) -> tuple[list[str], int | None]:
    """Take from this process, which has one thread, what a decoder does not need, for good (Linux).

    Returns the layers that are on and, if `gated`, the descriptor at which the parent receives the openings of files;
    this process must close it as soon as the parent has it. What the kernel lacks is left out. Raises OSError if a
    layer that it has cannot be put on.
    """
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 – the layers hold for a thread and those it starts
        raise OSError(errno.EBUSY, "a decoder with several threads cannot be confined")
    libc = ctypes.CDLL(None, use_errno=True)
    _require(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _require(libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)))
    names: list[str] = [NO_PRIVILEGES]
    if version := landlock_version():
        _landlock(version, gated)
        names.append(_landlock_name(version))
    if not _has_seccomp():
        return names, None
    names += [NO_SOCKETS, *([FILES] if gated else [])]
    program = _filter(os.getpid(), gated)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    flags = _SPEC_ALLOW | (_NEW_LISTENER if gated else 0)
    listener = _require(syscall(_seccomp_number(), _SET_MODE_FILTER, flags, header))
    return names, listener if gated else None


def _seccomp_number() -> int:
    return _REFUSED["seccomp"][_MACHINES[platform.machine()][0]] or 0


def _landlock(version: int, gated: bool) -> None:
    """No right of a file (without a gate: no execution), no TCP, no signal to others: a ruleset without rules."""
    rights = (1 << _RIGHTS_OF_ABI.get(version, _MOST_RIGHTS)) - 1 if gated else _EXECUTE
    network, scopes = (3 if version >= 4 else 0), (3 if version >= 6 else 0)  # TCP; abstract sockets and signals
    attributes = struct.pack("=QQQ", rights, network, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _require(syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    _require(syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _filter(pid: int, gated: bool) -> bytes:
    """The program of linux/filter.h that judges each system call by its number and, for three, its arguments."""
    column, arch, clone, clone3, tgkill, prlimit = _MACHINES[platform.machine()]
    lines: list[tuple[int, int, int, int]] = []

    def load(offset: int) -> None:
        lines.append((0x20, 0, 0, offset))  # BPF_LD | BPF_W | BPF_ABS, an offset into struct seccomp_data

    def answer(value: int) -> None:
        lines.append((0x06, 0, 0, value))  # BPF_RET

    def skip_unless(operation: int, value: int, count: int) -> None:
        lines.append((operation, 0, count, value))

    def judge(numbers: tuple[int | None, int | None], value: int) -> None:
        number = numbers[column]
        if number is not None:
            skip_unless(equal, number, 1)
            answer(value)

    equal, at_least, shares_bits = 0x15, 0x35, 0x45  # BPF_JMP | BPF_JEQ, BPF_JGE, BPF_JSET
    refused = _ERRNO | errno.EPERM
    load(4)
    lines.append((equal, 1, 0, arch))
    answer(_KILL_PROCESS)
    load(0)
    if column == 0:  # x32 numbers reach the same calls
        skip_unless(at_least, 0x40000000, 1)
        answer(refused)
    if gated:
        judge(OPENAT, _USER_NOTIF)
        judge(OPEN, _USER_NOTIF)
        judge(_OPENAT2, _ERRNO | errno.ENOSYS)
    for numbers in (*_REFUSED.values(), *(_CHANGES.values() if gated else ())):
        judge(numbers, refused)
    judge((clone3, clone3), _ERRNO | errno.ENOSYS)  # its flags lie in memory; the C library then takes clone
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


def syscall(number: int, *values: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(ctypes.c_long(number), *(ctypes.c_long(v) if isinstance(v, int) else v for v in values)))


def _require(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"a decoder cannot be confined: {os.strerror(code)}")
    return result
