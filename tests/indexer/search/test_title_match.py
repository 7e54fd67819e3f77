"""What names mean beside a query, by the built-in model's own reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from indexer.search.calibration import ORDINARY_QUERIES
from indexer.search.hit_facts import FileRef
from indexer.search.title_match import Titles, name_in_words
from model import load
from model.embedder import Embedder
from model.inputs import Input


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load("lite")


@pytest.fixture(scope="module")
def ordinary(embedder: Embedder) -> np.ndarray:
    return embedder.embed([Input(text=t, role="query") for t in ORDINARY_QUERIES])


@pytest.mark.slow
@pytest.mark.parametrize(
    "query, answer, other",
    [
        ("a jar of honey", "honey pot", "jar"),
        ("a dog in the snow", "dog winter walk", "snow chains"),
        ("warranty of the dishwasher", "dishwasher guarantee", "wash basin"),
        ("a recipe for apple pie", "apple cake recipe", "apple"),
    ],
)
def test_a_name_that_means_the_query_is_nearer_than_one_that_shares_a_word(
    embedder: Embedder, ordinary: np.ndarray, query: str, answer: str, other: str
) -> None:
    asked = embedder.embed([Input(text=query, role="query")])
    near, far = Titles(embedder).likeness(asked, [answer, other], ordinary)
    assert near > far
    assert near > 2.0


def test_a_name_is_read_once(embedder: Embedder, ordinary: np.ndarray) -> None:
    class Counting:
        dim, max_frames, id = embedder.dim, embedder.max_frames, embedder.id
        read: list[str | None] = []  # noqa: RUF012

        def embed(self, inputs: Sequence[Input]) -> np.ndarray:
            self.read += [item.text for item in inputs]
            return embedder.embed(inputs)

    counting = Counting()
    titles = Titles(counting)
    first = titles.likeness(ordinary[:1], ["a dog", "a cat", "a dog"], ordinary)
    assert titles.likeness(ordinary[:1], ["a cat"], ordinary) == [pytest.approx(first[1])]
    assert counting.read == ["a dog", "a cat"]
    assert titles.likeness(ordinary[:1], [], ordinary) == []


@pytest.mark.parametrize(
    "path, words, title",
    [
        ("/p/2019/black_cats-01.jpg", ["cat"], "black cats 01"),
        ("/p/Lisbon holiday/IMG_1234.jpg", ["holiday"], "lisbon holiday img 1234"),
        ("/p/Lisbon holiday/holiday.jpg", ["Holidays"], "holiday"),
        ("/p/x/.hidden", ["holiday"], "x hidden"),
    ],
)
def test_a_name_stands_with_its_folder_where_the_word_is_the_folders(path: str, words: list[str], title: str) -> None:
    folder, _, name = path.rpartition("/")
    assert name_in_words(FileRef(1, path, name, folder), words) == title
