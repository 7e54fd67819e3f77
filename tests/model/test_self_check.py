"""The self-check notices every way in which a model can be silently broken, and passes one that works."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from model import load, self_check
from model.embedder import Embedder, ModelError
from model.inputs import Input


@pytest.fixture(scope="module")
def lite() -> Embedder:
    return load("lite")


class Broken:
    """A working model whose vectors pass through `damage`."""

    def __init__(self, model: Embedder, damage: Callable[[np.ndarray], np.ndarray]) -> None:
        self.id, self.dim, self.max_frames = "broken@0", model.dim, model.max_frames
        self._model, self._damage = model, damage

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        return self._damage(self._model.embed(inputs))


def test_the_lite_model_passes(lite: Embedder) -> None:
    self_check.check(lite)


def test_words_alone_are_checked_without_pictures(lite: Embedder) -> None:
    self_check.check(Broken(lite, lambda v: v), words_only=True)
    with pytest.raises(ModelError, match="nearer"):
        self_check.check(Broken(lite, lambda v: v[[0, 2, 1]]), words_only=True)
    with pytest.raises(ModelError, match="two unrelated texts"):
        self_check.check(Broken(lite, lambda v: v[[0, 0, 0]]), words_only=True)


def with_nan(vectors: np.ndarray) -> np.ndarray:
    vectors[-1, 3] = np.nan
    return vectors


def same_pictures(vectors: np.ndarray) -> np.ndarray:
    vectors[3:] = vectors[3]
    return vectors


@pytest.mark.parametrize(
    "damage, said",
    [
        (with_nan, "NaN"),
        (lambda v: v * 0, "length 0.000"),
        (lambda v: v * 1.01, "length 1.010"),
        (lambda v: v[:, :-1], "shape"),
        (lambda v: v[:-1], "shape"),
        (lambda v: np.repeat(v[:1], len(v), 0), "same vector for two unrelated texts"),
        (same_pictures, "same vector for two different images"),
        (lambda v: v[[0, 1, 2, 0, 1, 2]], "same vector for words and for an image"),
        (lambda v: v[[0, 2, 1, 3, 4, 5]], "nearer"),
        (lambda v: np.concatenate([v[:4], -v[3:4], v[5:]]), "a little darker"),
    ],
)
def test_a_broken_model_is_refused_with_the_reason(
    lite: Embedder, damage: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    with pytest.raises(ModelError, match="broken@0 fails its self-check") as caught:
        self_check.check(Broken(lite, damage))
    assert said in str(caught.value)
