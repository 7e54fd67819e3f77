"""A library that cannot silently lie: broken models are refused, damage is found, named and repaired."""

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.errors import LibraryError
from indexer.library import Library
from indexer.pipeline import stage_embed
from indexer.pipeline.jobs import ByteQueue, JobItem
from model.embedder import Embedder, ModelError
from tests import media
from tests.indexer.conftest import CountingEmbedder, OpenLibrary, contents_of, wait_for


class ChangedEmbedder:
    """The real model with its vectors changed on the way out, from the `after`-th chunk on."""

    def __init__(self, inner: Embedder, change: Callable[[np.ndarray], np.ndarray], after: int = 0) -> None:
        self.inner, self.change, self.left = inner, change, after
        self.id, self.dim, self.max_frames = inner.id, inner.dim, inner.max_frames
        self.max_side, self.page_side = inner.max_side, inner.page_side  # type: ignore[attr-defined]

    def embed(self, inputs: Any) -> np.ndarray:
        vectors = self.inner.embed(inputs)
        self.left -= len(inputs)
        return vectors if self.left >= 0 else self.change(vectors.copy())


def use(monkeypatch: pytest.MonkeyPatch, embedder: Any) -> None:
    from model.lite.embedder import LiteEmbedder

    monkeypatch.setattr(LiteEmbedder, "load", classmethod(lambda cls: embedder))


def nan(v: np.ndarray) -> np.ndarray:
    v[0, 0] = np.nan
    return v


def constant(v: np.ndarray) -> np.ndarray:
    v[:] = v[0]
    return v


CANARY = 6  # inputs of the self-check


@pytest.mark.parametrize("change", [nan, constant, lambda v: v * 2], ids=["nan", "constant", "length"])
def test_a_model_that_is_broken_from_the_start_embeds_nothing(
    folder: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch, lite: Embedder, change: Any
) -> None:
    use(monkeypatch, ChangedEmbedder(lite, change))
    library = open_library()
    with pytest.raises(LibraryError, match="fails its self-check"):
        library.index([folder])
    assert library.status().chunks == 0 and library.failures() == [] and library.status().pending == 5


@pytest.mark.parametrize("change", [nan, constant], ids=["nan", "constant"])
def test_a_model_that_breaks_on_the_way_stops_indexing_and_blames_no_file(
    folder: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch, lite: Embedder, change: Any
) -> None:
    for n in range(3, 12):
        media.draw_image(folder / f"photo {n}.jpg", seed=n, size=(64, 48))
    use(monkeypatch, ChangedEmbedder(lite, change, after=CANARY + 3))
    monkeypatch.setattr(stage_embed, "BATCH_S", 10.0)
    take = ByteQueue.take

    def take_several(queue: ByteQueue, limit: int, timeout_s: float) -> list[JobItem]:
        """As on a machine whose decoding is fast: of one chunk alone nobody can tell that all are alike."""
        deadline = time.monotonic() + 5
        while len(queue._items) < 6 and time.monotonic() < deadline:
            time.sleep(0.02)
        return take(queue, limit, timeout_s)

    monkeypatch.setattr(ByteQueue, "take", take_several)
    library = open_library()
    with pytest.raises(LibraryError, match="fails its self-check"):
        library.index([folder])
    monkeypatch.setattr(ByteQueue, "take", take)
    assert library.failures() == []
    use(monkeypatch, lite)
    mended = open_library()
    mended.index()
    assert mended.status().chunks == 16 and mended.verify().problems == []


def test_photos_that_are_all_alike_are_no_sign_of_a_broken_model(tmp_path: Path, open_library: OpenLibrary) -> None:
    (tmp_path / "wall").mkdir()
    for n in range(6):  # different bytes, the same picture
        media.draw_image(tmp_path / "wall" / f"{n}.png", color=(200, 200, 200), size=(64, 48), compress_level=n)
    library = open_library()
    assert library.index([tmp_path / "wall"]).failed == 0
    assert library.status().chunks >= 4


