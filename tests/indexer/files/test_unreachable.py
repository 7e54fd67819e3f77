"""A run ends though some of what it would read cannot be reached, and takes nothing unseen for gone."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.media.kinds import MediaError
from indexer.files import scanner
from indexer.library import Library
from indexer.pipeline.stage_speech import SpeechStage
from model import speech
from tests import media
from tests.indexer.conftest import OpenLibrary


def run(library: Library, *folders: Path, seconds: float = 20.0) -> None:
    """Index; fails when that does not end."""
    errors: list[BaseException] = []

    def index() -> None:
        try:
            library.index(list(folders))
        except BaseException as error:  # noqa: BLE001 – raised below
            errors.append(error)

    thread = threading.Thread(target=index, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it waits for what cannot be read"
    if errors:
        raise errors[0]


def pending_again(library: Library) -> None:
    library.catalogue.queue.set_pending(library.catalogue.contents.hashes())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for n in range(4):
        place = tmp_path / "photos" / ("inner" if n % 2 else "")
        place.mkdir(parents=True, exist_ok=True)
        media.draw_image(place / f"{n}.jpg", seed=n, size=(64, 48))
    return tmp_path / "photos"


def after_the_scan(library: Library, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Once, behind the first scan of a run."""
    scan_roots = library._indexing.follower.scan_roots
    done: list[bool] = []

    def scanned(*args: Any) -> scanner.Scan:
        result = scan_roots(*args)
        if not done:
            done.append(True)
            do()
        return result

    monkeypatch.setattr(library._indexing.follower, "scan_roots", scanned)


@pytest.fixture(params=["sqlite", "postgresql"])
def catalogue(request: pytest.FixtureRequest) -> str | None:
    """Where the catalogue is kept."""
    shared = request.param == "postgresql"
    return request.getfixturevalue("postgresql_server").database() if shared else None


def test_a_folder_that_goes_behind_the_scan_is_not_waited_for(
    photos: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch, catalogue: str | None
) -> None:
    library = open_library(catalogue=catalogue)
    library.index([photos])

    def go() -> None:
        shutil.rmtree(photos / "inner")
        pending_again(library)

    after_the_scan(library, monkeypatch, go)
    run(library, photos)
    status = library.status()
    assert (status.files, status.pending) == (2, 0)


@pytest.mark.parametrize("name", ["inner", "inner/deep"])
def test_a_drive_below_a_root_that_is_away_is_not_waited_for_and_kept(
    photos: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch, name: str, catalogue: str | None
) -> None:
    drive = photos / "inner"
    if name != "inner":
        (photos / name).mkdir()
        for photo in drive.glob("*.jpg"):
            photo.rename(photos / name / photo.name)
    mounts = ["/", str(drive)]
    monkeypatch.setattr(scanner, "mount_points", lambda: mounts)
    library = open_library(catalogue=catalogue)
    library.index([photos])
    shutil.move(drive, photos.parent / "unplugged")
    drive.mkdir()
    mounts.remove(str(drive))
    pending_again(library)
    run(library, photos)
    status = library.status()
    assert (status.files, status.pending) == (4, 2)
    drive.rmdir()
    shutil.move(photos.parent / "unplugged", drive)
    mounts.append(str(drive))
    run(library, photos)
    assert library.status().pending == 0


def test_a_folder_without_permission_is_not_waited_for_and_kept(
    photos: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = open_library()
    library.index([photos])
    pending_again(library)
    closed = str(photos / "inner")

    def refusing(real: Callable[..., Any], itself: bool) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
            if name.startswith(closed + os.sep) or (itself and name == closed):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
            return real(path, *args, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refusing(os.stat, itself=False))
        patch.setattr(os, "scandir", refusing(os.scandir, itself=True))
        run(library, photos)
        assert (library.status().files, library.status().pending) == (4, 2)
    run(library, photos)
    assert library.status().pending == 0


def test_what_cannot_be_reached_does_not_keep_what_can_from_being_read(
    tmp_path: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, drive = tmp_path / "photos", tmp_path / "photos" / "drive"
    drive.mkdir(parents=True)
    for n in range(36):  # more than are looked at ahead
        media.draw_image(drive / f"{n}.jpg", seed=n, size=(32, 24))
    mounts = ["/", str(drive)]
    monkeypatch.setattr(scanner, "mount_points", lambda: mounts)
    library = open_library()
    library.index([folder])
    shutil.rmtree(drive)
    mounts.remove(str(drive))
    media.draw_image(folder / "here.jpg", seed=99, size=(32, 24))
    pending_again(library)
    run(library, folder)
    assert library.status().pending == 36


def test_sound_that_the_disk_does_not_give_is_not_waited_for(
    tmp_path: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch, catalogue: str | None
) -> None:
    class Listener:
        id = "parrot@1"

    def broken(ears: SpeechStage, path: str, at: float) -> None:
        raise MediaError("the disk could not deliver it", cause="disk")

    monkeypatch.setattr(speech, "load", lambda name: Listener())
    monkeypatch.setattr(speech, "is_installed", lambda: True)
    monkeypatch.setattr(SpeechStage, "_sound", broken)
    (tmp_path / "films").mkdir()
    path = media.draw_video(tmp_path / "films" / "film.mp4", 4.0, size=(64, 48), fps=2)
    library = open_library(catalogue=catalogue)
    library.index([tmp_path / "films"])
    with library.catalogue.database.writer() as c:
        c.exec_driver_sql("UPDATE content SET heard = 'pending'")
    run(library, tmp_path / "films")
    assert library.catalogue.queue.count("speech") == 1 and library.catalogue.files.at(str(path)) is not None
