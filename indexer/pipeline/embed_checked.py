"""Checked embeddings: a batch is embedded, and its vectors are refused if they cannot be right.

Built around two silent failures of models: NaN after a driver update, and the same vector for every
image. The model's self-check decides a suspicion, so that a hundred photos of one wall do not count
as a broken model. It knows nothing of files or the catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model import self_check
from model.embedder import Embedder, ModelError
from model.inputs import Input

ALIKE = 0.9999
"""Cosine from which on a batch of nearly equal vectors is suspicious."""


class InputRefused(Exception):
    """The model works, but not on this input. `str(error)` is the reason."""


def embed_checked(embedder: Embedder, inputs: Sequence[Input]) -> np.ndarray:
    """Returns float32 [n, dim], rows of unit length. Raises `ModelError` if the model is broken, `InputRefused`
    if one of the inputs is the cause; the caller finds it by embedding them one by one."""
    try:
        vectors = np.asarray(embedder.embed(inputs), np.float32)
        problem = _problem(vectors, len(inputs), embedder.dim)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 – the boundary to any model's code
        problem, cause = f"{type(error).__name__}: {error}".splitlines()[0], error
        self_check.check(embedder)
        raise InputRefused(f"the model could not embed it ({problem})") from cause
    if problem == "alike":
        self_check.check(embedder)  # raises if the model is broken; otherwise the inputs are alike
    elif problem:
        self_check.check(embedder)
        raise InputRefused(f"the model gave no usable vector for it ({problem})")
    return vectors


def _problem(vectors: np.ndarray, count: int, dim: int) -> str:
    if vectors.shape != (count, dim):
        raise ModelError(f"the model returned an array {vectors.shape} in place of {(count, dim)}")
    if not np.isfinite(vectors).all():
        return "not finite"
    if np.abs(np.linalg.norm(vectors, axis=1) - 1).max(initial=0) > 1e-2:
        return "not of unit length"
    if count >= 3 and float((vectors @ vectors[0]).min()) > ALIKE:
        return "alike"
    return ""
