"""What happens while the program runs is followed, and what a watcher cannot see is met with a scan."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexer.errors import LibraryError
from indexer.files import follower, watcher
from indexer.library import Library
from indexer.types import Part, Query
from tests import media
from tests.indexer.conftest import CountingEmbedder, OpenLibrary, wait_for
from tests.indexer.written_library import found_vectors, paths_under


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(3):
        media.draw_image(folder / f"{n}.jpg", seed=n, size=(64, 48))
    return folder


@pytest.fixture
def running(photos: Path, open_library: OpenLibrary, counted: CountingEmbedder) -> Library:
    library = open_library(threads=1)
    library.add_root(photos)
    library.start()
    wait_for(lambda: settled(library, 3))
    counted.embedded = 0
    return library


def settled(library: Library, files: int) -> bool:
    counts = library.catalogue.files.counts()
    if (counts.files, counts.pending) != (files, 0):
        return False
    return len(library.vector_index()) == len(indexable(library))


def indexable(library: Library) -> list[int]:
    return found_vectors(library.catalogue)[0].tolist()


def names(library: Library) -> set[str]:
    with library.catalogue.database.reader() as c:
        return {os.fsdecode(r[0]) for r in c.exec_driver_sql("SELECT name FROM file")}


def test_a_file_that_is_added_renamed_changed_and_deleted_is_followed(
    running: Library, photos: Path, counted: CountingEmbedder
) -> None:
    media.draw_image(photos / "new.jpg", seed=7, size=(64, 48))
    wait_for(lambda: "new.jpg" in names(running) and settled(running, 4))
    new = running.catalogue.files.at(str(photos / "new.jpg"))
    assert new is not None and len(running.chunks(new.file_id)) == 1 and counted.embedded == 1
    (photos / "new.jpg").rename(photos / "newer.jpg")
    wait_for(lambda: "newer.jpg" in names(running))
    moved = running.catalogue.files.at(str(photos / "newer.jpg"))
    assert moved is not None and moved.file_id == new.file_id, "the same file, at another place"
    media.draw_image(photos / "newer.jpg", seed=8, size=(64, 48))
    wait_for(lambda: counted.embedded == 2 and settled(running, 4))
    (photos / "newer.jpg").unlink()
    wait_for(lambda: names(running) == {"0.jpg", "1.jpg", "2.jpg"} and settled(running, 3))
    assert counted.embedded == 2


def test_folders_that_come_go_and_move_are_followed(
    running: Library, photos: Path, tmp_path: Path, counted: CountingEmbedder
) -> None:
    outside = tmp_path / "outside" / "deep" / "deeper"
    outside.mkdir(parents=True)
    for n in range(20):
        media.draw_image(outside / f"n{n}.jpg", seed=100 + n, size=(32, 32))
    shutil.copytree(tmp_path / "outside", photos / "copied")
    wait_for(lambda: settled(running, 23))
    (photos / "copied").rename(photos / "renamed")
    wait_for(lambda: all("renamed" in p for p in paths_under(running.catalogue, str(photos)) if "/n" in p))
    wait_for(lambda: settled(running, 23))
    shutil.move(photos / "renamed", tmp_path / "gone")
    wait_for(lambda: settled(running, 3))
    shutil.move(tmp_path / "gone", photos / "back")
    wait_for(lambda: settled(running, 23))
    assert counted.embedded == 20


def test_a_folder_that_was_moved_out_is_no_obstacle_to_the_end(
    running: Library, photos: Path, tmp_path: Path, open_library: OpenLibrary
) -> None:
    """watchdog's `stop` raises KeyError then (findings/watchdog_folder_moved_away.sh)."""
    media.draw_image(photos / "trip" / "3.jpg", seed=3, size=(64, 48))
    wait_for(lambda: settled(running, 4))
    (photos / "trip").rename(tmp_path / "outside")
    wait_for(lambda: settled(running, 3))
    media.draw_image(photos / "trip" / "4.jpg", seed=4, size=(64, 48))
    wait_for(lambda: settled(running, 4))
    (photos / "trip").rename(photos / "tour")
    wait_for(lambda: str(photos / "tour" / "4.jpg") in paths_under(running.catalogue, str(photos)))
    running.close()
    assert len(open_library().status().roots) == 1, "another one can have it"


