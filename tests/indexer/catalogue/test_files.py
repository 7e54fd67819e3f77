"""Files: names come back as they were, moves keep what is known, a folder means what is below it."""

import os
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from indexer.catalogue import schema
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.files import under
from indexer.catalogue.rows import FoundFile
from tests.indexer.catalogue.conftest import holding, index, put, take
from tests.indexer.conftest import new_place
from tests.indexer.written_library import paths_under


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(name="\u0300".encode())
@given(name=st.binary(min_size=1, max_size=40).filter(lambda b: not set(b) & {0, 47} and b not in (b".", b"..")))
def test_every_name_a_file_system_can_hold_comes_back_as_it_was(
    request: pytest.FixtureRequest, engine: str, name: bytes
) -> None:
    catalogue = _shared(request, engine)
    path = f"/r/d/{os.fsdecode(name)}"
    put(catalogue, path)
    assert paths_under(catalogue, "/r/d") == [path]
    assert paths_under(catalogue, "/r/d2") == []
    root_id = catalogue.files.set_root(Path("/r"))
    assert catalogue.files.stamps(root_id, "/r/d") == {os.fsdecode(name): (10, 20, 30)}
    info = catalogue.files.at(path)
    assert info is not None and os.fsencode(info.path) == b"/r/d/" + name
    assert catalogue.files.remove_under("/r") == 1


_SHARED: dict[str, Catalogue] = {}


def _shared(request: pytest.FixtureRequest, engine: str) -> Catalogue:
    """One for all examples: making one costs 20 ms and more."""
    if engine not in _SHARED:
        folder = request.getfixturevalue("tmp_path_factory").mktemp("shared")
        _SHARED[engine] = Catalogue(new_place(request, engine, folder))
    return _SHARED[engine]


def test_under_a_folder_means_below_it_and_nothing_beside_it(catalogue: Catalogue) -> None:
    inside = ["/r/a/x.jpg", "/r/a/b/y.jpg", "/r/a/\udcff.jpg"]
    for path in [*inside, "/r/a.jpg", "/r/ab/z.jpg", "/r/a0.jpg"]:
        put(catalogue, path)
    assert sorted(paths_under(catalogue, "/r/a")) == sorted(inside)
    if catalogue.database.dialect.name != "sqlite":
        return
    with catalogue.database.reader() as c:
        query = sa.select(schema.file.c.id).where(under(schema.file.c.path, "/r/a")).compile(c.engine)
        values = tuple(query.params[name] for name in query.positiontup or ())
        plan = c.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all()
    assert all("SCAN" not in row.detail for row in plan), plan


def test_names_follow_their_files_through_a_move(catalogue: Catalogue) -> None:
    put(catalogue, "/r/Holiday 2019/Ünïcode_beach.jpg")
    (number,) = holding(catalogue, "beach", "names")
    assert holding(catalogue, "unicode", "names") == holding(catalogue, "holiday", "names") == [number]
    root_id = catalogue.files.set_root(Path("/r"))
    moved = FoundFile("/r/Work/office.jpg", "image", (10, 20, 31))
    assert catalogue.files.move("/r/Holiday 2019/Ünïcode_beach.jpg", root_id, moved)
    assert holding(catalogue, "beach", "names") == []
    assert holding(catalogue, "work", "names") == holding(catalogue, "office", "names") == [number]
    catalogue.files.remove(["/r/Work/office.jpg"])
    assert holding(catalogue, "office", "names") == []


def test_a_changed_file_answers_with_what_it_was_until_the_new_is_ready(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    (old,) = index(catalogue, b"a" * 32)
    root_id = catalogue.files.set_root(Path("/r"))
    catalogue.files.note(root_id, [FoundFile("/r/a.jpg", "image", (11, 21, 31))])
    held = catalogue.contents.chunk(old)
    assert held is not None and held.file.path == Path("/r/a.jpg")
    take(catalogue, b"b" * 32)
    assert catalogue.contents.chunk(old) is None
    assert [w.hash for w in catalogue.queue.waiting("decode", 9, kind="image")] == [b"b" * 32]
