"""The self-check of an `Embedder`, before its first use.

A model can load without an error and still be broken: an adapter is not merged, a driver returns zeros, weights are
truncated. Built around `check`, which embeds a few texts and drawn images and tests relations that every working
model satisfies. It knows nothing of any one model.
"""

from __future__ import annotations

import numpy as np

from model.embedder import Embedder, ModelError
from model.inputs import Input

_QUERY = "a photo of a dog"
_PARAPHRASE = "a picture of a dog"
_OTHER = "quarterly report on corporate income taxes"


SAME = 0.99
"""The least cosine between vectors of one input by the same model. int8 against float32 has 0.976
(`make bench-model`) and counts as another model; bfloat16 against float32 is not measured and expected above."""


def inputs() -> list[Input]:
    """Returns the inputs of the check: three texts, a disk, a darker disk, stripes."""
    disk, stripes = _disk(), _stripes()
    darker = (disk * 0.9).astype(np.uint8)
    return [
        *(Input(text=text, role="query") for text in (_QUERY, _PARAPHRASE, _OTHER)),
        *(Input(images=(image,), kind="image") for image in (disk, darker, stripes)),
    ]


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the least cosine between two models' vectors of `inputs()`; -1 if their shapes differ."""
    if first.shape != second.shape:
        return -1.0
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(axis=1) / np.maximum(norms, 1e-12)).min())


def check(embedder: Embedder, words_only: bool = False) -> None:
    """Raises `ModelError` if vectors are not finite or not of unit length, if different inputs have the same vector,
    or if a paraphrase or a darker image is further away than an unrelated input. It embeds six small inputs;
    `words_only`: the three texts, for which a model need not read its network for pictures.
    """
    checked = inputs()[: 3 if words_only else None]
    vectors = np.asarray(embedder.embed(checked))
    shape = (len(checked), embedder.dim)
    if vectors.shape != shape:
        raise _broken(embedder, f"gives vectors of shape {vectors.shape}, not {shape}")
    if not np.isfinite(vectors).all():
        raise _broken(embedder, "gives vectors that hold NaN or infinity")
    lengths = np.linalg.norm(vectors, axis=1)
    if np.abs(lengths - 1).max() > 1e-3:
        raise _broken(embedder, f"gives vectors of length {lengths.min():.3f} to {lengths.max():.3f}, not 1")
    cosines = vectors @ vectors.T
    pairs = {(0, 2): "two unrelated texts", (3, 5): "two different images", (0, 3): "words and for an image"}
    for pair, names in pairs.items():
        if max(pair) < len(checked) and cosines[pair] > 0.999:
            raise _broken(embedder, f"gives the same vector for {names}")
    if not cosines[0, 1] > cosines[0, 2]:
        raise _broken(embedder, f'finds "{_OTHER}" nearer to "{_QUERY}" than "{_PARAPHRASE}"')
    if not words_only and not cosines[3, 4] > cosines[3, 5]:
        raise _broken(embedder, "finds another image nearer than the same image a little darker")


def _broken(embedder: Embedder, problem: str) -> ModelError:
    return ModelError(f"the model {embedder.id} fails its self-check: it {problem}; its vectors are not used")


def _disk(side: int = 112) -> np.ndarray:
    """uint8 [side, side, 3]: a red disk on white."""
    rows, columns = np.mgrid[0:side, 0:side] - side // 2
    is_inside = (rows**2 + columns**2 < (side // 3) ** 2)[:, :, None]
    return np.where(is_inside, (200, 30, 30), (250, 250, 250)).astype(np.uint8)


def _stripes(side: int = 112) -> np.ndarray:
    """uint8 [side, side, 3]: slanting blue and black stripes."""
    rows, columns = np.mgrid[0:side, 0:side]
    is_blue = ((rows + columns) // 8 % 2 == 0)[:, :, None]
    return np.where(is_blue, (40, 60, 220), (5, 5, 5)).astype(np.uint8)