def test_one_input_that_the_model_cannot_take_fails_alone(
    folder: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch, lite: Embedder
) -> None:
    media.draw_image(folder / "narrow.jpg", seed=1, size=(400, 20))

    class Refuses(CountingEmbedder):
        def embed(self, inputs: Any) -> np.ndarray:
            if any(i.images and i.images[0].shape[1] == 400 for i in inputs):
                raise RuntimeError("shape mismatch in layer 7")
            return super().embed(inputs)

    use(monkeypatch, Refuses(lite))
    library = open_library()
    report = library.index([folder])
    assert (report.failed, library.status().chunks) == (1, 7)
    assert library.failures()[0].path.endswith("narrow.jpg")
    assert "shape mismatch" in library.failures()[0].reason


@pytest.fixture
def indexed(folder: Path, open_library: OpenLibrary) -> Library:
    library = open_library()
    library.index([folder])
    return library


def sql(library: Library, *statements: str) -> None:
    with sqlite3.connect(library.catalogue.database.where) as c:
        c.execute("PRAGMA foreign_keys = ON")
        for statement in statements:
            c.execute(statement)


def test_a_sound_library_has_no_problems(indexed: Library) -> None:
    assert indexed.verify().problems == []


def test_a_sound_library_whose_pictures_were_read_has_no_problems(tmp_path: Path, open_library: OpenLibrary) -> None:
    """A picture in which words were read was embedded again, larger; a page has the title of its document."""
    folder = tmp_path / "media"
    folder.mkdir()
    noise = np.random.default_rng(7).integers(0, 255, (1500, 2000), np.uint8)
    picture = Image.fromarray(np.where(np.arange(2000) % 3 == 0, noise, 240).astype(np.uint8)).convert("RGB")
    picture.paste(media.picture("HARBOUR STREET 42", size=(900, 300), color=(250, 250, 250)), (500, 600))
    picture.save(folder / "sign.png")
    media.draw_pdf(folder / "letter.pdf", ["A letter about the harbour"])
    library = open_library(ocr="auto")
    library.index([folder])
    report = library.verify()
    assert report.problems == [] and (report.sampled, report.contents) == (2, 2)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (["DELETE FROM embedding WHERE chunk_id = 1"], "have no embedding"),
        (["UPDATE embedding SET vector = zeroblob(2304) WHERE chunk_id = 2"], "not of unit length"),
        (["UPDATE embedding SET vector = zeroblob(100) WHERE chunk_id = 2"], "do not have 1152 components"),
        (["INSERT INTO words (words) VALUES ('delete-all')"], "index of words"),
        (["DELETE FROM names WHERE rowid = 1"], "index of names"),
        (["UPDATE content SET orphaned_at = 1.0"], "whether a file has them"),
        (["DELETE FROM chunk"], "has no chunks"),
        (["PRAGMA foreign_keys = OFF", "DELETE FROM chunk WHERE id = 1"], "rows that do not exist"),
        (["UPDATE file SET mtime_ns = 1 WHERE id = 1"], "has changed since"),
    ],
)
def test_damage_to_the_catalogue_is_found_named_and_mended(indexed: Library, damage: list[str], named: str) -> None:
    before = contents_of(indexed)
    sql(indexed, *damage)
    report = indexed.verify()
    assert any(named in p for p in report.problems), report.problems
    assert report.repaired == 0
    assert indexed.verify(repair=True).repaired >= 1
    indexed.index()
    assert indexed.verify().problems == []
    assert contents_of(indexed) == before


def test_vectors_of_another_thing_are_found_by_embedding_a_sample_again(indexed: Library) -> None:
    before = contents_of(indexed)
    sql(
        indexed,
        "UPDATE embedding SET vector = (SELECT vector FROM embedding e WHERE e.chunk_id ="
        " (SELECT max(chunk_id) - embedding.chunk_id + 1 FROM embedding))",
    )
    problems = indexed.verify(repair=True).problems
    assert any("gives another vector" in p for p in problems)
    for _ in range(3):
        indexed.index()
        indexed.verify(repair=True)
    indexed.index()
    assert contents_of(indexed) == before


def test_a_lost_index_and_lost_thumbnails_are_made_again(indexed: Library) -> None:
    indexed.close()
    shutil.rmtree(indexed.data_dir / "vectors", ignore_errors=True)
    shutil.rmtree(indexed.data_dir / "thumbnails")
    stray = indexed.data_dir / "thumbnails" / "ab" / f"{'c' * 32}-0.webp"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"")
    with Library.open(indexed.data_dir, nice=False, ocr="off") as library:
        assert library.verify().problems == ["1 thumbnails belong to nothing in the library."]
        assert library.verify(repair=True).repaired == 1 and not stray.exists()
        assert len(library.vector_index()) == 7 and library.thumbnail(1) is not None


