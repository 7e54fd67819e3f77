"""What a decoder that a file has taken over tries, done harmlessly by functions of ours: each attempt is refused."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import mmap
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from data.media import confinement, sandbox_answer
from data.media.beside_names import lies_with
from data.media.sandbox import Sandbox, SandboxError
from tests.media import draw_image, draw_pdf, draw_video

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these layers are Linux's")
seccomp = pytest.mark.skipif(confinement.NO_SOCKETS not in confinement.layers(), reason="a kernel without seccomp")
gate = pytest.mark.skipif(confinement.FILES not in confinement.layers(), reason="a kernel that hands on no openings")
landlock = pytest.mark.skipif(not confinement.landlock_version(), reason="a kernel without Landlock")


def first_byte(path: Path, other: str = "") -> int:
    """Of `other`, which is no Path among the arguments, if it is given."""
    return Path(other or path).read_bytes()[0]


def import_new(path: Path, module: str) -> None:
    sys.modules.pop(module, None)
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.loader is not None and spec.cached is not None
    spec.cached += ".new"  # as after an installation: there is no bytecode yet
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def list_folder(path: Path, other: str = "") -> list[str]:
    return sorted(os.listdir(other or path.parent))  # noqa: PTH208


def read_through_a_folder(path: Path) -> int:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    return os.open(f"../{path.name}", os.O_RDONLY, dir_fd=folder)


def write_beside(path: Path) -> int:
    return path.with_name("new").write_bytes(b"x")


def write_to(name: str) -> int:
    return Path(name).write_bytes(b"x")


def append(path: Path) -> int:
    with path.open("ab") as file:
        return file.write(b"x")


def shorten(path: Path) -> None:
    os.truncate(path, 0)


def rename(path: Path) -> None:
    path.rename(path.with_name("other"))


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    path.with_name("link").symlink_to(path)


def make_folder(path: Path) -> None:
    path.with_name("folder").mkdir()


def change_mode(path: Path) -> None:
    path.chmod(0o777)


def change_time(path: Path) -> None:
    os.utime(path)


def open_socket() -> None:
    socket.create_connection(("127.0.0.1", 9))


def open_local_socket() -> None:
    socket.socket(socket.AF_UNIX).connect("\0other")


def start_program() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def replace_program() -> None:
    os.execv(sys.executable, [sys.executable, "-c", "pass"])


def fork() -> int:
    return os.fork()


def leave_the_group() -> None:
    os.setsid()


def signal_the_parent() -> None:
    os.kill(os.getppid(), 0)


def lift_a_bound() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))


def read_a_process(pid: int) -> None:
    os.pidfd_open(pid)


def open_by_another_call(path: Path, number: int) -> None:
    """io_uring opens files past the filter of system calls; openat2 has its arguments in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, -100, os.fsencode(path), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def in_a_thread(path: Path, other: str) -> str:
    failures: list[str] = []

    def attempt() -> None:
        try:
            first_byte(path, other)
        except OSError as error:
            failures.append(type(error).__name__)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return failures[0]


def capabilities() -> int:
    data = ctypes.create_string_buffer(24)
    ctypes.CDLL(None).capget(ctypes.create_string_buffer(b"\x22\x05\x08\x20" + bytes(4)), data)
    return sum(data.raw)


def bounds() -> dict[str, int]:
    import resource

    names = ("RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE")
    return {name: resource.getrlimit(getattr(resource, name))[1] for name in names}


def promises_text() -> str:
    return 3  # type: ignore[return-value]


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return os.putenv, ("SIGHTLINE_RAN", "1")


def an_object() -> object:
    return _Runs()


def raises_an_object() -> None:
    raise type("Foreign", (Exception,), {"__reduce__": _Runs.__reduce__})("x")


def forge(answer: bytes) -> None:
    """Write to the pipe of answers in the decoder's stead."""
    for number in range(3, 16):
        try:
            os.write(number, answer)
        except OSError:
            continue


def shorten_the_shared_memory() -> bool:
    for number in range(3, 16):
        try:
            mapped = mmap.mmap(number, os.fstat(number).st_size or 1 << 20)
        except (OSError, ValueError):
            continue
        mapped.close()
        try:
            os.ftruncate(number, 0)
        except PermissionError:
            return False
    return True


def plain(value: int = 0) -> tuple[int, list[str], np.ndarray]:
    return value, ["\ud800 a lone surrogate", "b"], np.arange(3)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, memory_mb=512) as box:
        yield box


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine" / "a1.jpg"
    path.parent.mkdir()
    path.write_bytes(b"A")
    return path


