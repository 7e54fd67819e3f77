"""What people do to their files while the program is off; the next run ends with the right library."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from data.media.beside_names import may_describe
from indexer.files import scanner
from indexer.files.scanner import media_of_sidecars
from indexer.library import Library
from indexer.types import Part, Query
from tests import media
from tests.indexer.conftest import CountingEmbedder, OpenLibrary


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    media.draw_image(folder / "one.jpg", seed=1, size=(64, 48))
    media.draw_image(folder / "trip" / "two.jpg", seed=2, size=(64, 48))
    return folder


@pytest.fixture
def library(photos: Path, open_library: OpenLibrary, counted: CountingEmbedder) -> Library:
    library = open_library(threads=1)
    library.index([photos])
    counted.embedded = 0
    return library


def names(library: Library) -> list[str]:
    """All files below the roots, by their path from the test's folder."""
    with library.catalogue.database.reader() as c:
        return sorted(os.fsdecode(r[0]) for r in c.exec_driver_sql("SELECT name FROM file"))


def found(library: Library) -> list[str]:
    """Names of the files whose chunks are in the vector index."""
    index = library.vector_index()
    index.catch_up()
    held = [library.chunk(int(i)) for i in index.ids()]
    return sorted(c.file.path.name for c in held if c is not None)


def test_a_renamed_file_costs_no_embedding(library: Library, photos: Path, counted: CountingEmbedder) -> None:
    (photos / "one.jpg").rename(photos / "first.jpg")
    report = library.index()
    assert names(library) == ["first.jpg", "two.jpg"] == found(library)
    assert counted.embedded == 0 and report.reused == 1


def test_a_renamed_folder_costs_no_embedding(library: Library, photos: Path, counted: CountingEmbedder) -> None:
    (photos / "trip").rename(photos / "Trip to the sea")
    library.index()
    assert names(library) == ["one.jpg", "two.jpg"] == found(library) and counted.embedded == 0


def test_a_file_moved_to_another_root_costs_no_embedding(
    library: Library, photos: Path, tmp_path: Path, counted: CountingEmbedder
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.move(photos / "one.jpg", other / "one.jpg")
    library.index([other])
    library.index()
    info = library.catalogue.files.at(str(other / "one.jpg"))
    assert info is not None and names(library) == ["one.jpg", "two.jpg"] == found(library)
    assert counted.embedded == 0


def test_a_hard_link_and_a_symlink_are_the_same_content(
    library: Library, photos: Path, counted: CountingEmbedder
) -> None:
    os.link(photos / "one.jpg", photos / "hard.jpg")
    (photos / "soft.jpg").symlink_to(photos / "one.jpg")
    (photos / "broken.jpg").symlink_to(photos / "nowhere.jpg")
    library.index()
    assert names(library) == ["hard.jpg", "one.jpg", "soft.jpg", "two.jpg"]
    assert len(found(library)) == 2 and counted.embedded == 0


def test_symlink_loops_end_and_nothing_is_found_twice(library: Library, photos: Path, tmp_path: Path) -> None:
    (photos / "trip" / "up").symlink_to(photos)
    (photos / "around").symlink_to(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    media.draw_image(outside / "three.jpg", seed=3, size=(64, 48))
    (outside / "again").symlink_to(outside)
    (photos / "linked").symlink_to(outside)
    (photos / "linked too").symlink_to(outside)
    library.index()
    assert names(library) == ["one.jpg", "three.jpg", "two.jpg"]


def test_a_file_replaced_in_place_with_the_same_size_and_mtime_is_noticed(
    library: Library, photos: Path, counted: CountingEmbedder
) -> None:
    path = photos / "one.jpg"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    library.index()
    assert counted.embedded == 1 and names(library) == ["one.jpg", "two.jpg"] == found(library)


def test_a_touched_file_is_hashed_and_nothing_more(library: Library, photos: Path, counted: CountingEmbedder) -> None:
    os.utime(photos / "one.jpg", (1_000_000_000, 1_000_000_000))
    report = library.index()
    assert (counted.embedded, report.chunks, report.reused) == (0, 0, 0)
    assert library.status().pending == 0


def test_a_file_deleted_and_restored_costs_no_embedding(
    library: Library, photos: Path, tmp_path: Path, counted: CountingEmbedder
) -> None:
    shutil.move(photos / "one.jpg", tmp_path / "trash.jpg")
    library.index()
    assert names(library) == ["two.jpg"] == found(library), "deleted files do not show up"
    shutil.move(tmp_path / "trash.jpg", photos / "one.jpg")
    library.index()
    assert names(library) == ["one.jpg", "two.jpg"] == found(library) and counted.embedded == 0


def test_what_is_deleted_for_good_is_forgotten_after_a_day(library: Library, photos: Path) -> None:
    (photos / "one.jpg").unlink()
    library.index()
    assert library.catalogue.contents.sweep() == []
    assert len(library.catalogue.contents.sweep(time.time() + 25 * 3600)) == 1
    with library.catalogue.database.reader() as c:
        assert c.exec_driver_sql("SELECT count(*) FROM content").scalar() == 1


def test_a_rename_of_case_only_is_followed(library: Library, photos: Path, counted: CountingEmbedder) -> None:
    (photos / "one.jpg").rename(photos / "ONE.JPG")
    library.index()
    assert names(library) == ["ONE.JPG", "two.jpg"] == found(library) and counted.embedded == 0


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"two\nlines.jpg", b"\xff\xfe.jpg", b" .jpg", "日本.jpg".encode()])
def test_names_of_any_bytes_are_indexed_and_followed(library: Library, photos: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(photos), b"d\xe9p", name)  # noqa: PTH118
    os.mkdir(os.path.dirname(path))  # noqa: PTH102, PTH120
    shutil.copy(os.fsencode(photos / "one.jpg"), path)
    library.index()
    info = library.catalogue.files.at(os.fsdecode(path))
    assert info is not None and os.fsencode(info.path) == path
    assert len(library.chunks(info.file_id)) == 1
    assert library.index().files == 3, "and is known again"
    os.unlink(path)  # noqa: PTH108
    assert library.index().files == 2


