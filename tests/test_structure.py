"""The house stays as docs/architecture.md draws it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_imports_run_one_way_only() -> None:
    """DESIGN: app -> indexer -> data -> model; train and eval stand on data and model."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--config", "pyproject.toml"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_loads_its_own_scripts_and_they_weigh_at_most_200_kb() -> None:
    from app.web.pages import MODULES

    scripts = {path.stem: path.stat().st_size for path in (ROOT / "app" / "static").glob("*.js")}
    assert set(MODULES) == scripts.keys()
    assert sum(scripts.values()) <= 200_000
