"""The notebook of docs/ has been run, and running it again gives what stands in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.notebook import NOTEBOOKS, run


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_gives_what_stands_in_it(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "not run to its end"
    assert [cell["outputs"] for cell in code] == run(notebook["cells"]), "run python -m tests.notebook"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_one_that_jupyter_opens(path: Path) -> None:
    """The few keys that its format, version 4, demands."""
    notebook = json.loads(path.read_text("utf-8"))
    assert notebook["nbformat"] == 4 and {"metadata", "nbformat_minor"} <= set(notebook)
    for cell in notebook["cells"]:
        wanted = {"cell_type", "metadata", "source"}
        if cell["cell_type"] == "code":
            wanted |= {"outputs", "execution_count"}
        assert set(cell) == wanted and isinstance(cell["source"], list)
    text = "".join(line for cell in notebook["cells"] for line in cell["source"])
    for target in re.findall(r"\]\(([^)#\s:]+)\)", text):
        assert (path.parent / target).exists(), target
