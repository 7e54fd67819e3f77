"""`sightline worker`: any number of machines index one library, each sees the folders where they lie for it,
and whoever is killed, worker or database, costs nothing but time."""

import random
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.contents import Contents
from indexer.catalogue.dialects import place
from indexer.catalogue.files import Files
from indexer.catalogue.leases import Leases
from indexer.catalogue.queue import Queue
from indexer.catalogue.transcripts import Transcripts
from indexer.errors import CatalogueAway, LibraryError
from indexer.files.mounts import Mounts
from indexer.library import Library
from indexer.pipeline.worker import Worker
from indexer.types import Part, Query, Status
from model.embedder import Embedder
from model.lite.embedder import LiteEmbedder
from tests import media, postgresql
from tests.indexer.conftest import contents_of, wait_for
from tests.indexer.pipeline.killable_worker import Program, Slow
from tests.indexer.pipeline.test_crash import draw
from tests.postgresql import Server


@pytest.fixture
def database(postgresql_server: Server) -> str:
    return postgresql_server.database()


@contextmanager
def shared(tmp_path: Path, database: str, **options: Any) -> Iterator[Library]:
    with Library.open(tmp_path / "watcher", nice=False, ocr="off", catalogue=database, **options) as library:
        yield library


def pending_again(library: Library, *folders: Path) -> dict[Any, Any]:
    """Index folders, and let all be pending again: what workers then make must be this."""
    library.index(folders)
    made = contents_of(library)
    forget_chunks(library)
    return made


def forget_chunks(library: Library) -> None:
    with library.catalogue.database.writer() as c:
        c.exec_driver_sql("DELETE FROM chunk")
        c.exec_driver_sql("UPDATE content SET state = 'pending'")


def work(tmp_path: Path, database: str, name: str = "one", **options: Any) -> int:
    """A worker that works until there is nothing left for it; returns how many contents it made."""
    worker = Worker(tmp_path / name, database, name=name, nice=False, **options)
    try:
        return worker.run(threading.Event(), once=True).contents
    finally:
        worker.close()


def test_a_worker_makes_what_the_watcher_makes_from_folders_that_lie_elsewhere(
    tmp_path: Path, folder: Path, database: str
) -> None:
    with shared(tmp_path, database) as library:
        expected = pending_again(library, folder)
        there = folder.rename(tmp_path / "mounted here")
        assert work(tmp_path, database, maps=[f"{there}={folder}"]) == 5
        assert contents_of(library) == expected
        assert library.catalogue.leases.count() == 0 and library.catalogue.leases.workers() == []


def test_a_worker_is_handed_no_part_that_could_change_roots_or_files(
    tmp_path: Path, folder: Path, database: str
) -> None:
    with shared(tmp_path, database) as library:
        pending_again(library, folder)
    worker = Worker(tmp_path / "one", database, name="one", nice=False)
    worker.run(threading.Event(), once=True)
    kinds: set[type] = set()
    seen: set[int] = set()
    reached: list[Any] = [worker]
    while reached:  # everything of ours that it holds, and what that holds
        held = reached.pop()
        ours = type(held).__module__.startswith(("indexer.", "builtins"))
        if id(held) not in seen and ours:
            seen.add(id(held))
            kinds.add(type(held))
            reached += held.values() if isinstance(held, dict) else ()
            reached += held if isinstance(held, (list, tuple, set)) else ()
            reached += [getattr(held, "__self__", None), *getattr(held, "__dict__", {}).values()]
    worker.close()
    assert {Leases, Queue, Contents, Transcripts} <= kinds
    assert not {Files, Catalogue} & kinds


