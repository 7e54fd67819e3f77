"""A switch of the model can be judged and undone: the old vectors stay, and one model always answers."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import LibraryOptions, Part, Query
from model.embedder import Embedder, ModelError
from tests import media
from tests.indexer.conftest import CountingEmbedder, OpenLibrary, contents_of, wait_for
from tests.indexer.pipeline.killable_index import OtherModel

OTHER = "other@1-r1"


class ContraryModel:
    """The real model, but queries look for what is least like them."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.id, self.dim, self.max_frames = inner, "contrary@1-r1", inner.dim, inner.max_frames
        self.max_side, self.page_side = inner.max_side, inner.page_side

    def embed(self, inputs: Any) -> np.ndarray:
        signs = np.array([-1 if item.role == "query" else 1 for item in inputs], np.float32)
        return np.asarray(signs[:, None] * self.inner.embed(inputs))


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, counted: CountingEmbedder) -> CountingEmbedder:
    """Two more models, `other` and `contrary`; returns the one below all of them."""
    from model import loading

    made = {"other": OtherModel(counted), "contrary": ContraryModel(counted)}
    real = loading.load
    monkeypatch.setattr(loading, "load", lambda name="lite", **o: made.get(name) or real(name, **o))
    return counted


@pytest.fixture
def switched(folder: Path, open_library: OpenLibrary, models: CountingEmbedder) -> Library:
    """A library that answers with `other`, chosen as on the page, and has the vectors of lite."""
    library = open_library(explicit_model=False)
    library.index([folder])
    library.use_model("other")
    library.index()
    assert library.status().model == OTHER
    return library


def search(library: Library, text: str = "bananas") -> str:
    answer = library.search(Query((Part(text=text),)))
    assert answer.hits
    return answer.model


def test_going_back_embeds_nothing_and_holds_at_the_next_start(
    switched: Library, open_library: OpenLibrary, models: CountingEmbedder
) -> None:
    (notice,) = [n for n in switched.status().notices if "in place of" in n]
    assert notice.startswith(f"{OTHER} answers in place of {models.id}") and "sightline models rollback" in notice
    before = models.embedded
    assert switched.roll_back_model() == models.id == switched.status().model
    assert models.embedded == before and search(switched) == models.id
    switched.close()
    again = open_library(explicit_model=False)
    again.index()
    assert again.status().model == models.id and again.verify().problems == [] and models.embedded - before <= 7
    before = models.embedded
    assert again.roll_back_model() == OTHER == again.status().model, "and forth"
    assert models.embedded == before and again.verify().problems == []


def test_what_was_indexed_since_is_embedded_before_the_old_model_answers(
    switched: Library, folder: Path, models: CountingEmbedder
) -> None:
    media.draw_image(folder / "late.jpg", seed=99, size=(64, 48))
    switched.index()
    assert switched.roll_back_model() == models.id
    assert switched.status().model == OTHER and search(switched) == OTHER
    assert any(f"Changing the model to {models.id}: 7 of 8" in n for n in switched.status().notices)
    switched.index()
    assert switched.status().model == models.id and switched.verify().problems == []
    assert switched.status().chunks == 8


def test_a_program_that_indexes_goes_back_by_itself(switched: Library, models: CountingEmbedder) -> None:
    switched.start(watch=False)
    wait_for(lambda: switched._indexing.pipeline)
    switched.roll_back_model()
    wait_for(lambda: switched.status().model == models.id)
    assert search(switched) == models.id


def test_a_switch_in_progress_is_given_up(folder: Path, open_library: OpenLibrary, models: CountingEmbedder) -> None:
    library = open_library(explicit_model=False)
    library.index([folder])
    before = contents_of(library)
    library.use_model("other")
    assert library.roll_back_model() == models.id
    assert [m.state for m in library.catalogue.models.all()] == ["answering"]
    library.index()
    assert library.status().model == models.id and contents_of(library) == before


def test_the_old_vectors_go_when_they_are_not_wanted_or_after_a_month(
    switched: Library, models: CountingEmbedder
) -> None:
    stored = switched.catalogue.models
    switched._indexing.sweep()
    assert not stored.drop_previous(time.time() + 29 * 86400) and len(stored.all()) == 2
    switched.use_model("contrary")
    switched.index()
    assert [m.name for m in stored.all()] == [OTHER, "contrary@1-r1"], "one step back, not two"
    assert stored.drop_previous(time.time() + 31 * 86400) and len(stored.all()) == 1
    switched.use_model("lite")
    switched.index()
    assert switched.accept_model() and not switched.accept_model()
    assert [m.name for m in stored.all()] == [models.id] and switched.verify().problems == []
    with pytest.raises(LibraryError, match="vectors of one model only"):
        switched.roll_back_model()
    with pytest.raises(LibraryError, match="vectors of one model only"):
        switched.compare_models(["bananas"])


