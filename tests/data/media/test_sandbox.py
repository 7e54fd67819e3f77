"""The sandbox: whatever a function does to its process, the caller gets a value or a plain reason."""

from __future__ import annotations

import contextlib
import ctypes
import os
import py_compile
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import psutil
import pytest

from data.media import sandbox_child
from data.media.kinds import MediaError
from data.media.sandbox import Sandbox, SandboxError
from tests.media import draw_image

ROOT = Path(__file__).resolve().parents[3]


def double(value: int) -> int:
    return 2 * value


def fault() -> None:
    raise MediaError("the PDF is encrypted; save a copy without password", "encrypted")


def bug() -> None:
    raise KeyError("a mistake of ours")


def crash() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def hang() -> None:
    time.sleep(600)


def wait_for(gate: Path) -> None:
    """Busy until the file is there."""
    while not gate.exists():
        time.sleep(0.01)


def hang_holding_the_lock() -> None:
    """No other thread of the process runs meanwhile, as in a decoder that keeps the interpreter's lock."""
    ctypes.PyDLL(None).sleep(600)


def swell() -> int:
    hoard = [np.ones(50 << 20, dtype=np.uint8) for _ in range(200)]
    return len(hoard)


_LEAKED: list[np.ndarray] = []


def leak() -> int:
    _LEAKED.append(np.ones(100 << 20, dtype=np.uint8))
    return len(_LEAKED)


def chatter() -> str:
    print("a decoder that prints")
    os.write(1, b"straight to the pipe")
    os.write(2, b"and complains" * 10000)
    return "fine"


def frames(count: int, side: int) -> dict[str, object]:
    return {"a": np.full((count, side, side, 3), 7, np.uint8), "b": np.arange(5.0), "c": "text"}


def pid() -> int:
    return os.getpid()


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def variables() -> set[str]:
    return set(os.environ)


def gains_no_rights() -> bool:
    return bool(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))  # PR_GET_NO_NEW_PRIVS


def open_many() -> int:
    return len([os.open(os.devnull, os.O_RDONLY) for _ in range(1000)])


def start_and_hang(note: Path) -> None:
    note.write_text(str(subprocess.Popen(["sleep", "600"]).pid))  # nothing refuses it on macOS
    time.sleep(600)


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("x")


def odd_error() -> None:
    raise Unpicklable(1, 2)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, memory_mb=512) as box:
        yield box


def test_a_result_and_a_reason_come_back_as_they_are(sandbox: Sandbox) -> None:
    assert sandbox.submit(double, 21).result(30) == 42
    with pytest.raises(MediaError, match="encrypted; save a copy") as caught:
        sandbox.submit(fault).result(30)
    assert caught.value.cause == "encrypted"
    with pytest.raises(KeyError):
        sandbox.submit(bug).result(30)
    with pytest.raises(RuntimeError, match="Unpicklable"):
        sandbox.submit(odd_error).result(30)
    assert sandbox.submit(double, 1).result(30) == 2


@pytest.mark.parametrize("size", [(1, 10), (8, 300), (3, 700), (1, 10)])
def test_arrays_come_back_whole_and_writable(sandbox: Sandbox, size: tuple[int, int]) -> None:
    answer = sandbox.submit(frames, *size).result(30)
    assert answer["a"].shape == (size[0], size[1], size[1], 3)
    assert (answer["a"] == 7).all() and answer["b"].tolist() == [0, 1, 2, 3, 4] and answer["c"] == "text"
    answer["a"][0] = 1
    assert (sandbox.submit(frames, *size).result(30)["a"] == 7).all(), "results share no memory"