def test_deep_trees_are_walked(library: Library, photos: Path) -> None:
    deep = photos
    for _ in range(60):
        deep = deep / "deeper still"
    deep.mkdir(parents=True)
    shutil.copy(photos / "one.jpg", deep / "far.jpg")
    library.index()
    assert names(library) == ["far.jpg", "one.jpg", "two.jpg"]


def test_hidden_files_and_caches_are_passed_over(library: Library, photos: Path) -> None:
    for name in (".hidden.jpg", ".git/a.jpg", "node_modules/x/a.jpg", "@eaDir/a.jpg", ".thumbnails/a.jpg"):
        path = photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "one.jpg", path)
    report = library.index()
    assert names(library) == ["one.jpg", "two.jpg"] and report.ignored == 5


def test_sightlineignore_leaves_out_and_takes_back_in(library: Library, photos: Path) -> None:
    shutil.copy(photos / "one.jpg", photos / "trip" / "keep.jpg")
    shutil.copy(photos / "one.jpg", photos / ".cover.jpg")
    (photos / ".sightlineignore").write_text("# my own\ntrip/*\n!trip/keep.jpg\n!.cover.jpg\n")
    library.index()
    assert names(library) == [".cover.jpg", "keep.jpg", "one.jpg"]
    (photos / "trip" / ".sightlineignore").write_text("keep.jpg\n!two.jpg")
    library.index()
    assert names(library) == [".cover.jpg", "one.jpg", "two.jpg"], "the deeper file has the last word"
    (photos / ".sightlineignore").unlink()
    (photos / "trip" / ".sightlineignore").unlink()
    library.index()
    assert names(library) == ["keep.jpg", "one.jpg", "two.jpg"]


def test_a_root_that_is_away_is_kept_and_comes_back(library: Library, photos: Path, counted: CountingEmbedder) -> None:
    photos.rename(photos.with_name("unplugged"))
    library.index()
    assert library.status().files == 2 and found(library) == ["one.jpg", "two.jpg"]
    (told,) = library.status().notices
    assert str(photos) in told and "sightline forget" in told
    photos.with_name("unplugged").rename(photos)
    library.index()
    assert library.status().notices == () and counted.embedded == 0


