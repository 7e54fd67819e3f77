"""Contents: words follow their chunks, and the journal never disagrees with the catalogue."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import NewChunk
from indexer.catalogue.schema import Where
from indexer.vectors import source
from indexer.vectors.source import GROUPS, StoredEmbeddings
from tests.indexer.catalogue.conftest import holding, index, put
from tests.indexer.conftest import new_place


def test_words_follow_their_chunks_through_rewrites_and_removal(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.pdf")
    first = index(catalogue, b"a" * 32, ("invoices of March", "something else"))
    assert holding(catalogue, "invoice") == [first[0]]
    catalogue.contents.write_ocr(b"a" * 32, {first[1]: "a \udcff lone surrogate and a receipt"}, 1, {})
    assert holding(catalogue, "receipts") == [first[1]]
    second = index(catalogue, b"a" * 32, ("nothing",))
    assert holding(catalogue, "invoice") == holding(catalogue, "receipt") == []
    assert holding(catalogue, "nothing") == second
    catalogue.files.remove_under("/r")
    catalogue.contents.sweep(kept_s=-1)
    assert holding(catalogue, "nothing") == []
    with catalogue.database.writer() as c:
        assert catalogue.database.dialect.texts_agree(c)


def test_a_chunk_that_is_written_again_keeps_its_id_its_labels_and_none_of_its_old_vectors(
    catalogue: Catalogue,
) -> None:
    put(catalogue, "/r/a.pdf")
    ids = index(catalogue, b"a" * 32, ("first", "second", "third"))
    other = catalogue.models.add("other", 4)
    catalogue.contents.add_embeddings(other.id, ids, [np.ones(4, np.float32)] * 3)
    with catalogue.database.writer() as c:
        c.exec_driver_sql("INSERT INTO label (chunk_id, name, score, hidden) VALUES (?, 'secret', 1.0, 1)", (ids[1],))
    assert index(catalogue, b"a" * 32, ("first", "another")) == ids[:2]
    assert holding(catalogue, "another") == [ids[1]] and holding(catalogue, "second") == []
    assert [catalogue.contents.vector(i, other.id) for i in ids] == [None] * 3
    with catalogue.database.reader() as c:
        assert c.exec_driver_sql("SELECT chunk_id, name FROM label").all() == [(ids[1], "secret")]


class JournalAgainstCatalogue(RuleBasedStateMachine):
    """Whatever happens, an index that reads the journal holds exactly what the catalogue can find."""

    places: Iterator[Where]

    @initialize()
    def start(self) -> None:
        self.catalogue = Catalogue(next(self.places))
        self.model = self.catalogue.models.add("m", 4)
        self.source = StoredEmbeddings(self.catalogue.database, self.model.id, 4)
        self.seen, self.held = 0, dict[int, bytes]()

    @rule(name=st.integers(0, 4), digest=st.integers(1, 3))
    def file_appears_or_changes(self, name: int, digest: int) -> None:
        put(self.catalogue, f"/r/{name}.jpg", bytes([digest]) * 32)

    @rule(digest=st.integers(1, 3), chunks=st.integers(0, 3), value=st.integers(0, 9))
    def content_is_written(self, digest: int, chunks: int, value: int) -> None:
        pieces = [NewChunk(i, np.full(4, value, np.float32)) for i in range(chunks)]
        self.catalogue.contents.write(bytes([digest]) * 32, {}, pieces, self.model.id)

    @rule(name=st.integers(0, 4))
    def file_goes(self, name: int) -> None:
        self.catalogue.files.remove([f"/r/{name}.jpg"])

    @rule(digest=st.integers(1, 3))
    def content_fails(self, digest: int) -> None:
        self.catalogue.contents.fail(bytes([digest]) * 32, "broken")

    @rule()
    def orphans_are_swept(self) -> None:
        self.catalogue.contents.sweep(kept_s=-1)

    @rule()
    def index_catches_up(self) -> None:
        step = self.source.changes(self.seen)
        assert step is not None
        self.seen = step.position
        for i in step.removed.tolist():
            self.held.pop(i, None)
        self.held.update(zip(step.ids.tolist(), (v.tobytes() for v in step.vectors), strict=True))

    @invariant()
    def it_holds_what_can_be_found(self) -> None:
        self.index_catches_up()
        truth = {
            i: v.tobytes()
            for ids, vs in self.source.vectors(GROUPS["image"])
            for i, v in zip(ids.tolist(), vs, strict=True)
        }
        assert self.held == truth

    def teardown(self) -> None:
        if hasattr(self, "catalogue"):
            self.catalogue.close()


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "examples"), [("sqlite", 25), ("postgresql", 10)])
def test_an_index_that_reads_the_journal_agrees_with_the_catalogue(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, examples: int
) -> None:
    monkeypatch.setattr(source, "BATCH", 2)

    def places() -> Iterator[Where]:
        for n in itertools.count():
            (tmp_path / str(n)).mkdir()
            yield new_place(request, engine, tmp_path / str(n))

    JournalAgainstCatalogue.places = places()
    run_state_machine_as_test(
        JournalAgainstCatalogue, settings=settings(max_examples=examples, stateful_step_count=20, deadline=None)
    )
