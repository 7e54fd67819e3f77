"""How the map between the two readings of a text is learnt."""

from __future__ import annotations

import numpy as np
import pytest

from model.lite import weights
from model.lite.build.cross_lingual import linear_map, texts


def test_a_linear_relation_is_found_but_for_what_tells_the_classes_apart() -> None:
    rng = np.random.default_rng(3)
    relation, offset = rng.standard_normal((20, 48)), rng.standard_normal(48)
    many = 30 * rng.standard_normal((4_000, 20))
    classes = np.zeros((200, 48))
    classes[:, :32] = rng.standard_normal((200, 32))  # they differ in these directions alone
    solved, added = linear_map(many, many @ relation + offset, classes)
    assert solved[:, :32] == pytest.approx(0, abs=1e-8) and added[:32] == pytest.approx(0, abs=1e-8)
    assert solved[:, 32:] == pytest.approx(relation[:, 32:], abs=1e-4)
    assert added[32:] == pytest.approx(offset[32:], abs=1e-3)


def test_the_texts_are_words_names_queries_and_whole_sentences() -> None:
    read = texts(weights.find())
    sentences = [text for text in read if len(text) > 60]
    assert len(read) > 2 * len(sentences) > 2_000
    assert not [text for text in read if "\n" in text or len(text) >= 160 or text != text.strip()]