@gate
def test_only_the_file_of_the_call_and_what_describes_it_can_be_read(
    sandbox: Sandbox, file: Path, tmp_path: Path
) -> None:
    stranger = tmp_path / "other.bin"
    stranger.write_bytes(b"B")
    for name in ("a1.jpg.xmp", "a1.mov", "a1.txt", "b1.jpg"):
        file.with_name(name).write_bytes(b"C")
    assert sandbox.submit(first_byte, file).result(30) == ord("A")
    for name in ("a1.jpg.xmp", "a1.mov"):
        assert sandbox.submit(first_byte, file, str(file.with_name(name))).result(30) == ord("C")
    others = [stranger, file.with_name("a1.txt"), file.with_name("b1.jpg"), Path.home() / ".bashrc"]
    others += [Path("/etc/passwd"), Path("/proc/self/environ"), Path(f"/proc/{os.getpid()}/environ")]
    others += [file.parent / ".." / "other.bin", Path(os.path.relpath(stranger))]
    for other in others:
        with pytest.raises(PermissionError):
            sandbox.submit(first_byte, file, str(other)).result(30)
    assert sandbox.submit(in_a_thread, file, str(stranger)).result(30) == "PermissionError"
    assert sandbox.submit(first_byte, stranger).result(30) == ord("B"), "the next call has its own file"
    with pytest.raises(PermissionError):
        sandbox.submit(first_byte, stranger, str(file)).result(30)


