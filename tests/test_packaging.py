"""The wheel, installed bare: its `sightline` works in a folder whose own packages are called data and app.

Nothing is downloaded: the environment that runs the tests lends its packages and the lite model's weights.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.demo import build

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("app", "indexer", "model", "data", "train", "eval")
TRAP = "raise SystemExit('the folder that a person stands in was imported from')"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what git tracks here, built outside this folder: a build leaves things behind."""
    source, into = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    names = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, names.stdout.decode().split("\0")):
        if name.split("/")[0] != "tests" and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), str(source))
    return next(into.glob("*.whl"))


@pytest.fixture(scope="module")
def sightline(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs the wheel's command, in a folder full of decoys, and returns what it prints."""
    environment, decoys = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("decoys")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip("--python", str(environment / "bin" / "python"), "install", "--no-deps", str(wheel))
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
    (environment / "share").mkdir(exist_ok=True)
    (environment / "share" / "sightline").symlink_to(Path(sys.prefix) / "share" / "sightline")
    for name in PACKAGES:
        (decoys / name).mkdir()
        (decoys / name / "__init__.py").write_text(TRAP)
    (decoys / "numpy.py").write_text(TRAP)

    def run(*arguments: str) -> str:
        command = [environment / "bin" / "sightline", *arguments]
        done = subprocess.run(command, cwd=decoys, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "-q", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_carries_every_package_with_its_types_and_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    (manual,) = (name for name in names if ".data/" in name)
    assert manual.endswith("/share/man/man1/sightline.1")
    assert {name.split("/")[0] for name in names - {manual} if ".dist-info" not in name} == set(PACKAGES)
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in tracked.stdout.splitlines() if (ROOT / name).exists()} <= names


def test_an_installed_sightline_indexes_and_searches_beside_decoys(
    sightline: Callable[..., str], tmp_path: Path
) -> None:
    assert "search" in sightline("--help")
    folder, library = build(tmp_path / "media"), ("--data-dir", str(tmp_path / "library"))
    counts = json.loads(sightline("index", str(folder), "--json", *library))
    assert counts["failed"] == 0 and counts["images"] and counts["videos"] and counts["pdfs"]
    answer = json.loads(sightline("search", "life jackets", "--kind", "pdf", "--json", *library))
    assert answer["hits"][0]["title"] == "cabin handbook.pdf"
