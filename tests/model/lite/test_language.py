"""Which reading of lite a query is for: right where it decides."""

import json

import numpy as np
import pytest

from indexer.search.calibration import ORDINARY_ELSEWHERE, ORDINARY_QUERIES
from model.inputs import Input
from model.lite import weights
from model.lite.embedder import LiteEmbedder
from model.lite.language import Reading
from tests.quality.samples import SET


@pytest.fixture(scope="module")
def lite() -> LiteEmbedder:
    return LiteEmbedder.load()


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("lion", Reading.ENGLISH),
        ("a dog on the beach", Reading.ENGLISH),
        ("how to install software", Reading.ENGLISH),
        ("van gogh painting of the night sky", Reading.ENGLISH),
        ("", Reading.ENGLISH),
        ("ein Hund am Strand", Reading.MULTILINGUAL),
        ("un chien sur la plage", Reading.MULTILINGUAL),
        ("沙滩上的狗", Reading.MULTILINGUAL),
        ("собака на пляже", Reading.MULTILINGUAL),
        ("mariposa", Reading.BOTH),
        ("café", Reading.BOTH),
    ],
)
def test_a_query_is_read_in_its_language(lite: LiteEmbedder, text: str, reading: Reading) -> None:
    assert lite._reading_of(text) is reading


def test_no_english_query_is_taken_for_foreign_and_few_foreign_ones_for_english(lite: LiteEmbedder) -> None:
    labels = json.loads(SET.read_text("utf-8"))
    english = [*labels["text_to_image"], *labels["text_to_page"], *labels["text_to_video"]]
    assert not [text for text in english if lite._reading_of(text) is Reading.MULTILINGUAL]
    for language, queries in json.loads(SET.with_name("languages.json").read_text("utf-8")).items():
        taken = [text for text in queries.values() if lite._reading_of(text) is Reading.ENGLISH]
        assert len(taken) <= 0.05 * len(queries), (language, taken)


def test_an_earlier_id_gives_the_earlier_model(lite: LiteEmbedder) -> None:
    third, fourth, *later = weights.EARLIER
    old = LiteEmbedder.load(model_id=third)
    assert (old.id, old.dim) == (third, 640) != (lite.id, lite.dim)
    assert old.profile is not lite.profile and old.everyday is None
    old = LiteEmbedder.load(model_id=fourth)
    assert old.id == fourth != lite.id and old.dim == lite.dim and old.profile is not lite.profile
    short, long = (Input(text=" ".join(f"word{n}" for n in range(count)), kind="pdf") for count in (20, 400))
    before, after = old.embed([short, long]), lite.embed([short, long])
    assert np.allclose(before[0], after[0], atol=1e-6) and float(before[1] @ after[1]) < 0.999
    for model_id in later:
        old = LiteEmbedder.load(model_id=model_id)
        between = old.embed([short, long])
        assert old.id == model_id and np.allclose(between[0], after[0], atol=1e-6)
        assert float(between[1] @ before[1]) < 0.999 and float(between[1] @ after[1]) < 0.999


@pytest.mark.slow
def test_english_queries_and_what_they_are_compared_with_need_no_multilingual_reading() -> None:
    lite = LiteEmbedder.load()
    rows = lite.embed([Input(text=text, role="query") for text in ("lion", *ORDINARY_QUERIES)])
    assert not rows[:, weights.TEXT_DIM :].any()
    assert "_pieces" not in vars(lite._multilingual[0])
    elsewhere = lite.embed([Input(text=text, role="query") for text in ORDINARY_ELSEWHERE])
    assert np.square(elsewhere[:, : weights.TEXT_DIM]).sum(axis=1) == pytest.approx(0.3, abs=1e-3)
