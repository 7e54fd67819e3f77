"""Many workers, one library: each content is one worker's at a time, and none is lost with a worker."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.catalogue.schema import Where
from indexer.errors import LeaseLost, LibraryError

VECTOR = np.array([1.0, 0.0, 0.0, 0.0], np.float32)
LONG = 60.0


@pytest.fixture
def catalogue(where: Where) -> Iterator[Catalogue]:
    made = Catalogue(where)
    made.models.add("m", 4)
    yield made
    made.close()


def put(catalogue: Catalogue, root: str, *names: str) -> int:
    """Pending images, the content of each being its name; returns the root's id."""
    root_id = catalogue.files.set_root(Path(root))
    catalogue.files.note(root_id, [FoundFile(f"{root}/{name}", "image", (1, 2, 3)) for name in names])
    hashed = catalogue.queue.unhashed(10_000)
    catalogue.queue.hashed([(f, f.stamp, digest(Path(f.path).name)) for f in hashed])
    return root_id


def digest(name: str) -> bytes:
    return name.encode().rjust(32, b"-")


def enrol(catalogue: Catalogue, name: str) -> int:
    return catalogue.leases.enrol(name, f"{name}-box", "1.0", "m", {"/r": f"/mnt/{name}"})


def pass_by(catalogue: Catalogue, seconds: float) -> None:
    """The leases are so much older from now on."""
    with catalogue.database.writer() as c:
        c.exec_driver_sql("UPDATE claim SET until = until - ?", (seconds,))


def taken(catalogue: Catalogue, worker: int, limit: int = 10, lease_s: float = LONG) -> list[str]:
    return [Path(c.work.files[0][0]).name for c in catalogue.leases.take(worker, limit, lease_s)]


def test_what_one_worker_has_no_other_gets(catalogue: Catalogue) -> None:
    put(catalogue, "/r", "a", "b", "c")
    one, two = enrol(catalogue, "one"), enrol(catalogue, "two")
    assert taken(catalogue, one, 2) == ["a", "b"]
    assert taken(catalogue, two) == ["c"]
    assert taken(catalogue, one) == taken(catalogue, two) == []
    assert catalogue.leases.count() == 3


@pytest.mark.slow
def test_a_lease_that_runs_out_returns_and_a_heartbeat_prolongs_it(catalogue: Catalogue) -> None:
    put(catalogue, "/r", "a", "b")
    dead, alive = enrol(catalogue, "dead"), enrol(catalogue, "alive")
    assert taken(catalogue, dead, 1) == ["a"]
    assert taken(catalogue, alive, 1) == ["b"]
    assert catalogue.leases.heartbeat(alive, 10 * LONG, "reading b") == {digest("b")}
    pass_by(catalogue, 2 * LONG)
    (again,) = catalogue.leases.take(alive, 10, LONG)
    assert (again.work.hash, again.attempt) == (digest("a"), 2)
    assert catalogue.leases.heartbeat(dead, LONG) == set()


@pytest.mark.slow
def test_a_result_is_written_only_while_the_lease_is_held(catalogue: Catalogue) -> None:
    put(catalogue, "/r", "a")
    late, swift = enrol(catalogue, "late"), enrol(catalogue, "swift")
    model = catalogue.models.answering()
    assert model is not None
    taken(catalogue, late, 1)
    pass_by(catalogue, 2 * LONG)
    taken(catalogue, swift)
    with pytest.raises(LeaseLost, match="ran out before it was written"):
        catalogue.contents.write(digest("a"), {}, [NewChunk(0, VECTOR, text="late")], model.id, worker=late)
    with pytest.raises(LeaseLost):
        catalogue.contents.fail(digest("a"), "broken", worker=late)
    assert catalogue.contents.chunks_of(digest("a")) == [] and catalogue.files.counts().pending == 1
    catalogue.contents.write(digest("a"), {}, [NewChunk(0, VECTOR, text="swift")], model.id, worker=swift)
    assert [p.text for p in catalogue.contents.chunks_of(digest("a"))] == ["swift"]
    assert (catalogue.leases.count(), taken(catalogue, late)) == (0, [])
    with pytest.raises(LeaseLost):  # twice is once too often
        catalogue.contents.write(digest("a"), {}, [NewChunk(0, VECTOR)], model.id, worker=swift)


