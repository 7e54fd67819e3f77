"""A library's folder is its owner's alone."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from indexer.library import ADAPTER, Library
from tests.media import draw_image

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes of files")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_library_is_private(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        (tmp_path / "library").mkdir()  # as the command line does, for its log
        with Library.open(tmp_path / "library") as library:
            assert mode(tmp_path / "library") == 0o700
            library.clicks.enable(True)
            draw_image(tmp_path / "in" / "a.png")
            library.index([tmp_path / "in"])
            made = [file for file in (tmp_path / "library").rglob("*") if file.is_file()]
            assert len(made) > 4 and {mode(file) for file in made} == {0o600}
            library.backup(tmp_path / "backup.sqlite")
            assert mode(tmp_path / "backup.sqlite") == 0o600
        with Library.open(tmp_path / "library"):
            assert mode(tmp_path / "library") == 0o700
            assert all(mode(file) & 0o077 == 0 for file in (tmp_path / "library").iterdir())
    finally:
        os.umask(before)


def test_an_open_one_is_tightened_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "library"
    with Library.open(folder):
        pass
    folder.chmod(0o755)
    (folder / "catalogue.sqlite").chmod(0o644)
    (folder / ADAPTER).write_bytes(b"")  # as `sightline tune` leaves it
    with caplog.at_level(logging.WARNING), Library.open(folder):
        assert mode(folder) == 0o700 and mode(folder / "catalogue.sqlite") == mode(folder / ADAPTER) == 0o600
    assert [r.getMessage() for r in caplog.records if "only its owner" in r.getMessage()]
    caplog.clear()
    with caplog.at_level(logging.WARNING), Library.open(folder):
        pass
    assert not caplog.records, "a second opening has nothing to say"


def test_a_folder_that_holds_other_things_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "everybody's"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "letter.txt").write_text("hello")
    (folder / "letter.txt").chmod(0o644)
    with Library.open(folder):
        assert mode(folder / "catalogue.sqlite") == mode(folder / "catalogue.sqlite-wal") == 0o600, "from the first on"
    assert mode(folder) == 0o755 and mode(folder / "letter.txt") == 0o644
    assert mode(folder / "catalogue.sqlite") & 0o077 == 0


def test_reading_changes_nothing(tmp_path: Path) -> None:
    with Library.open(tmp_path / "library"):
        pass
    (tmp_path / "library").chmod(0o755)
    with Library.open(tmp_path / "library", read_only=True):
        pass
    assert mode(tmp_path / "library") == 0o755