def test_a_model_that_is_gone_is_not_returned_to(
    switched: Library, lite: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model.lite.embedder import LiteEmbedder

    updated = OtherModel(lite)
    updated.id = "lite@new-r9"
    monkeypatch.setattr(LiteEmbedder, "load", classmethod(lambda cls: updated))
    switched.models._embedders.clear()
    with pytest.raises(ModelError, match="is not on this machine any more; in its place is lite@new-r9"):
        switched.roll_back_model()
    assert switched.status().model == OTHER and search(switched) == OTHER


def test_only_the_program_that_indexes_goes_back(switched: Library, open_library: OpenLibrary) -> None:
    assert switched.may_index()
    try:
        with pytest.raises(LibraryError, match="is indexing this library: roll back in that one"):
            open_library(explicit_model=False).roll_back_model()
    finally:
        switched.done_indexing()
    reader = open_library(explicit_model=False, read_only=True)
    for act in (reader.roll_back_model, reader.accept_model):
        with pytest.raises(LibraryError):
            act()
    assert reader.compare_models(["bananas"]).models == (OTHER, switched.catalogue.models.previous()[0].name)  # type: ignore[index]


def test_the_last_queries_stand_side_by_side(switched: Library, models: CountingEmbedder) -> None:
    switched.save_search("Harbour", "q=the+harbour&kind=pdf")
    same = switched.compare_models()
    assert same.models == (OTHER, models.id) and same.chunks == (7, 7)
    assert [one.query for one in same.queries] == ["the harbour"] and same.agreement == 1.0
    switched.clicks.enable(True)
    (letter,) = [h.chunk_id for h in switched.search(Query((Part(text="bananas"),)), k=1).hits]
    for text in ("bananas", "an invoice"):
        switched.clicks.add(text, letter)
    switched.use_model("contrary")
    switched.index()
    compared = switched.compare_models()
    assert compared.models == ("contrary@1-r1", OTHER)
    assert [one.query for one in compared.queries] == ["an invoice", "bananas", "the harbour"]
    assert compared.queries[0].opened is not None and compared.queries[0].opened[1] == 1
    assert compared.queries[2].opened is None
    document = switched.compare_models(["a red photo"]).to_json()
    (one,) = document["queries"]
    assert [hit["rank"] for hit in one["hits"][0]] == list(range(1, len(one["hits"][0]) + 1))
    assert one["hits"][0] != one["hits"][1] and document["agreement"] == one["agreement"]


def test_a_model_that_is_being_built_is_compared_on_what_it_has(
    folder: Path, open_library: OpenLibrary, models: CountingEmbedder
) -> None:
    library = open_library(explicit_model=False)
    library.index([folder])
    library.use_model("contrary")
    row = next(m for m in library.catalogue.models.all() if m.state == "building")
    photos = [h for h in library.search(Query((Part(text="a photo"),))).hits if h.kind == "image"][:2]
    vectors = [library.catalogue.contents.vector(h.chunk_id, row.id - 1) for h in photos]
    library.catalogue.contents.add_embeddings(
        row.id, [h.chunk_id for h in photos], [v for v in vectors if v is not None]
    )
    compared = library.compare_models(["a photo"])
    assert compared.models == (models.id, "contrary@1-r1") and compared.chunks == (7, 2)
    assert [{h.path for h in hits} for hits in compared.queries[0].hits] == 2 * [{h.path for h in photos}]
    with pytest.raises(LibraryError, match="keeps no queries: name some"):
        library.compare_models()


@pytest.mark.slow
def test_killed_while_it_goes_back_one_model_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.indexer.pipeline.test_crash import teach_other

    def back(data_dir: Path, *step: str) -> int | None:
        """Returns the number of commits; None if the program ended itself."""
        module = "tests.indexer.pipeline.killable_index"
        command = [sys.executable, "-m", module, str(data_dir), "", "back", *step]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL)
        return int(done.stdout.split()[-1]) if done.returncode == 0 else None

    teach_other(monkeypatch)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    (tmp_path / "media").mkdir()
    media.draw_pdf(tmp_path / "media" / "letter.pdf", ["An invoice for bananas", "Greetings"])
    options = LibraryOptions(explicit_model=False, ocr="off", nice=False)
    with Library(whole, options, read_only=False) as library:
        library.index([tmp_path / "media"])
        lite = library.status().model
        library.use_model("other")
        library.index()
    shutil.copytree(whole, killed)
    commits = back(killed)
    assert commits == 3
    for number in range(1, commits + 1):
        shutil.rmtree(killed)
        shutil.copytree(whole, killed)
        assert back(killed, "before commit", str(number)) is None
        with Library(killed, options, read_only=True) as reader:
            assert search(reader) == OTHER
        with Library(killed, options, read_only=False) as library:
            library.index()
            assert search(library) == (OTHER if number == 1 else lite) and library.verify().problems == []
            assert library.roll_back_model() == (lite if number == 1 else OTHER) == library.status().model
