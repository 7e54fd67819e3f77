"""A file is shown in the file manager of this machine: by a program with arguments, for the local owner alone."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.web import file_manager
from app.web.server import create_app
from indexer.library import Library
from tests.app.conftest import HERE

ODD = PurePosixPath("/photos/$(touch x), it's; 50%.jpg")


def test_each_system_has_its_program_and_the_path_is_one_argument() -> None:
    path = Path(str(ODD))
    assert file_manager.commands(path, "darwin") == [["open", "-R", str(ODD)]]
    assert file_manager.commands(path, "win32") == [["explorer", f"/select,{ODD}"]]
    bus, folder = file_manager.commands(path, "linux")
    assert bus[0] == "dbus-send" and bus[-2].startswith("array:string:file:///photos/%24%28touch%20x%29%2C%20it%27s")
    assert "," not in bus[-2], "a comma would begin another file"
    assert folder == ["xdg-open", "/photos"]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, the only one: each writes its arguments to a file."""
    if sys.platform == "win32":
        pytest.skip("the programs are shell scripts")
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, then: str = "exit 0") -> Path:
    said = folder / f"{name}.said"
    file = folder / name
    file.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {said}\n{then}\n")
    file.chmod(0o755)
    return said


def test_the_next_program_is_tried_and_none_is_a_sentence(
    client: TestClient, library: Library, folder: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    file = library.file_at(folder / "red square.jpg")
    assert file is not None
    asked = {"file_id": file.file_id}
    assert client.get("/api/status").json()["reveals"] is True
    answer = client.post("/api/reveal", json=asked)
    assert answer.status_code == 400 and str(folder) in answer.json()["error"]
    program(programs, "dbus-send", "exit 1")
    said = program(programs, "xdg-open")
    assert client.post("/api/reveal", json=asked).json() == {"path": str(folder / "red square.jpg")}
    assert said.read_text() == f"{folder}\n"
    assert client.post("/api/reveal", json={"file_id": 424242}).status_code == 404
    said.unlink()
    bus = program(programs, "dbus-send")
    assert client.post("/api/reveal", json=asked).status_code == 200
    assert "red%20square.jpg" in bus.read_text() and not said.exists()


def test_a_server_that_others_reach_opens_nothing(library: Library, folder: Path) -> None:
    file = library.file_at(folder / "red square.jpg")
    assert file is not None
    asked = {"file_id": file.file_id}
    elsewhere: list[dict[str, Any]] = [{"host": "0.0.0.0"}, {"names": ("photos.example",)}]
    for options in elsewhere:
        with TestClient(create_app(library, gradio=False, token="owner", **options), base_url=HERE) as client:
            client.headers["authorization"] = "Bearer owner"
            assert client.get("/api/status").json()["reveals"] is False
            assert client.post("/api/reveal", json=asked).status_code == 403
