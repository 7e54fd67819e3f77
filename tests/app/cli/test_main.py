"""The command line as a person types it: the real command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.cli import loaded
from tests.media import draw_image


def sightline(*words: str | Path, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *map(str, words)],
        env=os.environ | {"SIGHTLINE_DATA_DIR": str(home), "COLUMNS": "200", "NO_COLOR": "1"} | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_version_loads_no_other_package() -> None:
    done = loaded.run("--version")
    assert done.stdout.startswith("sightline ") and done.packages == set()


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (["-h"], {}),
        (["search", "-h"], {}),
        (["dance"], {}),
        ([], {"_SIGHTLINE_COMPLETE": "complete_bash", "COMP_WORDS": "sightline search --ki", "COMP_CWORD": "2"}),
    ],
)
def test_help_and_completion_load_the_command_line_alone(words: list[str], env: dict[str, str]) -> None:
    done = loaded.run(*words, **env)
    assert done.stdout or done.stderr
    assert "typer" in done.packages and done.packages <= {"typer", "annotated_doc", "shellingham"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["index", "/no/such/folder"], "/no/such/folder does not exist"),
        (["index", __file__], "is a file. Give the folder that holds it"),
        (["search"], "Search for what?"),
        (["search", "--image", "/no/such.jpg"], "/no/such.jpg is not a file"),
        (["search", "a cat", "--kind", "song"], "--kind is one of image, video, pdf, not song"),
        (["search", "a cat", "--after", "yesterday-ish"], "yesterday-ish"),
        (["run", "/tmp", "--port", "300000"], "--port (or SIGHTLINE_PORT)"),
        (["index", "/tmp", "--overlap", "40"], "--overlap must be shorter than --window"),
        (["index"], "Which folder?"),
        (["index", "/tmp", "--speech", "/no/such/folder"], "--speech"),
        (["run", "/tmp", "--speech", "smal"], "--speech"),
        (["dance"], "dance"),
    ],
)
def test_wrong_usage_ends_with_code_2_and_says_what_is_wrong(words: list[str], message: str, tmp_path: Path) -> None:
    done = sightline(*words, home=tmp_path / "library")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_variable_is_read_and_named_when_it_is_wrong(tmp_path: Path) -> None:
    overlap = sightline("index", "/tmp", home=tmp_path, SIGHTLINE_OVERLAP="99")
    assert overlap.returncode == 2
    assert "--overlap" in overlap.stderr
    port = sightline("status", home=tmp_path, SIGHTLINE_PORT="a hundred")
    assert port.returncode == 2
    assert "SIGHTLINE_PORT" in port.stderr


@pytest.mark.unprivileged
def test_a_repair_where_nothing_can_be_written_says_so_and_checks(tmp_path: Path) -> None:
    home = tmp_path / "library"
    draw_image(tmp_path / "in" / "a.png")
    assert sightline("index", tmp_path / "in", home=home, SIGHTLINE_OCR="off").returncode == 0
    home.chmod(0o500)
    try:
        done = sightline("verify", "--repair", home=home)
    finally:
        home.chmod(0o700)
    assert done.returncode == 0, done
    notice, found = done.stderr.splitlines()
    assert "cannot be written, so nothing can be repaired there" in notice and "Everything is in order" in found


@pytest.mark.parametrize(
    "words", [("index", "~nobody-of-that-name/x"), ("search", "x", "--under", "~nobody-of-that-name"), ("status",)]
)
def test_the_home_of_nobody_is_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    home = Path("~nobody-of-that-name/library") if words == ("status",) else tmp_path
    done = sightline(*words, home=home)
    assert done.returncode in (1, 2) and "no account of this machine" in done.stderr, done
    assert len(done.stderr.splitlines()) == 1