def test_bytes_that_change_while_the_times_stay_are_found(indexed: Library, folder: Path) -> None:
    """A failing disk: nothing but reading everything again can tell; the sample does."""
    path = folder / "photo 0.jpg"
    with sqlite3.connect(indexed.catalogue.database.where) as c:
        data = bytearray(path.read_bytes())
        data[-9] ^= 1
        path.write_bytes(data)
        os.utime(path, (1e9, 1e9))
        s = path.stat()
        c.execute(
            "UPDATE file SET mtime_ns = ?, ctime_ns = ?, size = ? WHERE name = 'photo 0.jpg'",
            (s.st_mtime_ns, s.st_ctime_ns, s.st_size),
        )
    assert any("its bytes have changed" in p for p in indexed.verify(repair=True).problems)
    indexed.index()
    assert indexed.verify().problems == []


def test_a_backup_taken_while_indexing_is_a_library(folder: Path, tmp_path: Path, open_library: OpenLibrary) -> None:
    library = open_library()
    library.add_root(folder)
    library.start(watch=False)
    wait_for(lambda: library.status().chunks > 0)
    library.backup(tmp_path / "backup.sqlite")
    wait_for(lambda: library.status().pending == 0)
    (tmp_path / "restored").mkdir()
    shutil.copy(tmp_path / "backup.sqlite", tmp_path / "restored" / "catalogue.sqlite")
    with Library.open(tmp_path / "restored", nice=False, ocr="off") as restored:
        restored.index()
        assert contents_of(restored) == contents_of(library) and restored.verify().problems == []


