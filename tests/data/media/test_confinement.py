"""A decoding process reads its own file and does nothing else, layer by layer."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from data.media import confinement, sandbox_answer
from data.media.sandbox import Sandbox, SandboxError
from indexer.pipeline.still_scenes import first_look
from tests.media import draw_image, draw_pdf, draw_video

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these layers are Linux's")
landlock = pytest.mark.skipif(not confinement.landlock_abi(), reason="a kernel without Landlock")
seccomp = pytest.mark.skipif("seccomp" not in str(confinement.layers()), reason="a kernel without seccomp")


def environment() -> dict[str, str]:
    return dict(os.environ)


def first_byte(path: Path, other: str = "") -> int:
    """Of `other`, which is no Path among the arguments, if it is given."""
    return Path(other or path).read_bytes()[0]


def write(path: Path, name: str) -> int:
    return path.with_name(name).write_bytes(b"x")


def write_into(folder: str) -> int:
    return Path(folder, "result").write_bytes(b"x")


def append(path: Path) -> int:
    with path.open("ab") as file:
        return file.write(b"x")


def rename(path: Path) -> None:
    path.rename(path.with_name("other"))


def change_mode(path: Path) -> None:
    path.chmod(0o777)


def change_time(path: Path) -> None:
    os.utime(path)


def open_socket() -> None:
    socket.create_connection(("127.0.0.1", 9))


def resolve_name() -> None:
    socket.getaddrinfo("localhost", 80)


def start_program() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def replace_program() -> None:
    os.execv(sys.executable, [sys.executable, "-c", "pass"])


def fork() -> int:
    return os.fork()


def leave_the_group() -> None:
    os.setsid()


def signal_another(other: int) -> None:
    os.kill(other, 0)


def lift_a_bound() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))


def in_a_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(7))
    thread.start()
    thread.join()
    return found[0]


def bounds() -> dict[str, int]:
    import resource

    names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE")
    return {name: resource.getrlimit(getattr(resource, name))[1] for name in names}


def process() -> tuple[int, int]:
    return os.getpid(), os.getpgid(0)


def promises_text() -> str:
    return 3  # type: ignore[return-value]


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return os.putenv, ("SIGHTLINE_RAN", "1")


def an_object() -> object:
    return _Runs()


def new_modules(path: Path, kind: str) -> list[str]:
    """What a whole look at a file imports in the process that holds it."""
    before = set(sys.modules)
    first_look(path, kind, 8, window_s=30, overlap_s=0, max_frames=8, max_side=640)  # type: ignore[arg-type]
    return sorted(set(sys.modules) - before)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, memory_mb=512) as box:
        yield box


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine" / "a.bin"
    path.parent.mkdir()
    path.write_bytes(b"A")
    return path


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_TOKEN", "a secret of the parent")
    with Sandbox(workers=1) as box:
        seen = box.submit(environment).result(30)
    assert "a secret of the parent" not in seen.values() and "HOME" not in seen and "PATH" not in seen


@landlock
def test_only_the_file_at_hand_and_what_lies_beside_it_by_name_can_be_read(
    sandbox: Sandbox, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.bin").write_bytes(b"B")
    file.with_name("a.srt").write_bytes(b"C")
    file.with_name("b.bin").write_bytes(b"D")
    assert sandbox.submit(first_byte, file).result(30) == ord("A")
    assert sandbox.submit(first_byte, file, str(file.with_name("a.srt"))).result(30) == ord("C")
    for other in (tmp_path / "other.bin", file.with_name("b.bin"), Path("/etc/passwd"), Path("/proc/self/environ")):
        with pytest.raises(PermissionError):
            sandbox.submit(first_byte, file, str(other)).result(30)
    assert sandbox.submit(first_byte, tmp_path / "other.bin").result(30) == ord("B"), "the next call has its own"


@landlock
@pytest.mark.parametrize("call", [append, rename])
def test_the_file_at_hand_cannot_be_changed(sandbox: Sandbox, file: Path, call: object) -> None:
    with pytest.raises(PermissionError):
        sandbox.submit(call, file).result(30)
    assert file.read_bytes() == b"A"


@landlock
def test_nothing_is_written_but_to_the_folder_that_the_caller_names(
    sandbox: Sandbox, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(PermissionError):
        sandbox.submit(write, file, "new").result(30)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(PermissionError):
        sandbox.submit(write_into, str(out)).result(30)
    assert not list(out.iterdir())
    assert sandbox.submit(write_into, str(out), writes=out).result(30) == 1


@seccomp
@pytest.mark.parametrize("call", [change_mode, change_time])
def test_mode_and_times_of_the_file_stay(sandbox: Sandbox, file: Path, call: object) -> None:
    before = file.stat()
    with pytest.raises(PermissionError):
        sandbox.submit(call, file).result(30)
    assert (file.stat().st_mode, file.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@seccomp
@pytest.mark.parametrize("call", [open_socket, start_program, replace_program, fork, leave_the_group, lift_a_bound])
def test_no_socket_no_program_no_process_no_new_bound(sandbox: Sandbox, call: object) -> None:
    with pytest.raises((PermissionError, ValueError), match=r"not permitted|not allowed"):
        sandbox.submit(call).result(30)


@seccomp
def test_no_name_is_looked_up(sandbox: Sandbox) -> None:
    with pytest.raises((OSError, RuntimeError)):
        sandbox.submit(resolve_name).result(30)


@seccomp
def test_no_other_process_gets_a_signal(sandbox: Sandbox) -> None:
    with pytest.raises(PermissionError):
        sandbox.submit(signal_another, os.getpid()).result(30)


def test_threads_are_allowed(sandbox: Sandbox) -> None:
    assert sandbox.submit(in_a_thread).result(30) == 7


def test_resources_are_bounded(sandbox: Sandbox) -> None:
    found = sandbox.submit(bounds, timeout_s=5).result(30)
    assert found["RLIMIT_CPU"] <= 5 * (os.cpu_count() or 1) + 10 and found["RLIMIT_CORE"] == 0
    assert found["RLIMIT_NOFILE"] <= 256 and found["RLIMIT_FSIZE"] == 512 << 20 and found["RLIMIT_AS"] > 0


def test_each_call_has_a_process_of_its_own_in_a_group_apart(sandbox: Sandbox) -> None:
    (one, group), (two, same) = (sandbox.submit(process).result(30) for _ in range(2))
    assert one != two and group == same and group != os.getpgid(0)


def test_an_answer_that_is_not_what_the_function_declares_is_a_crash(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="crashed its decoder"):
        sandbox.submit(promises_text).result(30)
    with pytest.raises(TypeError, match="cannot leave the sandbox"):
        sandbox.submit(an_object).result(30)
    assert sandbox.submit(in_a_thread).result(30) == 7


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
def test_a_process_imports_nothing_for_its_file(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    """What is imported in the fork is imported anew for each file: it belongs into a `LATE`."""
    path = {
        "image": lambda: draw_image(tmp_path / "a.jpg", "x"),
        "video": lambda: draw_video(tmp_path / "a.mp4"),
        "pdf": lambda: draw_pdf(tmp_path / "a.pdf", ["x"]),
    }[kind]()
    own = ("data", "PIL", "av", "numpy", "pymupdf", "rawpy", "pillow_heif", "decord")
    found = sandbox.submit(new_modules, path, kind).result(60)
    assert [name for name in found if name.startswith(own)] == []


def test_the_layers_are_told() -> None:
    assert confinement.layers()[0] == "empty environment"
    assert struct.calcsize("=HBBI") == 8


@pytest.mark.parametrize(
    "other", ["IMG_1.jpg.json", "IMG_1.jpg(2).json", "IMG_1_HEVC.MOV", "IMG_1.xmp", "IMG_1.jpg.supplemental-meta.json"]
)
def test_what_tells_of_a_file_by_its_name_is_within_reach(sandbox: Sandbox, tmp_path: Path, other: str) -> None:
    picture = tmp_path / ("IMG_1(2).jpg" if "(2)" in other else "IMG_1-edited.jpg")
    for name in (picture.name, other, "IMG_10.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert sandbox.submit(first_byte, picture, str(tmp_path / other)).result(30) == ord("x")
    if confinement.landlock_abi():
        with pytest.raises(PermissionError):
            sandbox.submit(first_byte, picture, str(tmp_path / "IMG_10.jpg")).result(30)
