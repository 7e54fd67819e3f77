"""Vectors that can be believed: a batch is embedded, looked at, and refused when it cannot be right.

Built around the ways in which models have failed silently elsewhere: NaN after a driver
update, one and the same vector for every picture for weeks. A suspicion is settled by the
model's own self-check, so that a hundred photos of the same wall are not taken for a broken
model. It knows nothing of files or the catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model import self_check
from model.embedder import Embedder, ModelError
from model.inputs import Input

ALIKE = 0.9999
"""Cosine above which a whole batch of different things is suspicious."""


class InputRefused(Exception):
    """The model works, but not on this input. `str(error)` is one plain reason."""


def embed_checked(embedder: Embedder, inputs: Sequence[Input]) -> np.ndarray:
    """float32 [n, dim], unit rows. Raises `ModelError` when the model is broken, `InputRefused` when one
    of the inputs is to blame (find it by embedding them one by one)."""
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
        self_check.check(embedder)  # raises when the model is broken; else they are alike indeed
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