def test_a_file_being_copied_is_not_read_before_it_is_whole(running: Library, photos: Path) -> None:
    whole = media.draw_image(photos.parent / "big.png", seed=5, size=(300, 300)).read_bytes()
    step = len(whole) // 12 + 1
    with (photos / "growing.png").open("wb") as f:
        for at in range(0, len(whole), step):
            f.write(whole[at : at + step])
            f.flush()
            time.sleep(0.1)
        assert "growing.png" not in names(running)
    wait_for(lambda: settled(running, 4))
    assert running.failures() == []


def test_hard_links_symlinks_and_atomic_replacement_are_seen(
    running: Library, photos: Path, counted: CountingEmbedder
) -> None:
    os.link(photos / "0.jpg", photos / "hard.jpg")
    (photos / "soft.jpg").symlink_to(photos / "1.jpg")
    wait_for(lambda: settled(running, 5))
    assert counted.embedded == 0
    media.draw_image(photos / ".part.jpg", seed=50, size=(64, 48))
    (photos / ".part.jpg").replace(photos / "2.jpg")
    wait_for(lambda: counted.embedded == 1 and settled(running, 5))
    assert ".part.jpg" not in names(running)


def test_a_storm_of_changes_ends_right(running: Library, photos: Path, counted: CountingEmbedder) -> None:
    """Like switching branches back and forth: files and folders come and go faster than anyone reads."""
    pictures = [media.draw_image(photos.parent / f"s{n}.jpg", seed=n, size=(32, 32)) for n in range(8)]
    for turn in range(12):
        shutil.rmtree(photos / "tree", ignore_errors=True)
        for n, picture in enumerate(pictures[: 4 + turn % 5]):
            place = photos / "tree" / str(n % 3) / "leaf"
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, place / f"{(n + turn) % 6}.jpg")
    (photos / "tree" / "0").rename(photos / "tree" / "zero")
    expected = {str(p) for p in photos.rglob("*.jpg")}
    wait_for(lambda: set(paths_under(running.catalogue, str(photos))) == expected)
    wait_for(lambda: settled(running, len(expected)))
    assert counted.embedded <= 8 and running.failures() == []


def test_a_sightlineignore_takes_effect_at_once(running: Library, photos: Path) -> None:
    (photos / ".sightlineignore").write_text("1.jpg\n")
    wait_for(lambda: names(running) == {"0.jpg", "2.jpg"})
    (photos / ".sightlineignore").unlink()
    wait_for(lambda: settled(running, 3))


def test_a_root_that_goes_and_comes_back_while_running_loses_nothing(
    running: Library, photos: Path, counted: CountingEmbedder
) -> None:
    photos.rename(photos.with_name("unplugged"))
    wait_for(lambda: any("is not there now" in n for n in running.status().notices))
    assert len(names(running)) == 3
    photos.with_name("unplugged").rename(photos)
    wait_for(lambda: running.status().notices == ())
    media.draw_image(photos / "later.jpg", seed=9, size=(64, 48))
    wait_for(lambda: settled(running, 4))
    assert counted.embedded == 1, "and it is watched again"


