"""A live photo is one hit: its film has no chunks of its own for as long as its picture is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from indexer.catalogue.rows import FoundFile
from indexer.files.mounts import Mounts
from indexer.files.scanner import stamp_of
from indexer.library import Library
from indexer.pipeline.context import CatalogueParts
from indexer.pipeline.pipeline import Pipeline
from indexer.priority import QueryPriority
from indexer.types import Part, Query
from tests import media
from tests.indexer.conftest import OpenLibrary


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    media.draw_image(folder / "IMG_1.JPG", seed=1, size=(160, 120))
    media.draw_video(folder / "IMG_1.mov", 3, 5, size=(64, 48), audio=True)
    return folder


def found(library: Library) -> list[tuple[str, bool]]:
    hits = library.search(Query((Part(text="a picture"),)), k=50).hits
    return sorted((hit.title, hit.live) for hit in hits)


def test_picture_and_film_are_one_hit(album: Path, open_library: OpenLibrary) -> None:
    media.draw_video(album / "IMG_2.mov", 3, 5, size=(64, 48))
    library = open_library()
    report = library.index([album])
    assert (report.files, report.failed, library.status().pending) == (3, 0, 0)
    assert found(library) == [("IMG_1.JPG", True), ("IMG_2.mov", False)]
    assert library.verify().problems == []


def test_a_film_inside_a_picture_makes_it_live(album: Path, open_library: OpenLibrary) -> None:
    film = (album / "IMG_1.mov").read_bytes()
    (album / "IMG_1.mov").unlink()
    with (album / "IMG_1.JPG").open("ab") as picture:
        picture.write(film)
    library = open_library()
    library.index([album])
    assert found(library) == [("IMG_1.JPG", True)]


def test_the_film_comes_back_when_its_picture_goes(album: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.index([album])
    (album / "IMG_1.JPG").unlink()
    library.index()
    assert found(library) == [("IMG_1.mov", False)]


def test_a_renamed_picture_frees_its_film(album: Path, open_library: OpenLibrary) -> None:
    media.draw_video(album / "IMG_2.mov", 3, 5, size=(64, 48))
    library = open_library()
    library.index([album])
    (root,) = library.catalogue.files.roots()
    new = (album / "IMG_1.JPG").rename(album / "wave.jpg")
    moved = FoundFile(str(new), "image", stamp_of(new.stat()))
    assert library.catalogue.files.move(str(album / "IMG_1.JPG"), root.id, moved)
    assert library.catalogue.queue.count("decode") == 1
    library.index()
    assert [title for title, _ in found(library)] == ["IMG_1.mov", "IMG_2.mov", "wave.jpg"]


def test_a_picture_that_comes_later_takes_its_film_in(album: Path, tmp_path: Path, open_library: OpenLibrary) -> None:
    shutil.move(album / "IMG_1.JPG", tmp_path / "later.jpg")
    media.draw_image(album / "still.jpg", seed=9, size=(160, 120))
    library = open_library()
    library.index([album])
    assert found(library) == [("IMG_1.mov", False), ("still.jpg", False)]
    shutil.copy(tmp_path / "later.jpg", album / "IMG_1.JPG")
    library.index()
    assert found(library) == [("IMG_1.JPG", True), ("still.jpg", False)]


def test_a_copy_of_the_film_elsewhere_is_a_film(album: Path, open_library: OpenLibrary) -> None:
    (album / "films").mkdir()
    shutil.copy(album / "IMG_1.mov", album / "films" / "wave.mov")
    library = open_library()
    library.index([album])
    assert [title for title, _ in found(library)] == ["IMG_1.JPG", "IMG_1.mov"]
    assert library.status().failed == 0


def test_a_film_with_a_copy_elsewhere_keeps_its_words(album: Path, open_library: OpenLibrary) -> None:
    (album / "films").mkdir()
    shutil.copy(album / "IMG_1.mov", album / "films" / "wave.mov")
    (album / "IMG_1.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nhello there\n")
    library = open_library()
    library.index([album])
    film = library.file_at(album / "IMG_1.mov")
    assert film is not None
    assert [cue.text for cue in library.transcript(film.file_id)] == ["hello there"]


def test_a_film_whose_picture_is_broken_is_a_film(album: Path, open_library: OpenLibrary) -> None:
    (album / "IMG_1.JPG").write_bytes((album / "IMG_1.JPG").read_bytes()[:300])
    library = open_library()
    assert library.index([album]).failed == 1
    assert [title for title, _ in found(library)] == ["IMG_1.mov"]


def test_a_worker_that_sees_the_folders_elsewhere_finds_the_picture_of_a_film(
    album: Path, tmp_path: Path, open_library: OpenLibrary
) -> None:
    library = open_library()
    library.index([album])
    with library.catalogue.database.writer() as c:
        c.exec_driver_sql("UPDATE content SET state = 'pending' WHERE kind = 'video'")
        c.exec_driver_sql("UPDATE content SET live = 0")
    mount = tmp_path / "mnt"
    shutil.move(album, mount)
    worker = Pipeline(
        CatalogueParts.of(library.catalogue.database),
        Mounts([f"{mount}={album}"]),
        library.models,
        library.sandbox,
        library.thumbnails,
        QueryPriority(),
    )
    worker.start()
    try:
        for _ in range(300):
            if worker.idle():
                break
            worker.wait(0.2)
    finally:
        worker.stop()
    assert found(library) == [("IMG_1.JPG", True)]