def test_a_full_disk_is_told_in_one_line_and_nothing_is_lost(
    folder: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = open_library()
    library.add_root(folder)
    with contextlib.closing(sqlite3.connect(library.data_dir / "catalogue.sqlite")) as connection:
        connection.execute("VACUUM")  # what the ladder of migrations left free is room too
        pages = connection.execute("PRAGMA page_count").fetchone()[0]

    def full(connection: sqlite3.Connection, record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    from sqlalchemy import event

    event.listen(library.catalogue.database.engine, "connect", full)
    library.catalogue.database.engine.dispose()
    with pytest.raises(LibraryError, match="is full or failing: nothing is lost; make room"):
        library.index()
    library.close()
    with Library.open(library.data_dir, nice=False, ocr="off") as roomier:
        roomier.index()
        assert roomier.status().chunks == 7 and roomier.verify().problems == []


class OtherModel:
    """The real model in another space: the axes in reverse."""

    def __init__(self, inner: Embedder) -> None:
        self.inner, self.id, self.dim, self.max_frames = inner, "other@1-r1", inner.dim, inner.max_frames
        self.max_side, self.page_side = inner.max_side, inner.page_side  # type: ignore[attr-defined]
        self.embedded = 0
        self.broken = False

    def embed(self, inputs: Any) -> np.ndarray:
        if self.broken:
            raise ModelError("out of memory")
        self.embedded += len(inputs)
        return np.ascontiguousarray(self.inner.embed(inputs)[:, ::-1])


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch, lite: Embedder) -> OtherModel:
    """A second model under the name `other`."""
    from model import loading as module

    model = OtherModel(lite)
    real = module.load
    monkeypatch.setattr(module, "load", lambda name, **o: model if name == "other" else real(name, **o))
    return model


def test_another_model_takes_over_when_it_is_complete(
    indexed: Library, open_library: OpenLibrary, other: OtherModel
) -> None:
    before = contents_of(indexed)
    old = indexed.status().model
    switched = open_library(model="other")
    assert any("sightline index --model other" in n for n in switched.status().notices)
    switched.index()
    assert switched.status().model == "other@1-r1" and switched.verify().problems == []
    assert [(m.name, m.state) for m in switched.catalogue.models.all()] == [(old, "old"), ("other@1-r1", "answering")]
    after = contents_of(switched)
    assert after.keys() == before.keys()
    for key, value in after.items():
        assert value[:-1] == before[key][:-1], "chunks stay what they were; only vectors differ"
        assert np.array_equal(np.frombuffer(value[-1], "<f2")[::-1], np.frombuffer(before[key][-1], "<f2"))


def test_a_switch_that_is_interrupted_goes_on_and_the_old_model_answers_meanwhile(
    indexed: Library, open_library: OpenLibrary, other: OtherModel
) -> None:
    old = indexed.status().model
    first = open_library(model="other")
    real = other.embed
    calls: list[int] = []

    def fails(inputs: Any) -> np.ndarray:
        calls.append(len(inputs))
        if len(calls) > 1 and any(i.video is not None for i in inputs):  # after its self-check
            raise ModelError("out of memory")
        return real(inputs)

    other.embed = fails  # type: ignore[method-assign]
    with pytest.raises(LibraryError, match="out of memory"):
        first.index()
    assert first.status().model == old and len(first.vector_index()) == 7
    assert any("Changing the model to other@1-r1" in n for n in first.status().notices)
    first.close()
    other.embed = real  # type: ignore[method-assign]
    other.embedded = 0
    second = open_library(model="other")
    second.index()
    assert second.status().model == "other@1-r1" and second.verify().problems == []


def test_an_updated_model_is_never_asked_with_the_vectors_of_the_old_one(
    indexed: Library, open_library: OpenLibrary, lite: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexer.types import Part, Query

    updated = OtherModel(lite)
    updated.id = "lite@new-r9"
    use(monkeypatch, updated)
    monkeypatch.setattr("model.lite.embedder.current_id", lambda: updated.id)
    reader = open_library(read_only=True)
    with pytest.raises(LibraryError, match="run `sightline index` once"):
        reader.search(Query((Part(text="bananas"),)))
    assert contents_of(reader) == contents_of(indexed), "searching changes nothing"
    renewed = open_library()
    renewed.index()
    assert renewed.status().model == "lite@new-r9" and renewed.verify().problems == []
    answer = renewed.search(Query((Part(text="bananas"),)))
    assert answer.hits[0].title == "letter.pdf"


def test_a_library_of_the_earlier_lite_answers_by_it_until_it_is_renewed(
    folder: Path, open_library: OpenLibrary, lite: Embedder
) -> None:
    from indexer.types import Part, Query
    from model.lite.embedder import LiteEmbedder
    from model.lite.weights import EARLIER

    earlier = next(iter(EARLIER))
    with pytest.MonkeyPatch.context() as before:
        use(before, LiteEmbedder.load(model_id=earlier))
        before.setattr("model.lite.embedder.current_id", lambda: earlier)
        library = open_library()
        library.index([folder])
        library.close()
    reader = open_library(read_only=True)
    assert reader.search(Query((Part(text="bananas"),))).model == earlier
    assert reader.search(Query((Part(text="bananas"),))).hits[0].title == "letter.pdf"
    reader.close()
    renewed = open_library()
    assert renewed.status().model == earlier and renewed.searcher().embedder.dim == 640
    renewed.index()
    assert renewed.status().model == lite.id and renewed.verify().problems == []
    assert renewed.search(Query((Part(text="bananas"),))).hits[0].title == "letter.pdf"


def test_a_switch_that_is_given_up_leaves_the_old_model_alone(
    indexed: Library, open_library: OpenLibrary, other: OtherModel
) -> None:
    before = contents_of(indexed)
    first = open_library(model="other")
    first.models.requested()
    assert len(first.catalogue.models.all()) == 2
    back = open_library()
    back.models.requested()
    assert [m.state for m in back.catalogue.models.all()] == ["answering"]
    assert contents_of(back) == before


def test_new_files_are_found_at_once_during_a_switch(
    indexed: Library, folder: Path, open_library: OpenLibrary, other: OtherModel, counted: CountingEmbedder
) -> None:
    media.draw_image(folder / "late.jpg", seed=99, size=(64, 48))
    switching = open_library(model="other")
    switching.models.requested()
    row, _ = switching.models.for_new()
    assert row.state == "answering"
    switching.index()
    assert switching.status().model == "other@1-r1" and switching.status().chunks == 8