@gate
def test_a_refusal_is_named_once_and_only_where_something_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the loader of libraries looks for in vain, and bytecode that cannot be kept, are not."""
    file, secret = draw_image(tmp_path / "a.png"), tmp_path / "secret"
    secret.write_text("x")
    with Sandbox(workers=1) as box, caplog.at_level(logging.INFO, "data.media.open_gate"):
        for name in (str(secret), str(secret), str(tmp_path / "nothing")):
            with pytest.raises(PermissionError):
                box.submit(first_byte, file, name).result(30)
        box.submit(import_new, file, "colorsys").result(30)
    named = [record.getMessage() for record in caplog.records if record.name == "data.media.open_gate"]
    assert named == [f"a decoding process was refused {secret}"]


@gate
def test_only_the_folder_of_the_file_can_be_listed(sandbox: Sandbox, file: Path, tmp_path: Path) -> None:
    assert sandbox.submit(list_folder, file).result(30) == ["a1.jpg"]
    (tmp_path / "a1.jpg").write_bytes(b"B")
    for other in (str(tmp_path), "/"):
        with pytest.raises(PermissionError):
            sandbox.submit(list_folder, file, other).result(30)
    with pytest.raises(PermissionError):
        sandbox.submit(read_through_a_folder, file).result(30)


@gate
def test_a_link_that_the_owner_made_is_followed_and_a_pipe_is_not_opened(sandbox: Sandbox, file: Path) -> None:
    link = file.with_name("link.jpg")
    link.symlink_to(file)
    assert sandbox.submit(first_byte, link).result(30) == ord("A")
    os.mkfifo(file.with_name("pipe.jpg"))
    with pytest.raises(PermissionError):
        sandbox.submit(first_byte, file.with_name("pipe.jpg")).result(30)
    with pytest.raises(FileNotFoundError):
        sandbox.submit(first_byte, file.with_name("gone.jpg")).result(30)


@gate
@pytest.mark.parametrize(
    "call", [append, shorten, rename, remove, link, make_folder, change_mode, change_time, write_beside]
)
def test_nothing_is_changed(sandbox: Sandbox, file: Path, call: Any) -> None:
    before = file.stat()
    with pytest.raises(PermissionError):
        sandbox.submit(call, file).result(30)
    after = file.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, 1)
    assert [entry.name for entry in file.parent.iterdir()] == ["a1.jpg"]


@gate
def test_a_call_writes_the_file_that_its_caller_names(sandbox: Sandbox, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert sandbox.submit(write_to, str(out), writes=(out,)).result(30) == 1
    assert out.read_bytes() == b"x"
    for name in (out, tmp_path / "more"):
        with pytest.raises(PermissionError):
            sandbox.submit(write_to, str(name)).result(30)


@seccomp
@pytest.mark.parametrize(
    "call",
    [
        *(open_socket, open_local_socket, start_program, replace_program, fork),
        *(leave_the_group, signal_the_parent, lift_a_bound),
    ],
)
def test_no_socket_no_program_no_process_no_new_bound(sandbox: Sandbox, call: Any) -> None:
    with pytest.raises((PermissionError, ValueError), match=r"not permitted|not allowed"):
        sandbox.submit(call).result(30)


@seccomp
def test_no_other_process_is_reached(sandbox: Sandbox) -> None:
    with pytest.raises(PermissionError):
        sandbox.submit(read_a_process, os.getpid()).result(30)


@gate
@pytest.mark.parametrize("number", [425, 437])
def test_no_other_system_call_opens_a_file(sandbox: Sandbox, file: Path, number: int) -> None:
    with pytest.raises(OSError, match=r"not permitted|not implemented"):
        sandbox.submit(open_by_another_call, file, number).result(30)


@seccomp
def test_sockets_are_refused_too_where_the_parent_opens_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(confinement, "has_gate", lambda: False)
    path = draw_image(tmp_path / "a.jpg", "x")
    with Sandbox(workers=1) as box:
        assert box.submit(first_byte, path).result(30) == 0xFF
        for call in (open_socket, start_program):
            with pytest.raises(PermissionError):
                box.submit(call).result(30)


@gate
def test_a_system_that_hides_a_child_s_memory_costs_the_layer_of_files_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(self: object, pid: int, listener: int) -> None:
        os.close(listener)
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr("data.media.open_gate.OpenGate.__init__", refuse)
    monkeypatch.setattr(confinement, "_gate_given_up", False)
    path = draw_image(tmp_path / "a.jpg", "x")
    try:
        with Sandbox(workers=1) as box:
            assert box.submit(first_byte, path).result(30) == 0xFF
            with pytest.raises(PermissionError):
                box.submit(open_socket).result(30)
        assert confinement.FILES not in confinement.layers()
    finally:
        confinement.has_gate.cache_clear()


@landlock
def test_landlock_alone_refuses_programs() -> None:
    program = (
        "import os, sys; from data.media import confinement\n"
        "confinement._has_seccomp = lambda: False\n"
        "print(confinement.confine(gated=True)[0])\n"
        "for attempt in (lambda: open('/etc/hostname'), lambda: open('/tmp/x', 'w'),\n"
        "                lambda: os.execv('/bin/true', ['true']), lambda: os.kill(os.getppid(), 0)):\n"
        "    try: attempt()\n"
        "    except PermissionError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.count("refused") >= 3, done
    if confinement.landlock_version() >= 6:
        assert done.stdout.count("refused") == 4


@linux
def test_a_child_has_no_capabilities_and_bounds(sandbox: Sandbox) -> None:
    assert sandbox.submit(capabilities).result(30) == 0
    found = sandbox.submit(bounds).result(30)
    assert found["RLIMIT_NOFILE"] <= 256 and found["RLIMIT_CORE"] == 0
    assert found["RLIMIT_AS"] > 0 and found["RLIMIT_FSIZE"] == confinement.MAX_WRITTEN


def test_an_answer_of_another_type_is_a_crash(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="crashed its decoder"):
        sandbox.submit(promises_text).result(30)
    with pytest.raises(TypeError, match="cannot leave the sandbox"):
        sandbox.submit(an_object).result(30)
    with pytest.raises(RuntimeError, match="Foreign"):
        sandbox.submit(raises_an_object).result(30)
    assert "SIGHTLINE_RAN" not in os.environ
    value, texts, array = sandbox.submit(plain, 4).result(30)
    assert (value, texts, array.tolist()) == (4, ["? a lone surrogate", "b"], [0, 1, 2])


def test_a_forged_pickle_in_the_pipe_runs_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError):
        sandbox.submit(forge, pickle.dumps((True, _Runs())) * 4, timeout_s=3).result(30)
    assert "SIGHTLINE_RAN" not in os.environ
    assert sandbox.submit(plain, 5).result(30)[0] == 5


@linux
def test_the_memory_of_results_cannot_be_shortened(sandbox: Sandbox) -> None:
    sandbox.submit(plain).result(30)
    assert sandbox.submit(shorten_the_shared_memory).result(30) is False


@pytest.mark.parametrize(
    "message",
    [
        pickle.dumps(_Runs()),
        b"\xc1",
        b"\x91" * 100_000,
        msgspec.msgpack.encode(msgspec.msgpack.Ext(1, msgspec.msgpack.encode(["|O", [1], 0]))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(1, msgspec.msgpack.encode(["<f8", [1 << 40, 1 << 40], 0]))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(1, msgspec.msgpack.encode(["|u1", [-1], 0]))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(9, b"")),
    ],
)
def test_a_forged_answer_is_refused(message: bytes) -> None:
    with pytest.raises(sandbox_answer.Unreadable):
        sandbox_answer.unpack(message, memoryview(bytearray(64)), np.ndarray)
    assert "SIGHTLINE_RAN" not in os.environ


@pytest.mark.parametrize("kind", ["image", "video", "pdf"])
def test_a_confined_child_reads_every_kind(sandbox: Sandbox, tmp_path: Path, kind: Any) -> None:
    from indexer.pipeline.still_scenes import first_look

    if kind == "image":
        path = draw_image(tmp_path / "a.jpg", "x")
    else:
        path = draw_video(tmp_path / "a.mp4") if kind == "video" else draw_pdf(tmp_path / "a.pdf", ["a page"])
    outline, chunks = sandbox.submit(
        first_look, path, kind, 8, window_s=30, overlap_s=0, max_frames=8, max_side=640
    ).result(60)
    assert len(chunks) == len(outline.chunks) == 1 and chunks[0].frames.ndim == 4


@pytest.mark.parametrize(
    ("name", "other", "belongs"),
    [
        ("a.jpg.xmp", "a.jpg", True),
        ("a.xmp", "a.jpg", True),
        ("a.jpg(1).json", "a(1).jpg", True),
        ("film.de.srt", "film.mp4", True),
        ("IMG_1.mov", "IMG_1.HEIC", True),
        ("IMG_1_HEVC.mov", "IMG_1.heic", True),
        ("a.txt", "a.jpg", False),
        ("a.srt", "a.jpg", False),
        ("IMG_2.mov", "IMG_1.HEIC", False),
        ("b.xmp", "a.jpg", False),
    ],
)
def test_what_lies_with_a_file_is_said_by_its_name(name: str, other: str, belongs: bool) -> None:
    assert lies_with(name, other) is belongs