@pytest.mark.parametrize("below", ["", "trip"])
def test_an_unmounted_drive_leaves_an_empty_folder_and_loses_nothing(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    usual = scanner.mount_points()
    monkeypatch.setattr(scanner, "mount_points", lambda: [*usual, str(photos / below)])
    library.index()
    monkeypatch.setattr(scanner, "mount_points", lambda: usual)
    for path in list((photos / below).iterdir()):
        shutil.move(path, photos.parent)
    library.index()
    assert names(library) == ["one.jpg", "two.jpg"] == found(library)
    (told,) = library.status().notices
    assert "is not mounted" in told or "is not there now" in told


def test_a_folder_emptied_by_hand_is_empty(library: Library, photos: Path) -> None:
    shutil.rmtree(photos / "trip")
    (photos / "one.jpg").unlink()
    library.index()
    assert names(library) == [] and library.status().notices == ()


@pytest.mark.unprivileged
def test_a_folder_that_may_not_be_read_now_keeps_its_files(library: Library, photos: Path) -> None:
    (photos / "trip").chmod(0)
    try:
        library.index()
        assert names(library) == ["one.jpg", "two.jpg"]
        assert any("cannot be read" in n for n in library.status().notices)
    finally:
        (photos / "trip").chmod(0o700)


def test_roots_inside_each_other_share_no_file(library: Library, photos: Path) -> None:
    library.index([photos / "trip"])
    library.index()
    assert names(library) == ["one.jpg", "two.jpg"] and len(library.status().roots) == 2
    assert library.forget(photos) == 2, "with the folders below it"
    assert library.status().roots == ()


def test_a_file_that_changes_while_it_is_read_is_read_when_it_is_still(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexer.files import hashing

    whole = media.draw_image(photos.parent / "whole.png", seed=9, size=(200, 200)).read_bytes()
    grown: list[int] = []
    real = hashing.blake3

    def growing(*args: object) -> object:  # a copy that writes its next piece during our first readings
        if len(grown) < 3:
            grown.append(1)
            with (photos / "new.png").open("ab") as f:
                f.write(whole[len(whole) * len(grown) // 4 : len(whole) * (len(grown) + 1) // 4])
        return real()

    (photos / "new.png").write_bytes(whole[: len(whole) // 4])
    os.utime(photos / "new.png", (1e9, 1e9))
    monkeypatch.setattr(hashing, "blake3", growing)
    library.index()
    assert (photos / "new.png").read_bytes() == whole
    assert library.failures() == [] and found(library) == ["new.png", "one.jpg", "two.jpg"]


@pytest.mark.parametrize("gone", ["a folder of it", "all of it"])
def test_a_run_does_not_wait_for_files_of_another_root_that_are_gone(
    tmp_path: Path, open_library: OpenLibrary, gone: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there / "album"):
        folder.mkdir(parents=True)
        media.draw_image(folder / "photo.jpg", seed=len(folder.name))
    first = open_library()
    first.index([here, there])
    with first.catalogue.database.writer() as c:  # as if that run had ended before it came to them
        c.exec_driver_sql("UPDATE content SET state = 'pending'")
    first.close()
    shutil.rmtree(there / "album" if gone == "a folder of it" else there)
    library = open_library()
    ended = threading.Thread(target=lambda: library.index([here]), daemon=True)
    ended.start()
    ended.join(30)
    assert not ended.is_alive()
    states = {r.path: r.state for r in library.catalogue.files.roots()}
    now = library.status()
    if gone == "all of it":
        assert (states[there], now.images, now.pending) == ("away", 2, 1), "it is kept until it comes back"
    else:
        assert (states[there], now.images, now.pending) == ("here", 1, 0)


def test_words_beside_a_file_that_change_are_read_again(
    photos: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    film = photos / "trip" / "ferry.mp4"
    media.draw_video(film, 8.0, size=(96, 64), fps=2)
    library = open_library()
    library.index([photos])
    (photos / "trip" / "ferry.en.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nThe gulls are back\n")
    (photos / "one.jpg.json").write_text('{"description": "Grandmother in her garden"}')
    embedded = counted.embedded
    library.index()
    assert counted.embedded == embedded + 1, "the film; what lies beside a photo is the copy's, not the content's"
    for words, name in (("gulls are back", "ferry.mp4"), ("grandmother garden", "one.jpg")):
        hit = library.search(Query((Part(text=words),))).hits[0]
        assert (hit.title, hit.relevant) == (name, True)
    embedded = counted.embedded
    library.index()
    assert counted.embedded == embedded, "once is enough"


def test_whose_words_a_file_beside_may_hold_is_told_by_its_name_at_once() -> None:
    photos = [f"{n}.jpg" for n in range(5000)]
    begun = time.process_time()
    assert media_of_sidecars((f"{n}.xmp" for n in range(5000)), photos) == sorted(photos)
    assert time.process_time() - begun < 2.0
    numbered = [f"IMG({n}).jpg" for n in range(5000)]
    assert media_of_sidecars((f"IMG.jpg.supplemental-metadata({n}).json" for n in range(5000)), numbered) == sorted(
        numbered
    )
    others = ["a.jpg", "a.mp4", "a.pdf", "b.en.mp4", "a.jpg.png", "a(1).jpg", "a-edited.jpg", f"{'c' * 44}.jpg"]
    notes = ("a.jpg(1).json", "a.jpg.supp.json", f"{'c' * 44}.j.json", "a.json")
    for name in (*notes, "a.jpg.json", "a.en.srt", "a.xmp", "b.en.srt", "b.srt", "a.jpg.xmp", ".srt", "a"):
        assert media_of_sidecars([name], others) == sorted(other for other in others if may_describe(name, other)), name