def test_decoders_without_bytecode_are_compiled_before_a_child_is_confined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "made_decoder"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "large.py").write_text("x = 1")
    (package / "__pycache__").mkdir()  # of a module that the program itself imported
    py_compile.compile(str(package / "__init__.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sandbox_child, "DECODERS", ("made_decoder", "no_such_decoder"))
    sandbox_child._compile_decoders()
    kept = sorted(path.name.partition(".")[0] for path in (package / "__pycache__").iterdir())
    assert kept == ["__init__", "large"]


def test_the_pipe_does_where_there_is_no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.media.sandbox._Arena.possible", staticmethod(lambda: False))
    with Sandbox(workers=1) as box:
        assert (box.submit(frames, 8, 300).result(30)["a"] == 7).all()


@pytest.mark.parametrize("end", [crash, leave])
def test_a_crash_costs_one_file_and_the_child_is_replaced(sandbox: Sandbox, end: object) -> None:
    before = sandbox.submit(pid).result(30)
    with pytest.raises(SandboxError, match="the file crashed its decoder") as caught:
        sandbox.submit(end).result(30)
    assert caught.value.cause == "crash"
    assert sandbox.submit(pid).result(30) != before


@pytest.mark.parametrize("endless", [hang, hang_holding_the_lock])
def test_a_hang_is_given_up(sandbox: Sandbox, endless: object) -> None:
    with pytest.raises(SandboxError, match="longer than allowed \\(1 s\\)") as caught:
        sandbox.submit(endless, timeout_s=1).result(30)
    assert caught.value.cause == "time"
    assert sandbox.submit(double, 4).result(30) == 8


def test_swelling_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="more memory than allowed") as caught:
        sandbox.submit(swell).result(60)
    assert caught.value.cause == "memory"
    assert sandbox.submit(double, 4).result(30) == 8


def test_a_decoder_that_leaks_is_replaced_before_it_costs_a_file(sandbox: Sandbox) -> None:
    kept = [sandbox.submit(leak).result(30) for _ in range(8)]
    assert max(kept) <= 3, "512 MB are allowed, so a third of it ends the child"


def test_a_decoder_that_prints_disturbs_nothing(sandbox: Sandbox) -> None:
    assert sandbox.submit(chatter).result(30) == "fine"
    assert sandbox.submit(chatter).result(30) == "fine"


def test_children_are_polite(sandbox: Sandbox) -> None:
    assert sandbox.submit(niceness).result(30) >= 10


def test_a_child_sees_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_TOKEN", "secret")
    with Sandbox(workers=1) as box:
        seen = box.submit(variables).result(30)
    assert "PATH" in seen and not any("TOKEN" in name for name in seen)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl and /proc")
def test_a_child_gains_no_rights_and_opens_few_files() -> None:
    with Sandbox(workers=1) as box:
        assert box.submit(gains_no_rights).result(30)
        with pytest.raises(OSError, match="Too many open files"):
            box.submit(open_many).result(30)


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_a_program_that_a_decoder_started_ends_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("data.media.sandbox._CONFINED", False)  # as on macOS; Linux refuses to start it
    with Sandbox(workers=1) as box:
        box.submit(double, 1).result(30)  # what it imports does not count
        with pytest.raises(SandboxError, match="took longer"):
            box.submit(start_and_hang, tmp_path / "pid", timeout_s=1.0).result(30)
    started = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(started).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "it outlives its decoder"
            time.sleep(0.05)


def test_urgent_work_goes_before_what_waits(sandbox: Sandbox, tmp_path: Path) -> None:
    done: SimpleQueue[str] = SimpleQueue()
    first = sandbox.submit(wait_for, tmp_path / "gate")
    late = sandbox.submit(double, 1)
    soon = sandbox.submit(double, 2, urgent=True)
    late.add_done_callback(lambda _: done.put("late"))
    soon.add_done_callback(lambda _: done.put("soon"))
    (tmp_path / "gate").touch()
    first.result(30)
    assert [done.get(timeout=30) for _ in range(2)] == ["soon", "late"]


def test_what_waited_and_never_began_can_be_cancelled(sandbox: Sandbox, tmp_path: Path) -> None:
    busy = sandbox.submit(wait_for, tmp_path / "gate")
    waiting = sandbox.submit(leave)
    assert waiting.cancel()
    (tmp_path / "gate").touch()
    busy.result(30)
    assert sandbox.submit(double, 3).result(30) == 6


def test_close_ends_everything_with_a_reason() -> None:
    box = Sandbox(workers=2)
    running = [box.submit(hang) for _ in range(2)]
    waiting = box.submit(double, 1)
    while not all(job.running() for job in running) or len(box.pids()) < 2:
        time.sleep(0.01)
    children = box.pids()
    box.close()
    for job in (*running, waiting):
        with pytest.raises(SandboxError, match="stopping"):
            job.result(30)
    assert not any(psutil.pid_exists(child) for child in children)
    with pytest.raises(SandboxError):
        box.submit(double, 1)
    box.close()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("endless", ["hang", "hang_holding_the_lock"])
def test_children_die_with_a_parent_that_is_killed(endless: str) -> None:
    program = (
        "import time\n"
        f"from tests.data.media.test_sandbox import {endless}\n"
        "from data.media.sandbox import Sandbox\n"
        f"box = Sandbox(workers=2); jobs = [box.submit({endless}) for _ in range(2)]\n"
        "while len(box.pids()) < 2 or not all(j.running() for j in jobs): time.sleep(0.01)\n"
        "time.sleep(0.3); print(*box.pids(), flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [psutil.Process(int(child)) for child in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def test_a_real_file_is_read_in_the_child(sandbox: Sandbox, tmp_path: Path) -> None:
    from data import reader

    path = draw_image(tmp_path / "a.jpg", "hello", (640, 480))
    outline = sandbox.submit(reader.outline, path, "image").result(60)
    (chunk,) = sandbox.submit(reader.decode, path, "image", outline.chunks, max_side=320, thumbnails=True).result(60)
    assert chunk.frames.shape == (1, 240, 320, 3) and chunk.thumbnail[8:12] == b"WEBP"


def test_a_child_starts_light() -> None:
    """What a child costs before its first call: no NumPy, no media library."""
    program = (
        "import sys, runpy; sys.argv = ['x']\n"
        "m = runpy.run_path('data/media/sandbox_child.py', run_name='child')\n"
        "print(sorted(set(sys.modules) & {'numpy', 'PIL', 'av', 'pymupdf', 'data', 'multiprocessing'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
