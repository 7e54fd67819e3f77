"""One made-up copy of the benchmark for all tests of `eval`."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.task_list import all_tasks
from tests.eval.fixtures import build


@pytest.fixture(scope="session")
def mmeb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 78 tasks in miniature. Read-only: a test that spoils data makes its own."""
    root = tmp_path_factory.mktemp("mmeb")
    build(root, all_tasks())
    return root