def test_what_happened_while_it_was_off_is_found_at_the_start(
    photos: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    first = open_library(threads=1)
    first.index([photos])
    first.close()
    (photos / "0.jpg").rename(photos / "renamed.jpg")
    (photos / "1.jpg").unlink()
    media.draw_image(photos / "added.jpg", seed=8, size=(64, 48))
    counted.embedded = 0
    second = open_library(threads=1)
    second.start()
    wait_for(lambda: names(second) == {"renamed.jpg", "2.jpg", "added.jpg"} and settled(second, 3))
    assert counted.embedded == 1


def test_a_lost_event_queue_is_made_up_for_by_a_scan(
    running: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher.Watcher, "happened", lambda self, event: None)  # the kernel drops everything
    media.draw_image(photos / "unseen.jpg", seed=9, size=(64, 48))
    time.sleep(0.5)
    assert "unseen.jpg" not in names(running)
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; filesystem events were lost")
    wait_for(lambda: settled(running, 4))


def test_at_the_inotify_limit_it_says_so_and_scans(
    photos: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch, counted: CountingEmbedder
) -> None:
    monkeypatch.setattr(watcher, "_inotify_problem", lambda: errno.ENOSPC)
    monkeypatch.setattr(watcher.Watcher, "happened", lambda self, event: None)
    monkeypatch.setattr(follower, "POLL_S", 0.3)
    library = open_library(threads=1)
    library.add_root(photos)
    library.start()
    wait_for(lambda: settled(library, 3))
    (told,) = library.status().notices
    assert "sudo sysctl fs.inotify.max_user_watches=" in told
    media.draw_image(photos / "new.jpg", seed=7, size=(64, 48))
    wait_for(lambda: settled(library, 4))


def test_words_that_are_put_beside_a_file_are_found_and_gone_with_them(running: Library, photos: Path) -> None:
    beside = photos / "1.xmp"
    note = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        '<rdf:li xml:lang="x-default">Grandmother in her garden</rdf:li>'
        "</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    )

    def found() -> list[str]:
        """The names of the files that the note's words lead to."""
        return [Path(hit.path).name for hit in running.search(Query((Part('"grandmother"'),))).hits]

    beside.write_text(note)
    wait_for(lambda: found() == ["1.jpg"] and settled(running, 3))
    beside.unlink()
    wait_for(lambda: found() == [] and settled(running, 3))


def test_polling_needs_no_watcher(
    photos: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch, counted: CountingEmbedder
) -> None:
    monkeypatch.setattr(follower, "POLL_S", 0.3)
    library = open_library(threads=1, poll=True)
    library.add_root(photos)
    library.start()
    wait_for(lambda: settled(library, 3))
    (photos / "0.jpg").rename(photos / "zero.jpg")
    wait_for(lambda: names(library) == {"zero.jpg", "1.jpg", "2.jpg"} and settled(library, 3))
    assert library._indexing.follower._watcher is None and counted.embedded == 3


OTHER_PROGRAM = """
import sys
from pathlib import Path
from indexer.library import Library
from indexer.errors import LibraryError
with Library.open(Path(sys.argv[1]), nice=False, ocr="off") as library:
    try:
        library.index([Path(sys.argv[2])])
    except LibraryError as error:
        print(error)
"""


def test_a_second_indexer_says_so_and_hands_its_folders_over(running: Library, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    media.draw_image(other / "theirs.jpg", seed=77, size=(64, 48))
    command = [sys.executable, "-c", OTHER_PROGRAM, str(running.data_dir), str(other)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"process {os.getpid()}" in said and "is indexing this library already" in said
    wait_for(lambda: "theirs.jpg" in names(running) and settled(running, 4))


def test_reading_is_possible_while_another_indexes_and_the_second_takes_over(
    running: Library, photos: Path, open_library: OpenLibrary
) -> None:
    second = open_library(threads=1)
    second.start()
    wait_for(lambda: any("only searches it" in n for n in second.status().notices))
    assert second.status().chunks == 3 and second.chunk(1) is not None
    with pytest.raises(LibraryError, match="already"):
        open_library().index([photos])
    running.close()
    wait_for(lambda: second.status().notices == ())
    media.draw_image(photos / "next.jpg", seed=9, size=(64, 48))
    wait_for(lambda: settled(second, 4))
