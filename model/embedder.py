"""The interface in front of every embedding model.

An `Embedder` turns `Input`s into unit vectors in one space. It knows nothing of
files, libraries or indexes; whoever holds one needs only its `id` (to keep the
vectors of two models apart) and `dim`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from model.inputs import Input


class ModelError(Exception):
    """A model cannot be loaded or used. `str(error)` is one sentence for a person."""


class ModelAway(ModelError):
    """A model on another machine does not answer now. It may soon: whoever can wait tries again."""


class InputRejected(Exception):
    """The model works, and will not have this input. `str(error)` says why."""


@runtime_checkable
class Embedder(Protocol):
    """Inputs to unit vectors.

    `id`          name, weights fingerprint and recipe version: `lite@1f3a…-r1`.
                  Vectors of two ids never mix.
    `dim`         length of a vector.
    `max_frames`  how many frames of a video window the model wants.

    An embedder may also have `profile`, the `RankingProfile` that was measured with it, and `max_side`, the
    longest side in pixels that is of use to it, and `page_side`, the same of a page.
    """

    id: str
    dim: int
    max_frames: int

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), dim]; rows of unit length, in the order given."""
        ...
