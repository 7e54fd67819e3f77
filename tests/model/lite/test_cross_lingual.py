"""The map from the multilingual reading of a query to MiniLM's, with the real networks."""

from __future__ import annotations

import numpy as np
import pytest

from model.inputs import Input
from model.lite import weights
from model.lite.cross_lingual import CrossLingual
from model.lite.embedder import LiteEmbedder
from model.lite.multilingual import Multilingual

ENGLISH = ["how to repair a bicycle tyre", "train tickets to Vienna", "a recipe for apple cake", "the doctor's invoice"]
OTHERS = {
    "de": [
        "wie man einen Fahrradreifen repariert",
        "Fahrkarten nach Wien",
        "ein Rezept für Apfelkuchen",
        "Arztrechnung",
    ],
    "es": [
        "cómo reparar una rueda de bicicleta",
        "billetes de tren a Viena",
        "una receta de tarta de manzana",
        "la factura del médico",
    ],
    "ja": ["自転車のタイヤを直す方法", "ウィーン行きの列車の切符", "アップルケーキのレシピ", "医者の請求書"],
}


@pytest.fixture(scope="module")
def lite() -> LiteEmbedder:
    return LiteEmbedder.load()


@pytest.mark.parametrize("language", OTHERS)
def test_a_text_is_nearest_to_what_minilm_reads_of_it_in_english(lite: LiteEmbedder, language: str) -> None:
    read = np.array([lite.read_english(lite.ids_of(text)) for text in ENGLISH])
    reader, told = Multilingual(weights.find()), CrossLingual()
    mapped = np.array([told.to_english(reader.embed(text)) for text in OTHERS[language]])
    assert np.linalg.norm(mapped, axis=1) == pytest.approx(1)
    likeness = (mapped - mapped.mean(axis=0)) @ (read - read.mean(axis=0)).T
    assert likeness.argmax(axis=1).tolist() == list(range(len(ENGLISH)))


def test_a_query_that_is_not_english_asks_both_parts_of_a_page_and_an_english_one_only_its_own(
    lite: LiteEmbedder,
) -> None:
    english, german = lite.embed([Input(text=text, role="query") for text in (ENGLISH[0], OTHERS["de"][0])])
    parts = np.array([[np.linalg.norm(part) for part in np.split(row, [384, 896])] for row in (english, german)])
    assert parts[0] == pytest.approx([1, 0, 0])
    assert parts[1] == pytest.approx([0.3**0.5, 0.7**0.5, 0])
