"""Small embedders for tests of what stands around a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from blake3 import blake3

from model.inputs import Input


class HashEmbedder:
    """A vector from a hash of the whole input: equal for equal inputs, else random. Counts its work."""

    max_frames = 8

    def __init__(self, id: str = "hash@1", dim: int = 32) -> None:
        self.id, self.dim, self.count = id, dim, 0
        self.seen: list[Input] = []

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        self.count += len(inputs)
        self.seen += inputs
        return np.stack([self._one(item) for item in inputs])

    def _one(self, item: Input) -> np.ndarray:
        said = blake3(repr((item.text, item.instruction, item.role, item.kind)).encode())
        for array in [*item.images, *([] if item.video is None else [item.video])]:
            said.update(np.ascontiguousarray(array).tobytes())
        seed = int.from_bytes(said.digest(8), "little")
        vector = np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)
        return vector / np.linalg.norm(vector)


class CollapsedEmbedder(HashEmbedder):
    """One vector for everything."""

    def _one(self, item: Input) -> np.ndarray:
        return np.full(self.dim, self.dim**-0.5, dtype=np.float32)