def test_a_root_that_one_worker_cannot_see_is_done_by_others_and_named_in_the_status(
    tmp_path: Path, folder: Path, database: str
) -> None:
    other = tmp_path / "nas"
    other.mkdir()
    media.draw_image(other / "far.jpg", seed=40, size=(160, 120))
    with shared(tmp_path, database) as library:
        expected = pending_again(library, folder, other)
        away, empty = other.rename(tmp_path / "nas elsewhere"), other
        empty.mkdir()  # a mount point without its mount
        blind = Worker(tmp_path / "blind", database, name="blind", nice=False)
        stop = threading.Event()
        thread = threading.Thread(target=blind.run, args=(stop,))
        thread.start()
        try:
            wait_for(lambda: library.catalogue.files.counts().pending == 1)
            (row,) = library.status().workers
            assert (row.name, row.lacks) == ("blind", (str(other),))
            assert f"{other} cannot be seen here" in blind.line()
            assert work(tmp_path, database, "sees", maps=[f"{away}={other}"]) == 1
        finally:
            stop.set()
            thread.join()
            blind.close()
        assert contents_of(library) == expected


def test_files_that_are_not_what_the_library_read_are_left_alone(tmp_path: Path, folder: Path, database: str) -> None:
    """The folder of that name on this machine is another one: same names, same sizes, other bytes."""
    with shared(tmp_path, database) as library:
        expected = pending_again(library, folder)
        real = folder.rename(tmp_path / "real")
        shutil.copytree(real, folder)  # other times of change
        photo = folder / "photo 0.jpg"
        photo.write_bytes(photo.read_bytes()[:-1] + b"\0")
        assert work(tmp_path, database) == 4  # those whose bytes are the same are done
        assert library.catalogue.files.counts().pending == 1
        assert work(tmp_path, database, maps=[f"{real}={folder}"]) == 1
        assert contents_of(library) == expected


@pytest.mark.parametrize("off_s", [-3600.0, 3600.0])
def test_a_clock_that_is_an_hour_off_takes_and_keeps_nothing(
    tmp_path: Path, folder: Path, database: str, off_s: float
) -> None:
    with shared(tmp_path, database) as library:
        expected = pending_again(library, folder)
        wrong = Program("worker", database, tmp_path / "wrong", name="wrong", once=True, off_s=off_s)
        right = Program("worker", database, tmp_path / "right", name="right", once=True)
        wrong.wait()
        right.wait()
        made = [int(p.said[-1].split()[1]) for p in (wrong, right)]
        assert sum(made) == 5 and contents_of(library) == expected


