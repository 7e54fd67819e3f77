"""Imports that give way to searches: before each module, in the importing thread alone, and not for ever."""

from __future__ import annotations

import asyncio
import gc
import importlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from app.web import yielding_import
from app.web.server import GradioDoor
from app.web.yielding_import import yielding_imports


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names = [f"yielding_{n}" for n in range(3)]
    for name in names:
        (tmp_path / f"{name}.py").write_text("")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return names


def test_each_module_is_waited_for_in_this_thread_alone(modules: list[str]) -> None:
    waited: list[float] = []
    before = sys.meta_path.copy(), sys.getswitchinterval()
    with yielding_imports(waited.append):
        importlib.import_module(modules[0])
        importlib.import_module(modules[0])  # it is there
        other = threading.Thread(target=importlib.import_module, args=(modules[1],))
        other.start()
        other.join()
    importlib.import_module(modules[2])
    assert waited == [yielding_import.MODULE_S] and modules[1] in sys.modules
    assert (sys.meta_path, sys.getswitchinterval()) == before


def test_under_constant_load_the_import_ends(modules: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def give_way(longest_s: float) -> None:
        waited.append(longest_s)
        time.sleep(longest_s)

    monkeypatch.setattr(yielding_import, "ALL_S", 0.02)
    with yielding_imports(give_way):
        for name in modules:
            importlib.import_module(name)
    assert waited == [0.02], "all the time that there is was given before the first one"


def test_no_cycles_are_searched_for_meanwhile_and_they_are_again_afterwards(modules: list[str]) -> None:
    while_importing: list[bool] = []
    frozen = gc.get_freeze_count()
    try:
        with yielding_imports(lambda _: while_importing.append(gc.isenabled())):
            importlib.import_module(modules[0])
        assert while_importing == [False] and gc.isenabled()
        assert gc.get_freeze_count() > frozen, "later collections pass over what was imported"
    finally:
        gc.unfreeze()


def test_gradio_s_import_touches_no_stub_files() -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from app.web.gradio_ui import quiet_gradio
gradio = quiet_gradio()
assert gradio.Textbox().get_block_name() == "textbox"
assert any("component_meta" in path for path in opened), "the hook sees what the import opens"
print([path for path in opened if path.endswith(".pyi")])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_gradio_s_import_is_known_to_be_waited_for() -> None:
    door = GradioDoor(None)

    async def trial() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await door(scope, None, send)  # type: ignore[arg-type]
        assert sent[0]["status"] == 200 and not door.is_awaited, "the page is there without Gradio"
        waiting = asyncio.create_task(door({**scope, "path": "/gradio_api/info"}, None, send))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert door.is_awaited
        waiting.cancel()

    asyncio.run(trial())
