"""What a scan leaves out is said by sort and reason; other programs' copies are left out, and can be taken in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from indexer.catalogue.left_out import MOST_SORTS, LeftOut
from indexer.files.ignore import BESIDE, COPIES, HIDDEN, NO_VIDEO, RULE, UNHEARD, UNREAD, Intake, is_copy
from indexer.library import Library
from indexer.types import LeftOutSort
from tests import media
from tests.indexer.conftest import OpenLibrary

COPIES_OF_OTHERS = (
    "@eaDir/IMG_1.JPG/SYNOPHOTO_THUMB_XL.jpg",
    "#snapshot/GMT-01/a.jpg",
    "#recycle/a.jpg",
    "@Recently-Snapshot/GMT/a.jpg",
    "My.photoslibrary/resources/derivatives/A/A1_1_105_c.jpeg",
    "My.photoslibrary/scopes/cloudsharing/a.jpg",
    "Old.photolibrary/Thumbnails/2010/a.jpg",
    "Movies/film.trickplay/320 - 10x10/0.jpg",
    "nextcloud/appdata_oc123/preview/a/1/256-256.jpg",
    "nextcloud/user/files_trashbin/files/a.jpg",
    "nextcloud/user/files_versions/a.jpg",
    "immich/thumbs/uid/aa/x-preview.jpeg",
    "photoprism/storage/cache/thumbnails/1/t_tile_224.jpg",
    "Library/Application Support/Plex Media Server/Cache/PhotoTranscoder/a.jpg",
    "$RECYCLE.BIN/S-1/$R.jpg",
    "Android/data/com.app/cache/a.jpg",
    "My.photoslibrary/resources/proxies/derivatives/a.jpg",
    "iPhoto Library/Data.noindex/2010/a.jpg",
    "var/lib/jellyfin/metadata/library/a.jpg",
    "nextcloud/data/me/uploads/17/a.jpg",
    "darktable/mipmaps-1a2b.d/1/a.jpg",
    "librephotos/protected/square_thumbnails_small/a.webp",
    "lychee/uploads/thumb/a.jpg",
    "Backups.backupdb/Mac/a.jpg",
    "Wedding.fcpbundle/Day 1/Render Files/a.jpg",
)
OWN = (
    "My.photoslibrary/originals/A/A1.jpeg",
    "thumbs/up.jpg",
    "cache/cow.jpg",
    "trash-the-dress/a.jpg",
    "immich/library/me/2020/a.jpg",
    "nextcloud/user/files/a.jpg",
    "metadata/a.jpg",
    "My.photoslibrary/resources/renders/A/A1_1_201_a.jpeg",
    "iPhoto Library/Originals/2010/a.jpg",
    "nextcloud/data/me/files/uploads/a.jpg",
    "Wedding.fcpbundle/Day 1/Original Media/a.jpg",
    "lychee/uploads/big/a.jpg",
    "data/a.jpg",
    "previews/a.jpg",
    "snapshot/a.jpg",
    "#tag/a.jpg",
)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return media.draw_image(tmp_path / "one.jpg", seed=1, size=(64, 48))


def tree(folder: Path, picture: Path, paths: tuple[str, ...]) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / path)
    return folder


def paths(library: Library, folder: Path) -> set[str]:
    with library.catalogue.database.reader() as c:
        return {str(Path(r[0]).relative_to(folder)) for r in c.exec_driver_sql("SELECT path FROM file")}


def test_other_programs_copies_are_left_out_listed_and_taken_in_on_request(
    tmp_path: Path, picture: Path, open_library: OpenLibrary
) -> None:
    folder = tree(tmp_path / "disk", picture, (*COPIES_OF_OTHERS, *OWN))
    library = open_library()
    report = library.index([folder])
    assert paths(library, folder) == set(OWN)
    copies = [sort for sort in report.left_out if sort.why == COPIES]
    assert sum(sort.count for sort in copies) == report.ignored == len(COPIES_OF_OTHERS)
    trash = next(sort for sort in copies if sort.what == "files_trashbin")
    assert trash == LeftOutSort("files_trashbin", COPIES, 1, str(folder / "nextcloud/user/files_trashbin"))
    library.close()
    library = open_library(copies=True)
    assert library.index().left_out == ()
    assert paths(library, folder) == {*OWN, *COPIES_OF_OTHERS}
    library.close()
    assert open_library().index().ignored == 0, "the library keeps the choice"
    library = open_library(copies=False)
    assert library.index().ignored == len(COPIES_OF_OTHERS)
    assert paths(library, folder) == set(OWN)


def test_a_server_of_photos_is_known_by_the_file_that_it_lays_there(tmp_path: Path) -> None:
    (tmp_path / "thumbs").mkdir()
    assert not is_copy(str(tmp_path), "thumbs")
    (tmp_path / "thumbs" / ".immich").write_text("")
    assert is_copy(str(tmp_path), "thumbs")


def test_each_sort_is_named_with_its_reason_also_by_a_scan_that_compares_nothing(
    tmp_path: Path, picture: Path, open_library: OpenLibrary
) -> None:
    folder = tmp_path / "disk"
    tree(folder, picture, ("a.jpg", ".hidden.jpg", ".git/a.jpg", "sub/a.gif"))
    for name in ("notes.txt", "more.TXT", "README", "a.xmp", "code.ts", "song.mp3"):
        (folder / name).write_text("words of a person")
    expected = {
        (".txt", UNREAD, 2),
        ("README", UNREAD, 1),
        (".xmp", BESIDE, 1),
        (".ts", NO_VIDEO, 1),
        ("hidden", HIDDEN, 2),
        (".mp3", UNHEARD, 1),
    }
    library = open_library(speech="off")
    assert {(s.what, s.why, s.count) for s in library.index([folder]).left_out} == expected
    again = library.index()
    assert {(s.what, s.why, s.count) for s in again.left_out} == expected and again.ignored == 8
    assert library.status().left_out == again.left_out
    (folder / ".sightlineignore").write_text("*.gif\n")
    assert (".gif", RULE, 1) in {(s.what, s.why, s.count) for s in library.index().left_out}


def test_names_that_mislead_are_looked_into(tmp_path: Path, open_library: OpenLibrary) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    film = media.draw_video(tmp_path / "a.mts", 2.0, 5, size=(64, 48))
    for name in ("tv.ts", "jvc.mod"):
        shutil.copy(film, folder / name)
    shutil.copy(media.draw_video(tmp_path / "a.mp4", 2.0, 5, size=(64, 48)), folder / "pixel.mp")
    (folder / "go.mod").write_text("module example.com/a\n")
    library = open_library()
    report = library.index([folder])
    assert paths(library, folder) == {"tv.ts", "jvc.mod", "pixel.mp"} and report.failed == 0
    assert [(s.what, s.why, s.example) for s in report.left_out] == [(".mod", NO_VIDEO, str(folder / "go.mod"))]


def test_recordings_are_taken_in_where_somebody_listens() -> None:
    assert (Intake(sound=True).kind("/a/song.MP3"), Intake().kind("/a/song.mp3")) == ("video", None)
    assert Intake(sound=True).kind("/a/song.txt") is None


def test_a_root_keeps_no_more_sorts_than_a_person_reads() -> None:
    left_out = LeftOut()
    for n in range(3 * MOST_SORTS):
        left_out.put(f".{n}", UNREAD, f"/a.{n}")
    again = LeftOut.of([left_out.stored(), left_out.stored()])
    assert again.total == 2 * left_out.total == 6 * MOST_SORTS
    assert len(again.sorts()) == MOST_SORTS + 1 and again.sorts()[0].what == "other names"
