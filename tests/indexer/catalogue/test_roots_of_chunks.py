"""Which roots a chunk lies under: in the journal whenever it changes, on both databases."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.connections import Connections
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.catalogue.schema import Where
from indexer.search.filters import roots_alone
from indexer.types import Filters
from indexer.vectors.source import StoredEmbeddings

DIM = 4
CONTENTS = 4
TOPS = ("/volume", "/nas", "/disk")


class Shelf:
    """Three roots and a few contents of one chunk each; an index's view of them, from the journal alone."""

    def __init__(self, where: Where) -> None:
        self.catalogue = Catalogue(where)
        self.model = self.catalogue.models.add("lite@x-r1", DIM)
        self.roots = {top: self.catalogue.files.set_root(Path(top)) for top in TOPS}
        self.source = StoredEmbeddings(self.catalogue.database, self.model.id, DIM)
        self.position = self.source.position()
        self.seen: dict[int, tuple[int, ...]] = {}

    def put(self, path: str, content: int) -> None:
        digest = bytes([content]) * 32
        top = next(t for t in TOPS if path.startswith(t + "/"))
        self.catalogue.files.note(self.roots[top], [FoundFile(path, "image", (1, 2, 3))])
        self.catalogue.queue.hashed([(w, w.stamp, digest) for w in self.catalogue.queue.unhashed(100)])
        with self.catalogue.database.reader() as c:
            state = c.exec_driver_sql("SELECT state FROM content WHERE hash = ?", (digest,)).scalar_one()
        if state == "pending":
            vector = np.eye(DIM, dtype=np.float32)[content % DIM]
            self.catalogue.contents.write(digest, {}, [NewChunk(0, vector)], self.model.id)

    def follow(self) -> None:
        changes = self.source.changes(self.position)
        assert changes is not None
        self.position = changes.position
        for number in changes.removed.tolist():
            self.seen.pop(number, None)
        told = self.source.roots_of(changes.ids)
        self.seen.update(zip(changes.ids.tolist(), told, strict=True))

    def truth(self) -> dict[int, tuple[int, ...]]:
        ids = np.sort(self.source.ids()[0])
        return dict(zip(ids.tolist(), self.source.roots_of(ids), strict=True))


@pytest.fixture
def shelf(where: Where) -> Shelf:
    return Shelf(where)


@pytest.mark.slow
def test_whoever_follows_the_journal_knows_every_chunks_roots(shelf: Shelf) -> None:
    """Files come, go, change, are renamed within a root and moved to another; a root is forgotten."""
    chance = random.Random(7)
    paths = [f"{top}/{n}.jpg" for top in TOPS for n in range(3)]
    there: set[str] = set()
    shared = 0
    for step in range(150):
        path = chance.choice(paths)
        what = chance.choice(("put", "put", "remove", "move"))
        if what == "put":
            shelf.put(path, 1 + chance.randrange(CONTENTS))
            there.add(path)
        elif what == "remove" and path in there:
            shelf.catalogue.files.remove([path])
            there.discard(path)
        elif what == "move" and path in there and (free := sorted(set(paths) - there)):
            to = chance.choice(free)
            top = next(t for t in TOPS if to.startswith(t + "/"))
            assert shelf.catalogue.files.move(path, shelf.roots[top], FoundFile(to, "image", (1, 2, 3)))
            there = (there - {path}) | {to}
        if step == 100:
            shelf.catalogue.files.remove_root(shelf.roots["/nas"])
            there = {p for p in there if not p.startswith("/nas/")}
            shelf.roots["/nas"] = shelf.catalogue.files.set_root(Path("/nas"))
        shelf.follow()
        truth = shelf.truth()
        assert shelf.seen == truth, (step, what)
        shared += any(len(roots) > 1 for roots in truth.values())
        for top, number in shelf.roots.items():
            under = set(shelf.source.under([number]).tolist())
            assert under == {i for i, roots in truth.items() if number in roots}, top
    assert shared > 50  # contents that lie in two roots were among them


def test_a_rename_within_its_root_costs_the_journal_nothing(shelf: Shelf) -> None:
    shelf.put("/volume/a.jpg", 1)
    shelf.put("/nas/b.jpg", 1)
    before = shelf.source.position()
    shelf.catalogue.files.move("/volume/a.jpg", shelf.roots["/volume"], FoundFile("/volume/c.jpg", "image", (1, 2, 3)))
    assert shelf.source.position() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "tops"),
    [
        ({"under": "/volume"}, ["/volume"]),
        ({"under": "/"}, list(TOPS)),
        ({"under": "/elsewhere"}, []),
        ({"under": "/volume", "kinds": ("image",)}, ["/volume"]),
        ({"within": ("/volume", "/nas")}, ["/volume", "/nas"]),
        ({"within": ("/volume", "/nas"), "under": "/nas"}, ["/nas"]),
        ({"within": ("/volume",), "under": "/nas"}, []),
        ({"under": "/volume/2023"}, None),
        ({"within": ("/volume", "/nas/2023")}, None),
        ({"under": "/volume", "names": ("holiday",)}, None),
        ({"kinds": ("image",)}, None),
    ],
)
def test_folders_that_are_whole_roots_are_asked_for_by_their_numbers(
    shelf: Shelf, asked: dict[str, object], tops: list[str] | None
) -> None:
    if "under" in asked:
        asked = asked | {"under": Path(str(asked["under"]))}
    if "within" in asked:
        asked = asked | {"within": tuple(map(Path, asked["within"]))}  # type: ignore[call-overload]
    connections = Connections(shelf.catalogue.database.where)
    wanted = None if tops is None else {shelf.roots[top] for top in tops}
    assert roots_alone(connections.get(), Filters(**asked)) == wanted  # type: ignore[arg-type]
    connections.close()