def test_what_workers_made_meanwhile_is_in_the_report_of_index(
    tmp_path: Path, database: str, lite: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watcher's model stands still until a worker has done all that the watcher had not taken."""
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(24):
        media.draw_image(folder / f"{n}.jpg", seed=n, size=(96, 96))
    go_on = threading.Event()

    class Gate(Slow):
        def embed(self, inputs: Any) -> Any:
            if all(i.role == "document" for i in inputs):  # its self-check asks with queries among them
                assert go_on.wait(120)
            return self.inner.embed(inputs)

    monkeypatch.setattr(LiteEmbedder, "load", classmethod(lambda cls: lite))
    with shared(tmp_path, database) as library:
        library.index([folder])  # the model is known from now on
        for n in range(24):
            media.draw_image(folder / f"{n}.jpg", seed=100 + n, size=(96, 96))
    monkeypatch.setattr(LiteEmbedder, "load", classmethod(lambda cls: Gate(lite, 0.0)))
    reports: list[Any] = []
    with shared(tmp_path, database) as library:
        thread = threading.Thread(target=lambda: reports.append(library.index()))
        thread.start()
        try:
            wait_for(lambda: library.catalogue.files.counts().pending == 24, 60)
            wait_for(lambda: library.catalogue.leases.count() > 0, 60)
            made = work(tmp_path, database, loader=lambda *_, **__: lite)
        finally:
            go_on.set()
            thread.join()
    assert 0 < made < 24 and reports[0].chunks == 24


def test_a_worker_that_is_started_before_everything_else_waits_and_says_for_what(tmp_path: Path, folder: Path) -> None:
    """First there is no server, then no library, then nothing indexed; then it works."""
    with postgresql.running() as server:
        database = server.database()
        server.kill()
        worker = Worker(tmp_path / "early", database, name="early", nice=False)
        said: list[str] = []
        stop = threading.Event()
        thread = threading.Thread(target=worker.run, args=(stop, said.append))
        thread.start()
        try:
            wait_for(lambda: said and "does not answer" in said[-1], 60)
            assert "It waits and goes on by itself." in said[-1]
            server.start()
            wait_for(lambda: "There is no library at" in said[-1], 60)
            with shared(tmp_path, database) as library:
                library.index([folder])  # the worker takes its part beside it
                chunks = library.status().chunks
                forget_chunks(library)
                wait_for(lambda: library.catalogue.files.counts().pending == 0, 60)
        finally:
            stop.set()
            thread.join()
            worker.close()
        assert chunks <= worker.tally.chunks <= 2 * chunks


def test_a_worker_with_a_wrong_password_ends_at_once(
    tmp_path: Path, folder: Path, database: str, postgresql_server: Server
) -> None:
    with shared(tmp_path, database) as library:
        library.index([folder])
    name = database.rpartition("/")[2]
    postgresql_server.sql(
        "DO $$ BEGIN CREATE ROLE guarded LOGIN PASSWORD 'right'; EXCEPTION WHEN duplicate_object THEN END $$",
        database=name,
    )
    with pytest.raises(LibraryError, match="refuses the user or the password"):
        work(tmp_path, database.replace("sightline@", "guarded:wrong@"))


# -- who may not work here -------------------------------------------------------------------------


def test_another_model_is_refused_by_name(tmp_path: Path, folder: Path, database: str, lite: Any) -> None:
    class Other:
        id, dim, max_frames = "other@1-r1", lite.dim, lite.max_frames

    with shared(tmp_path, database) as library:
        library.index([folder])
        with pytest.raises(LibraryError, match=r"embeds with other@1-r1, the library at .* with lite@.*never mix"):
            work(tmp_path, database, model={"name": "other"}, loader=lambda name, **o: Other())
        assert library.catalogue.leases.workers() == []


def test_a_model_that_is_changed_under_a_worker_ends_it_by_name(tmp_path: Path, folder: Path, database: str) -> None:
    with shared(tmp_path, database) as library:
        library.index([folder])
        worker = Program("worker", database, tmp_path / "one", name="one", lease_s=1.0)
        try:
            wait_for(lambda: library.catalogue.leases.workers())
            with library.catalogue.database.writer() as c:
                c.exec_driver_sql("UPDATE model SET name = 'newer@2-r1'")
            assert worker.process.wait(30) == 1
            worker.end()
            wait_for(lambda: any("refused: " in s and "newer@2-r1" in s for s in worker.said))
        finally:
            worker.end()


def test_another_schema_is_refused_by_name(
    postgresql_server: Server, tmp_path: Path, folder: Path, database: str
) -> None:
    with shared(tmp_path, database) as library:
        library.index([folder])
    name = database.rsplit("/", 1)[1]
    with pytest.raises(LibraryError, match=r"There is no library at .* yet"):
        work(tmp_path, postgresql_server.database())
    for other, told in ((1, r"brought up to date first \(schema 1, this one knows"), (999, "newer Sightline")):
        postgresql_server.sql(f"UPDATE schema_version SET version = {other}", database=name)
        with pytest.raises(LibraryError, match=told):
            work(tmp_path, database)


def test_an_embedded_library_has_no_workers(tmp_path: Path) -> None:
    for given in (None, "", str(tmp_path / "catalogue.sqlite")):
        with pytest.raises(LibraryError, match=r"--catalogue postgresql\+psycopg://USER@HOST/DATABASE"):
            Worker(tmp_path, given)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["/mnt/nas"], "maps nothing: write --map HERE=THERE"),
        (["nas=/volume1"], "nas is no folder from the top"),
        (["=/volume1"], "nothing is no folder from the top"),
        (["/mnt/nas=volume1"], "maps nothing"),
        (["/a=/volume1", "/b=/volume1/"], "/volume1 is mapped twice"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(LibraryError, match=message):
        Mounts(pairs)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("/volume1=/mnt/nas", "wrong way round: write --map /mnt/nas=/volume1"),
        ("/mnt/nas=/volume2", r"no folder under /volume2; it has /volume1/photo"),
        ("/mnt/nas=/volume1/photo/2024", "maps a part of the library's folder /volume1/photo"),
    ],
)
def test_a_mapping_that_the_library_knows_nothing_of_is_refused(pair: str, message: str) -> None:
    with pytest.raises(LibraryError, match=message):
        Mounts([pair]).check([Path("/volume1/photo")])


