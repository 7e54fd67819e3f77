"""Libraries whose vectors are on a real Milvus server: the same answers, refusals by name, bad hours."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.errors import LibraryError, VectorServerError
from indexer.library import Library
from indexer.types import Filters, Part, Query
from indexer.vectors.address import Address, address_of
from indexer.vectors.milvus.collection import VectorCollection
from indexer.vectors.milvus.index import MilvusIndex
from tests.indexer.conftest import OpenLibrary, wait_for
from tests.indexer.vectors.vector_table import DIM, Table, assert_same, unit
from tests.milvus_server import RunningMilvus, why_not
from tests.postgresql import Server

QUESTIONS = ("an invoice for bananas", "greetings from the harbour", "a red square", "a film", "photo 1")


@pytest.fixture
def vectors(milvus: RunningMilvus) -> Iterator[str]:
    """The address of a library that nobody has on the server."""
    url = milvus.url(f"t{uuid.uuid4().hex[:12]}")
    yield url
    client = VectorCollection(address_of(url), "", 1, "")._connected()
    for name in client.list_collections():
        if name.startswith(url.rpartition("/")[2]):
            client.drop_collection(name)


def answers(library: Library, k: int = 10) -> list[dict[tuple[str, int | None], float]]:
    """Hits and scores of each question."""
    asked = [Query(parts=(Part(text=text),)) for text in QUESTIONS]
    found = [library.search(query, k) for query in asked]
    return [{(h.path, h.chunk_id): h.score for h in answer.hits} for answer in found]


def assert_alike(library: Library, other: Library) -> None:
    for ours, theirs in zip(answers(library), answers(other), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(abs(score - theirs[hit]) <= 1e-3 for hit, score in ours.items())


def test_a_library_on_milvus_answers_as_the_embedded_one(folder: Path, open_library: OpenLibrary, vectors: str) -> None:
    library = open_library(vectors=vectors)
    library.index([folder])
    embedded = open_library(read_only=True)
    assert len(library.vector_index()) == len(embedded.vector_index()) == 7
    assert_alike(library, embedded)
    assert not [n for n in library.status().notices if "vector server" in n]


def test_catalogue_and_vectors_both_on_servers_answer_as_the_embedded_library(
    folder: Path, tmp_path: Path, open_library: OpenLibrary, vectors: str, postgresql_server: Server
) -> None:
    embedded = open_library()
    embedded.index([folder])
    place = {"catalogue": postgresql_server.database(), "vectors": vectors, "nice": False, "ocr": "off"}
    with Library.open(tmp_path / "on servers", **place) as library:
        library.index([folder])
        assert library.verify().problems == []
        for text in QUESTIONS:
            query = Query(parts=(Part(text=text),))
            ours, theirs = library.search(query, 10).hits, embedded.search(query, 10).hits
            scores = {(h.path, h.span.page, h.span.start_s): h.score for h in theirs}
            assert {(h.path, h.span.page, h.span.start_s) for h in ours} == scores.keys()
            assert all(abs(h.score - scores[h.path, h.span.page, h.span.start_s]) <= 1e-3 for h in ours)
    with Library.open(tmp_path / "on servers", read_only=True, **place) as again:
        assert again.search(Query(parts=(Part(text="invoice"),))).hits


def test_filters_reach_into_the_server(folder: Path, open_library: OpenLibrary, vectors: str) -> None:
    library = open_library(vectors=vectors)
    library.index([folder])
    embedded = open_library(read_only=True)
    for narrowed in (
        Query((Part(text="harbour"),), Filters(kinds=("pdf",))),
        Query(parts=(Part(text="a picture name:photo"),)),
        Query((Part(text="anything"),), Filters(under=folder / "none")),
        Query(parts=(Part(text="-banana letter"),)),
    ):
        ours, theirs = library.search(narrowed), embedded.search(narrowed)
        assert [h.chunk_id for h in ours.hits] == [h.chunk_id for h in theirs.hits]


def test_folders_are_filtered_inside_the_server_by_their_roots(
    folder: Path, tmp_path: Path, open_library: OpenLibrary, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture lies in both folders; another moves from one to the other; then one folder is forgotten."""
    second = tmp_path / "second"
    second.mkdir()
    shutil.copy(folder / "photo 1.jpg", second / "copy.jpg")
    library = open_library(vectors=vectors)
    library.index([folder, second])
    asked: list[str] = []
    search = VectorCollection.search

    def listening(self: VectorCollection, queries: np.ndarray, k: int, expression: str, level: str) -> object:
        asked.append(expression)
        return search(self, queries, k, expression, level)

    monkeypatch.setattr(VectorCollection, "search", listening)

    def names(under: Path, found_by: Library) -> set[str]:
        query = Query((Part(text="a square"),), Filters(under=under, kinds=("image",)))
        return {Path(h.path).name for h in found_by.search(query).hits}

    assert names(folder, library) == {"photo 0.jpg", "photo 1.jpg", "photo 2.jpg"}
    assert names(second, library) == {"copy.jpg"}
    assert names(tmp_path, library) == {"photo 0.jpg", "photo 1.jpg", "photo 2.jpg"}
    (folder / "photo 2.jpg").rename(second / "photo 2.jpg")
    library.index()
    assert names(folder, library) == {"photo 0.jpg", "photo 1.jpg"}
    assert names(second, library) == {"copy.jpg", "photo 2.jpg"}
    assert library.vector_index().misplaced() == 0
    (second / "copy.jpg").unlink()
    library.index()
    assert names(second, library) == {"photo 2.jpg"}
    library.forget(folder)
    assert names(folder, library) == set()
    assert names(second, library) == {"photo 2.jpg"}
    assert asked and all("array_contains_any(root, [" in e and "id in" not in e for e in asked)
    assert library.verify().problems == []


