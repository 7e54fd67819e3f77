"""The interface in front of every embedding model, and `load`, the one way to get one.

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
    """

    id: str
    dim: int
    max_frames: int

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), dim]; rows of unit length, in the order given."""
        ...


def load(
    name_or_path: str = "lite",
    device: str = "auto",
    dtype: str = "auto",
    *,
    base: str | None = None,
    dim: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    max_frames: int | None = None,
    compile: bool = False,
    token: str | None = None,
) -> Embedder:
    """Load a model by name (`lite`, `vlm2vec-v2`, `gme-2b`), hub id or local folder; or by the address of
    a server that has it (`https://gpu-box:8000`), which may ask for a `token`.

    `base` overrides the base model that an adapter folder names; `dim` truncates
    Matryoshka models; `min_pixels`, `max_pixels` bound each picture (None: what the
    checkpoint says), `max_frames` the frames of a clip; `dtype` is auto, float32, bfloat16,
    float16 or int8; `compile` compiles a Qwen backbone at its first use. Raises
    `ModelError` when files are missing or do not fit, `ModelAway` when a server does not answer.
    """
    if name_or_path.startswith(("http://", "https://")):
        from model.remote import connect

        return connect(name_or_path, token=token, dim=dim, max_frames=max_frames)
    if name_or_path == "lite":
        from model.lite import LiteEmbedder

        return LiteEmbedder.load()
    from model.registry import open_checkpoint

    return open_checkpoint(
        name_or_path,
        device=device,
        dtype=dtype,
        base=base,
        dim=dim,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        max_frames=max_frames,
        compile=compile,
    )