def test_the_longest_mapping_counts_and_what_is_not_mapped_keeps_its_name() -> None:
    mounts = Mounts(["/mnt/nas=/volume1", "/fast=/volume1/photo", "/mnt/a=b=/=c"])
    assert mounts.here("/volume1/film/a.mp4") == "/mnt/nas/film/a.mp4"
    assert mounts.here("/volume1/photo/b.jpg") == "/fast/b.jpg"
    assert mounts.here("/volume1") == "/mnt/nas" and mounts.here("/volume10/c") == "/volume10/c"
    assert mounts.here("/=c/d") == "/mnt/a=b/d" or mounts.here("/home/me") == "/home/me"
    for path in ("/volume1/film/a.mp4", "/volume1/photo/b.jpg", "/volume1", "/volume10/c", "/home/me"):
        assert mounts.there(mounts.here(path)) == path


# -- killed ------------------------------------------------------------------------------------------


SLOW_S = 0.05
"""A chunk, so that there is a middle to kill in."""


def begun(tmp_path: Path, database: str, folder: Path, workers: int) -> tuple[Any, list[Program]]:
    """What an undisturbed run makes of a folder; a watcher and workers that make it again."""
    with shared(tmp_path, database) as library:
        expected = pending_again(library, folder)
    options = {"slow_s": SLOW_S}
    programs = [Program("watcher", database, tmp_path / "watcher", folder=str(folder), **options)]
    programs += [
        Program("worker", database, tmp_path / f"w{n}", name=f"w{n}", lease_s=3.0, **options) for n in range(workers)
    ]
    return expected, programs


def same_library(tmp_path: Path, database: str, expected: Any) -> None:
    with shared(tmp_path, database) as library:
        assert library.catalogue.files.counts().pending == 0 and library.catalogue.leases.count() == 0
        assert contents_of(library) == expected
        assert library.verify().problems == []


def in_the_middle(database: str, name: str, seconds: float) -> int:
    """So long after a worker has something; returns how many contents are pending then."""
    catalogue = Catalogue(place(database))
    try:
        wait_for(lambda: any(w.holds for w in catalogue.leases.workers() if w.name == name), 120)
        time.sleep(seconds)
        return catalogue.files.counts().pending
    finally:
        catalogue.close()


def worker_killed(tmp_path: Path, server: Server, folder: Path, seed: int) -> bool:
    """A watcher and two workers; one of these is killed in the middle of it, and started again or not.
    Returns whether anything was left to do then."""
    chance = random.Random(seed)
    database = server.database()
    expected, programs = begun(tmp_path, database, folder, workers=2)
    watcher, killed, other = programs
    try:
        left = in_the_middle(database, "w0", chance.uniform(0, 1.5))
        killed.kill()
        if chance.random() < 0.7:
            killed.start()
        watcher.wait()
        other.end()
        killed.end()
    finally:
        for each in programs:
            each.end()
    same_library(tmp_path, database, expected)
    return left > 0