def test_verify_finds_vectors_that_the_server_has_in_another_folder(
    folder: Path, open_library: OpenLibrary, vectors: str
) -> None:
    library = open_library(vectors=vectors)
    library.index([folder])
    index = library.vector_index()
    assert isinstance(index, MilvusIndex)
    ids, held, groups = next(index.contents())
    index._collection.upsert(ids[:2], held[:2], groups[:2], [(77,), ()])
    report = library.verify(repair=True)
    assert report.problems == ["The vector index places 2 chunks in folders where they are not."]
    assert report.repaired == 1 and library.verify().problems == []


@pytest.mark.long
def test_a_collection_of_an_older_sightline_is_refused_by_name_and_made_again_by_verify(
    folder: Path, open_library: OpenLibrary, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made as schema 1 made it: no field for the roots."""
    from pymilvus import MilvusClient

    from indexer.vectors.milvus import collection

    def of_old(self: MilvusClient, name: str, schema: Any, **rest: Any) -> None:
        schema._fields = [f for f in schema.fields if f.name != "root"]
        create(self, name, schema=schema, **rest)

    create, upsert = MilvusClient.create_collection, MilvusClient.upsert
    with monkeypatch.context() as old:
        old.setattr(collection, "SHAPE", "1")
        old.setattr(MilvusClient, "create_collection", of_old)
        old.setattr(
            MilvusClient,
            "upsert",
            lambda self, name, rows, **rest: upsert(
                self, name, [{k: v for k, v in r.items() if k != "root"} for r in rows], **rest
            ),
        )
        before = open_library(vectors=vectors)
        before.index([folder])
        before.close()
    library = open_library(vectors=vectors)
    refused = r"collection t\w+ on .* an older Sightline, without folders: run `sightline verify --repair`"
    with pytest.raises(VectorServerError, match=refused):
        library.search(Query(parts=(Part(text="invoice"),)))
    assert any("verify --repair" in n for n in library.status().notices)
    report = library.verify(repair=True)
    assert report.repaired == 1 and "made by an older Sightline" in report.problems[0]
    assert_alike(library, open_library(read_only=True))
    assert library.verify().problems == []
    (folder / "photo 0.jpg").unlink()
    library.index()
    assert len(library.vector_index()) == 6
    monkeypatch.setattr(collection, "SHAPE", "0")  # a program that is older still
    with pytest.raises(VectorServerError, match="was made by a newer Sightline: update this one"):
        open_library(vectors=vectors, read_only=True).search(Query(parts=(Part(text="invoice"),)))


def test_what_is_forgotten_is_gone_from_the_server(folder: Path, open_library: OpenLibrary, vectors: str) -> None:
    library = open_library(vectors=vectors)
    library.index([folder])
    (folder / "photo 0.jpg").unlink()
    library.index()
    assert len(library.vector_index()) == 6
    library.forget(folder)
    assert not library.search(Query(parts=(Part(text="photo"),))).hits
    library.vector_index().catch_up()
    assert len(library.vector_index()) == 0


def test_a_second_program_finds_what_the_first_one_wrote(folder: Path, open_library: OpenLibrary, vectors: str) -> None:
    first = open_library(vectors=vectors)
    first.index([folder])
    second = open_library(vectors=vectors, read_only=True)
    assert_alike(first, second)
    assert second.vector_index().catch_up() == 0


def test_any_program_sends_what_another_one_left_behind(folder: Path, open_library: OpenLibrary, vectors: str) -> None:
    """The first is told of no server, as one that was stopped before it had sent anything."""
    open_library(vectors=None).index([folder])
    library = open_library(vectors=vectors)
    assert len(library.search(Query(parts=(Part(text="invoice"),))).hits) > 0
    wait_for(lambda: len(library.vector_index()) == 7)  # a search waits three seconds for the server, and no longer


def test_an_unknown_server_stops_no_indexing_and_is_told_in_one_line(
    folder: Path, open_library: OpenLibrary, vectors: str
) -> None:
    away = open_library(vectors="milvus://127.0.0.1:9/home")
    report = away.index([folder])
    assert report.files == 5 and report.failed == 0
    told = [n for n in away.status().notices if "vector server" in n]
    assert told == [
        "The vector server 127.0.0.1:9 does not answer; start it, or check --vectors. Nothing is lost: "
        "new vectors are sent when it answers again."
    ]
    with pytest.raises(VectorServerError, match="does not answer"):
        away.search(Query(parts=(Part(text="invoice"),)))
    assert away.verify().problems == told
    away.close()
    there = open_library(vectors=vectors)
    assert there.search(Query(parts=(Part(text="invoice"),))).hits
    assert there.verify().problems == []


def test_status_of_a_program_that_only_looks_names_the_server_that_is_away(
    folder: Path, open_library: OpenLibrary
) -> None:
    open_library().index([folder])
    looking = open_library(vectors="milvus://127.0.0.1:9/home", read_only=True)
    assert any("does not answer" in n for n in looking.status().notices)


def test_verify_finds_what_is_not_the_catalogues_and_mends_it(
    folder: Path, open_library: OpenLibrary, vectors: str
) -> None:
    library = open_library(vectors=vectors)
    library.index([folder])
    index = library.vector_index()
    ids, held, groups = next(index.contents())
    harms: dict[str, Callable[[], None]] = {
        "lacks 2": lambda: index.remove(ids[:2]),
        "holds 1": lambda: index.add(np.array([10_000]), held[:1], groups[:1]),
        "1 vectors that differ": lambda: index.add(ids[:1], held[1:2], groups[:1]),
        "2 vectors that differ": lambda: index.add(ids[:2], held[:2], (groups[:2] + 1) % 3),
    }
    for told, harm in harms.items():
        harm()
        report = library.verify(repair=True)
        assert len(report.problems) == report.repaired == 1 and told in report.problems[0]
    assert library.verify().problems == []


def test_a_collection_that_was_dropped_is_made_again(folder: Path, open_library: OpenLibrary, vectors: str) -> None:
    library = open_library(vectors=vectors)
    library.index([folder])
    before = answers(library)
    index = library.vector_index()
    assert isinstance(index, MilvusIndex)
    index._collection.drop()
    with pytest.raises(VectorServerError, match="made again"):
        library.search(Query(parts=(Part(text="invoice"),)))
    wait_for(lambda: index.trouble is None, 60)
    assert answers(library) == before


@pytest.mark.long
def test_a_collection_that_outgrows_the_full_scan_is_searched_through_a_graph(
    vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexer.vectors.milvus import index as engine

    monkeypatch.setattr(engine, "EXACT_ROWS", 1000)
    rng = np.random.default_rng(3)
    table = Table()
    table.put(np.arange(900), unit(rng, 900), rng.integers(0, 3, 900))
    index = opened(vectors, table=table)
    index.catch_up()
    assert index._collection.exact
    table.put(np.arange(900, 3000), unit(rng, 2100), rng.integers(0, 3, 2100))
    index.catch_up()
    assert not index._collection.exact and len(index) == 3000
    found = wanted = 0
    for query in unit(rng, 40):
        best = table.best(query, 10, group=1)
        scores, ids = index.search(query[None], 10, group=1)
        assert np.allclose(scores[0], [table.rows[i][0].astype(np.float32) @ query for i in ids[0]], atol=1e-5)
        found, wanted = found + len(set(best) & set(ids[0].tolist())), wanted + 10
    assert found / wanted >= 0.98
    client = index._collection._connected()
    client.release_collection(index._collection.name)
    client.drop_index(index._collection.name, "vector")  # as when a program ends in the middle
    again = opened(vectors, table=table)
    assert len(again) == 3000 and not again._collection.exact
    index.close()
    again.close()


@pytest.mark.long
def test_never_more_rows_wait_outside_the_graph_than_the_server_looks_through_one_by_one(
    vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 4,992 rows on Milvus 2.3 guesses. Whoever sends: much at once, or after a program that ended."""
    from indexer.vectors.milvus import index as engine

    monkeypatch.setattr(engine, "EXACT_ROWS", 100)
    monkeypatch.setattr(engine, "FLUSH_ROWS", 60)
    waiting, most = 0, 0
    upsert, flush = VectorCollection.upsert, VectorCollection.flush

    def counted(self: VectorCollection, ids: np.ndarray, *rest: Any) -> None:
        nonlocal waiting, most
        waiting += len(ids)
        most = max(most, 0 if self.exact else waiting)
        upsert(self, ids, *rest)

    def flushed(self: VectorCollection) -> None:
        nonlocal waiting
        flush(self)
        waiting = 0

    monkeypatch.setattr(VectorCollection, "upsert", counted)
    monkeypatch.setattr(VectorCollection, "flush", flushed)
    rng = np.random.default_rng(4)
    table = Table()
    for n in (150, 70, 40):
        index = opened(vectors, table=table)
        table.put(np.arange(len(table.rows), len(table.rows) + n), unit(rng, n), np.zeros(n, np.uint8))
        index.catch_up()
        assert_same(index, table, unit(rng, 1)[0], 10)
        assert not index._collection.exact
        index.close()
    assert 40 <= most <= 60


# -- refusals --------------------------------------------------------------------------------


def opened(address: str, dim: int = DIM, table: Table | None = None) -> MilvusIndex:
    table = table or Table()
    index = MilvusIndex(address_of(address), "lite@x-r1", dim, table)
    if not table.rows:
        table.put(np.arange(3), unit(np.random.default_rng(0), 3, dim), np.zeros(3, np.uint8))
    return index


def test_a_collection_of_another_dimension_is_refused_by_name(vectors: str) -> None:
    first = opened(vectors)
    first.catch_up()
    other = opened(vectors, dim=24)
    with pytest.raises(VectorServerError, match=r"collection t\w+_lite_x_r1_\w+ on .* holds vectors of 16"):
        other.catch_up()
    assert other.trouble and "choose another name in --vectors" in other.trouble
    assert len(first) == 3
    first.close()
    other.close()


def test_a_collection_of_another_library_is_refused(vectors: str) -> None:
    first, other = opened(vectors), opened(vectors)
    first.catch_up()
    with pytest.raises(VectorServerError, match="belongs to another library"):
        other.catch_up()
    with pytest.raises(VectorServerError, match="belongs to another library"):
        other.search(np.ones((1, DIM), np.float32), 3)
    first.close()
    other.close()


def test_a_server_of_another_version_is_refused_by_name(vectors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymilvus import MilvusClient

    for version in ("v2.2.16", "v4.0.1"):
        monkeypatch.setattr(MilvusClient, "get_server_version", lambda *_, v=version, **__: v)
        index = opened(vectors)
        with pytest.raises(VectorServerError, match=f"is Milvus {version}; Sightline works with 2.3.2 to 3.x"):
            index.catch_up()
        index.close()


def test_a_server_that_is_no_milvus_is_told_in_one_line(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    index = opened(f"milvus://127.0.0.1:{server.server_port}/home")
    with pytest.raises(VectorServerError, match="does not answer; start it, or check --vectors"):
        index.catch_up()
    index.close()
    server.shutdown()


@pytest.mark.parametrize(
    "address",
    ["milvus://box", "milvs://box/home", "box:19530/home", "milvus://box:x/home", "milvus+lite:///a/b.sqlite"],
)
def test_an_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="--vectors is milvus://"):
        Library.open(tmp_path, vectors=address)


def test_a_name_for_collections_has_plain_letters() -> None:
    with pytest.raises(LibraryError, match="letters, digits and underscores"):
        address_of("milvus://box/my-home")


def test_addresses_say_what_they_mean_and_hide_the_password() -> None:
    shown = address_of("milvus+tls://ann:s%40cret@box:19531/home")
    assert shown == Address("https://box:19531", "ann:s@cret", "home", "box:19531", Path())
    assert address_of("milvus://box/home").uri == "http://box:19530"
    assert address_of("milvus+lite:///data/v.db").path == Path("/data/v.db")


def test_milvus_lite_serves_one_program_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    import subprocess
    import sys

    index = opened(f"milvus+lite://{tmp_path}/v.db")
    index.catch_up()
    told = subprocess.run(
        [sys.executable, "-c", OTHER_PROGRAM, str(tmp_path / "v.db")], capture_output=True, text=True, timeout=60
    )
    assert "another program may have it open" in told.stdout, told.stderr
    index.close()


OTHER_PROGRAM = """
import sys
from tests.indexer.vectors.test_milvus import opened
try:
    opened(f"milvus+lite://{sys.argv[1]}").catch_up()
except Exception as error:
    print(error)
"""


# -- several programs ------------------------------------------------------------------------


def test_programs_that_send_at_once_leave_nothing_out_and_nothing_twice(vectors: str) -> None:
    """Three follow one journal while it grows, shrinks and changes; each may be the one that sends."""
    table = Table()
    programs = [opened(vectors, table=table) for _ in range(3)]
    rng = np.random.default_rng(1)
    done = threading.Event()

    def follow(index: MilvusIndex) -> None:
        while not done.is_set():
            index.follow()
            time.sleep(0.01)

    threads = [threading.Thread(target=follow, args=(p,)) for p in programs]
    for thread in threads:
        thread.start()
    for _ in range(25):
        ids = rng.choice(60, 12, replace=False)
        with table.lock:
            table.put(ids, unit(rng, 12), rng.integers(0, 3, 12).astype(np.uint8))
            table.drop(rng.choice(60, 6, replace=False))
        time.sleep(0.02)
    done.set()
    for thread in threads:
        thread.join()
    for index in programs:
        index.catch_up()
        assert index.ids().tolist() == sorted(table.rows)
        assert_same(index, table, unit(rng, 1)[0], 20)
        index.close()


# -- bad hours, on a server of their own -----------------------------------------------------


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningMilvus]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    server = RunningMilvus(tmp_path / "milvus")
    server.start()
    yield server
    server.kill()
    shutil.rmtree(tmp_path / "milvus", ignore_errors=True)


def kill_in_the_middle(server: RunningMilvus, seed: int) -> None:
    """One trial: a server is killed while a program sends, and comes back."""
    rng = np.random.default_rng(seed)
    table = Table()
    index = opened(server.url(f"trial{seed}"), table=table)
    stop = threading.Event()

    def write() -> None:
        number = 100
        while not stop.is_set():
            with table.lock:
                table.put(np.arange(number, number + 40), unit(rng, 40), rng.integers(0, 3, 40).astype(np.uint8))
                table.drop(rng.choice(number, 5, replace=False))
            number += 40
            index.follow()
            time.sleep(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(float(rng.uniform(0.1, 4.0)))
    server.kill()
    wait_for(lambda: index.trouble is not None, 90)
    assert index.trouble is not None and "does not answer" in index.trouble
    with pytest.raises(VectorServerError, match="does not answer"):
        index.search(np.ones((1, DIM), np.float32), 3)
    stop.set()
    writer.join()
    server.start()
    wait_for(lambda: index.trouble is None and index._position == table.position(), 120)
    assert index.ids().tolist() == sorted(table.rows)  # nothing lost
    assert len(index) == len(table.rows)  # nothing twice
    for _ in range(3):
        assert_same(index, table, unit(rng, 1)[0], 30)
    index.close()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_server_killed_twenty_times_loses_nothing_and_has_nothing_twice(own_server: RunningMilvus) -> None:
    for seed in range(1, 21):
        kill_in_the_middle(own_server, seed)


@pytest.mark.long
def test_a_server_that_takes_no_more_and_one_that_asks_for_a_password(own_server: RunningMilvus) -> None:
    table = Table()
    index = opened(own_server.url("full"), table=table)
    index.catch_up()
    own_server.kill()
    own_server.set(quotaAndLimits__limitWriting__forceDeny="true")
    own_server.start()
    told = ""

    def is_refused() -> bool:  # the server looks at its quotas every few seconds
        nonlocal told
        number = max(table.rows) + 1
        table.put(np.arange(number, number + 5), unit(np.random.default_rng(number), 5), np.zeros(5, np.uint8))
        try:
            index.catch_up()
        except VectorServerError as error:
            told = str(error)
        return "takes no new vectors" in told

    wait_for(is_refused, 90)
    assert "quota" in told and "make room there. Nothing is lost" in told
    assert index.trouble == told
    assert len(index.search(np.ones((1, DIM), np.float32), 3)[1][0]) == 3  # answers go on
    own_server.kill()
    own_server.set(quotaAndLimits__limitWriting__forceDeny="false", authorization_enabled=True)
    own_server.start()
    stranger = opened(own_server.url("full"), table=table)
    with pytest.raises(VectorServerError, match="refuses the user or password"):
        stranger.catch_up()
    known = opened(own_server.url("full").replace("//", "//root:Milvus@"), table=table)
    known.catch_up()
    assert known.ids().tolist() == sorted(table.rows)
    for each in (index, stranger, known):
        each.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 MB in memory; a server alone takes half of it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400m", "sightline-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_full_disk_under_milvus_is_told_in_one_line_and_loses_nothing(small_disk: Path) -> None:
    """Milvus 2.3 answers on for a while, then it ends. With room again and started anew, all goes on."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    server = RunningMilvus(small_disk / "milvus")
    server.start()
    rng = np.random.default_rng(0)
    table = Table()
    index = opened(server.url("full"), table=table)
    try:
        index.catch_up()
        room = os.statvfs(small_disk)
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - 16_384)
        told = ""

        def is_full() -> bool:
            nonlocal told
            number = max(table.rows) + 1
            table.put(np.arange(number, number + 1000), unit(rng, 1000), np.zeros(1000, np.uint8))
            try:
                index.catch_up()
            except VectorServerError as error:
                told = str(error)
            return bool(told)

        wait_for(is_full, 120)
        assert "Nothing is lost" in told and "\n" not in told and index.trouble == told
        ballast.unlink()
        if server.has_ended():
            server.kill()
            server.start()

        def goes_on() -> bool:
            try:
                index.catch_up()
            except VectorServerError:
                return False
            return index._position == table.position()

        wait_for(goes_on, 120)
        assert index.trouble is None and index.ids().tolist() == sorted(table.rows)
        assert_same(index, table, unit(rng, 1)[0], 30)
    finally:
        index.close()
        server.kill()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_sample_set_is_answered_alike_by_the_embedded_and_the_distributed_library(
    tmp_path: Path, open_library: OpenLibrary, vectors: str, postgresql_server: Server
) -> None:
    """Every text question of the sample set: the same ten hits, scores within a thousandth."""
    from indexer.catalogue.catalogue import Catalogue
    from indexer.catalogue.dialects import place
    from indexer.catalogue.migrate import move
    from tests.quality import samples
    from tests.quality.sampleset import SampleSet

    folder = Path("samples") if Path("samples/stamps.json").exists() else tmp_path / "samples"
    samples.fetch(folder)
    texts = sorted({q.asked.text for q in SampleSet(folder).questions() if q.asked.text})
    embedded = open_library()
    embedded.index([folder])
    database = postgresql_server.database()
    on_server = Catalogue(place(database))
    move(embedded.catalogue, on_server)
    on_server.close()
    there = open_library(catalogue=database, vectors=vectors)
    assert len(texts) > 100
    for text in texts:
        query = Query(parts=(Part(text=text),))
        ours, theirs = embedded.search(query, 10).hits, there.search(query, 10).hits
        assert {h.chunk_id for h in ours} == {h.chunk_id for h in theirs}, text
        scores = {h.chunk_id: h.score for h in theirs}
        assert all(abs(h.score - scores[h.chunk_id]) <= 1e-3 for h in ours), text
    assert there.verify().problems == embedded.verify().problems == []
