"""The door to sentence-transformers, and open_clip: the trials of door/, run once in a process with torchvision."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

TRIALS = sorted((Path(__file__).parent / "door").glob("*trials.py"))
NAMES = [node.name for trials in TRIALS for node in ast.parse(trials.read_text("utf-8")).body
         if isinstance(node, ast.FunctionDef)]  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Trial name to what went wrong in it, "" where nothing did."""
    places = [os.environ.get("SIGHTLINE_TORCHVISION", ""), str(Path(sys.prefix) / "torchvision")]
    if not any(place and Path(place, "torchvision").is_dir() for place in places):
        if os.environ.get("CI"):
            pytest.fail("torchvision is missing: make setup-dev puts it into the environment's torchvision/")
        pytest.skip("the door's trials need torchvision: make setup-dev")
    report = tmp_path_factory.mktemp("door") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-q", f"--junitxml={report}", *map(str, TRIALS)]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=280)
    assert report.is_file(), done.stdout[-4000:] + done.stderr[-4000:]
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        wrong = "".join(part.text or part.get("message", "") for part in case if part.tag in ("failure", "error"))
        skipped = "skipped" if case.find("skipped") is not None else ""
        found.setdefault(case.get("name", "").split("[")[0], []).append(wrong or skipped)
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("test_")])
def test_door(outcomes: dict[str, list[str]], name: str) -> None:
    assert outcomes.get(name), f"{name} did not run"
    assert not any(outcomes[name]), "\n".join(outcomes[name])