def server_killed(tmp_path: Path, server: Server, folder: Path, seed: int) -> bool:
    """The database dies as in a power cut under a watcher and a worker, and comes back."""
    chance = random.Random(seed)
    database = server.database()
    expected, programs = begun(tmp_path, database, folder, workers=1)
    try:
        left = in_the_middle(database, "w0", chance.uniform(0, 1.5))
        server.kill()
        with pytest.raises(CatalogueAway):
            Catalogue(place(database))
        for each in programs if left > 10 else ():
            wait_for(lambda each=each: says_that_it_waits(each), 60)
            assert each.process.poll() is None, each.said
        server.start()
        programs[0].wait()
        assert programs[1].process.poll() is None, programs[1].said
    finally:
        server.start_again()
        for each in programs:
            each.end()
    same_library(tmp_path, database, expected)
    return left > 0


GOES_ON = re.compile("goes on (by itself|when the server answers)")


def says_that_it_waits(program: Program) -> bool:
    return any("The database server of" in line and GOES_ON.search(line) for line in program.said)


@pytest.mark.long
def test_a_worker_that_is_killed_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, postgresql_server: Server
) -> None:
    folder = draw(tmp_path / "media", photos=60, pages=6, seconds=65.0)
    assert worker_killed(tmp_path, postgresql_server, folder, seed=0)


@pytest.mark.long
def test_a_database_that_is_killed_is_waited_for(tmp_path: Path) -> None:
    folder = draw(tmp_path / "media", photos=60, pages=6, seconds=65.0)
    with postgresql.running() as server:
        assert server_killed(tmp_path, server, folder, seed=0)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_workers_killed_lose_nothing(tmp_path: Path, postgresql_server: Server) -> None:
    folder = draw(tmp_path / "media", photos=60, pages=6, seconds=65.0)
    hits = [worker_killed(tmp_path / str(n), postgresql_server, folder, n) for n in range(1, 21)]
    assert sum(hits) >= 15


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_databases_killed_lose_nothing(tmp_path: Path) -> None:
    folder = draw(tmp_path / "media", photos=60, pages=6, seconds=65.0)
    with postgresql.running() as server:
        hits = [server_killed(tmp_path / str(n), server, folder, n) for n in range(1, 21)]
    assert sum(hits) >= 15


@pytest.mark.parametrize("first", ["counts", "newest_embedding"])
def test_a_database_that_goes_away_before_anything_is_known_ends_no_run(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr("indexer.pipeline.run.AWAY_S", 0.05)
    with Library.open(tmp_path / "home", nice=False, ocr="off") as library:
        part = library.catalogue.files if first == "counts" else library.catalogue.contents
        real, left = getattr(part, first), [3]

        def away(*given: Any) -> Any:
            left[0] -= 1
            if left[0] >= 0:
                raise CatalogueAway("The database server of X does not answer.")
            return real(*given)

        monkeypatch.setattr(part, first, away)
        seen: list[Status] = []
        report = library.index([folder], progress=seen.append)
        assert report.files == 5 and report.failed == 0
        if first == "counts":
            assert "does not answer" in seen[0].notices[0] and "goes on by itself" in seen[0].notices[0]
        assert seen[-1].files == 5 and seen[-1].notices == ()


def test_a_search_and_the_status_say_in_one_line_that_the_database_is_away(tmp_path: Path, folder: Path) -> None:
    with postgresql.running() as server, shared(tmp_path, server.database()) as library:
        library.index([folder])
        files = library.status().files
        server.kill()
        status = library.status()
        assert status.files == files and "does not answer" in status.notices[0]
        with pytest.raises(CatalogueAway, match=r"The database server of .* (does not answer|is starting)"):
            library.search(Query((Part(text="bananas"),)))
        server.start()
        assert library.search(Query((Part(text="bananas"),))).hits
        assert not any("does not answer" in n for n in library.status().notices)
