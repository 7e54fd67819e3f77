"""Static embeddings of tokens against what MiniLM makes of them alone."""

import numpy as np

from model.lite import weights
from model.lite.embedder import LiteEmbedder
from model.lite.static_embeddings import StaticEmbeddings


def test_a_word_is_nearer_to_its_own_reading_than_to_that_of_others() -> None:
    lite, static = LiteEmbedder.load(), StaticEmbeddings(weights.find() / "text.onnx")
    begin, *numbers, end = lite.ids_of("giraffe piano volcano mortgage bicycle")
    read = np.array([lite.read_english([begin, number, end]) for number in numbers])
    directions = static.embed(np.array(numbers))
    likeness = (directions - directions.mean(axis=0)) @ (read - read.mean(axis=0)).T
    assert likeness.argmax(axis=1).tolist() == list(range(len(numbers)))