def test_work_given_back_is_anybodys_at_once(catalogue: Catalogue) -> None:
    put(catalogue, "/r", "a", "b", "c")
    one, two = enrol(catalogue, "one"), enrol(catalogue, "two")
    taken(catalogue, one)
    assert catalogue.leases.release(one, [digest("b")]) == 1
    assert taken(catalogue, two) == ["b"]
    assert catalogue.leases.release(one) == 2
    catalogue.leases.dismiss(two)
    assert taken(catalogue, one) == ["a", "b", "c"]


def test_a_worker_gets_only_what_it_can_see(catalogue: Catalogue) -> None:
    put(catalogue, "/r", "a")
    other = put(catalogue, "/s", "b")
    one = enrol(catalogue, "one")
    assert [c.work.hash for c in catalogue.leases.take(one, 9, LONG, roots=[other])] == [digest("b")]
    assert catalogue.leases.take(one, 9, LONG, ("video", "pdf")) == []
    catalogue.files.set_root(Path("/r"), "away")
    assert catalogue.leases.take(one, 9, LONG) == []


def test_vectors_that_lack_and_words_unread_are_work_too(catalogue: Catalogue) -> None:
    put(catalogue, "/r", "a")
    one = enrol(catalogue, "one")
    model = catalogue.models.answering()
    assert model is not None
    (chunk,) = catalogue.contents.write(digest("a"), {}, [NewChunk(0, VECTOR)], model.id, ocr="pending")
    (work,) = catalogue.leases.take(one, 9, LONG, stage="ocr")
    catalogue.contents.write_ocr(work.work.hash, {chunk: "words"}, model.id, {}, worker=one)
    assert catalogue.leases.take(one, 9, LONG, stage="ocr") == []
    new = catalogue.models.add("n", 4)
    (work,) = catalogue.leases.take(one, 9, LONG, stage="embed", model_id=new.id)
    catalogue.contents.add_embeddings(new.id, [chunk], [VECTOR], lease=(work.work.hash, one))
    assert catalogue.leases.take(one, 9, LONG, stage="embed", model_id=new.id) == [] and catalogue.leases.count() == 0


def test_a_machine_whose_clock_is_an_hour_off_changes_nothing(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalogue, "/r", "a", "b")
    one, two = enrol(catalogue, "one"), enrol(catalogue, "two")
    assert taken(catalogue, one, 1) == ["a"]
    real = time.time
    for hours in (-1, 1):
        monkeypatch.setattr(time, "time", lambda hours=hours: real() + hours * 3600.0)
        assert catalogue.leases.heartbeat(one, LONG) == {digest("a")}
        assert taken(catalogue, two, 9, LONG) == (["b"] if hours < 0 else [])
        assert [round(w.silent_s) for w in catalogue.leases.workers()] == [0, 0]


def test_workers_are_listed_with_what_they_are_and_do(catalogue: Catalogue) -> None:
    put(catalogue, "/r", "a", "b")
    one = enrol(catalogue, "one")
    taken(catalogue, one)
    catalogue.leases.heartbeat(one, LONG, "reading a")
    (row,) = catalogue.leases.workers()
    assert (row.name, row.host, row.version, row.model) == ("one", "one-box", "1.0", "m")
    assert (row.maps, row.told, row.holds) == ({"/r": "/mnt/one"}, "reading a", 2)
    assert enrol(catalogue, "one") == one and catalogue.leases.workers()[0].holds == 2
    catalogue.leases.dismiss(one)
    assert catalogue.leases.workers() == []
    with pytest.raises(LibraryError, match="taken off the library's list"):
        catalogue.leases.heartbeat(one, LONG)


@pytest.mark.slow
def test_many_workers_at_once_do_everything_once(catalogue: Catalogue) -> None:
    names = [f"{n:03}" for n in range(120)]
    put(catalogue, "/r", *names)
    model = catalogue.models.answering()
    assert model is not None
    done: list[bytes] = []
    errors: list[BaseException] = []

    def work(number: int) -> None:
        own = Catalogue(catalogue.database.where)
        try:
            me = enrol(own, f"w{number}")
            while claims := own.leases.take(me, 3, LONG):
                for each in claims:
                    own.contents.write(each.work.hash, {}, [NewChunk(0, VECTOR)], model.id, worker=me)
                    done.append(each.work.hash)
        except BaseException as error:  # noqa: BLE001 – told by the assertion below
            errors.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    assert sorted(done) == sorted(digest(n) for n in names)
    assert (catalogue.files.counts().pending, catalogue.files.counts().chunks, catalogue.leases.count()) == (0, 120, 0)
