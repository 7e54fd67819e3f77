"""A self-check that any `Embedder` must pass before its vectors are believed.

A model can load without an error and still be broken: an adapter that did not land, a
driver that returns zeros, weights cut short. `check` embeds a handful of words and drawn
images and compares what comes back with what no working model gets wrong. It is built
around the `Embedder` interface alone and knows nothing of any one model.
"""

from __future__ import annotations

import numpy as np

from model.embedder import Embedder, ModelError
from model.inputs import Input

_ASKED = "a photo of a dog"
_PARAPHRASE = "a picture of a dog"
_OTHER = "quarterly report on corporate income taxes"


SAME = 0.99
"""Cosine from which two vectors of one input are taken for the same model's. int8 against float32 (0.976,
`make bench-model`) is told apart; bfloat16 against float32 was not measured, and is expected above."""


def inputs() -> list[Input]:
    """What is embedded: three texts, a disk, a darker disk, stripes."""
    disk, stripes = _disk(), _stripes()
    darker = (disk * 0.9).astype(np.uint8)
    return [
        *(Input(text=text, role="query") for text in (_ASKED, _PARAPHRASE, _OTHER)),
        *(Input(images=(image,), kind="image") for image in (disk, darker, stripes)),
    ]


def agreement(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The least cosine between two models' vectors of `inputs()`; -1 where they are not of one shape."""
    if ours.shape != theirs.shape:
        return -1.0
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / np.maximum(lengths, 1e-12)).min())


def check(embedder: Embedder) -> None:
    """Raise `ModelError` where vectors are not finite, not of unit length, alike for different
    inputs, different for the same input, or where a paraphrase is further than another topic.

    Costs six small embeddings; for indexers to call once when a model is loaded.
    """
    asked = inputs()
    vectors = np.asarray(embedder.embed(asked))
    if vectors.shape != (len(asked), embedder.dim):
        raise _broken(embedder, f"gives vectors of shape {vectors.shape}, not {(len(asked), embedder.dim)}")
    if not np.isfinite(vectors).all():
        raise _broken(embedder, "gives vectors that hold NaN or infinity")
    lengths = np.linalg.norm(vectors, axis=1)
    if np.abs(lengths - 1).max() > 1e-3:
        raise _broken(embedder, f"gives vectors of length {lengths.min():.3f} to {lengths.max():.3f}, not 1")
    cosines = vectors @ vectors.T
    for different, what in (((0, 2), "two unrelated texts"), ((3, 5), "two different images")):
        if cosines[different] > 0.999:
            raise _broken(embedder, f"gives the same vector for {what}")
    if cosines[0, 3] > 0.999:
        raise _broken(embedder, "gives the same vector for words and for an image")
    if not cosines[0, 1] > cosines[0, 2]:
        raise _broken(embedder, f'finds "{_OTHER}" nearer to "{_ASKED}" than "{_PARAPHRASE}"')
    if not cosines[3, 4] > cosines[3, 5]:
        raise _broken(embedder, "finds another image nearer than the same image a little darker")


def _broken(embedder: Embedder, problem: str) -> ModelError:
    return ModelError(f"the model {embedder.id} fails its self-check: it {problem}; its vectors are not used")


def _disk(side: int = 112) -> np.ndarray:
    """uint8 [side, side, 3]: a red disk on white."""
    rows, columns = np.mgrid[0:side, 0:side] - side // 2
    inside = (rows**2 + columns**2 < (side // 3) ** 2)[:, :, None]
    return np.where(inside, (200, 30, 30), (250, 250, 250)).astype(np.uint8)


def _stripes(side: int = 112) -> np.ndarray:
    """uint8 [side, side, 3]: slanting blue and black stripes."""
    rows, columns = np.mgrid[0:side, 0:side]
    lit = ((rows + columns) // 8 % 2 == 0)[:, :, None]
    return np.where(lit, (40, 60, 220), (5, 5, 5)).astype(np.uint8)
