"""The tensors of EmbeddingGemma 2's checkpoint, one at a time, without torch.

Built around safetensors files, of which only the tensor asked for is in memory. It knows nothing of what a tensor is
for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model.embedder import ModelError
from model.gemma.files import MODEL_TYPE
from model.hub_files import header, read_json, weight_files

BLOCK_ROWS = 16_384


class Checkpoint:
    """`text`, `vision`: the configurations of the two towers; `checkpoint[name]`: float32, a tensor."""

    def __init__(self, folder: Path) -> None:
        """Raises `ModelError` if a file is missing, truncated or another model's."""
        self._folder = folder
        self.config = read_json(folder / "config.json")
        if self.config.get("model_type") != MODEL_TYPE:
            raise ModelError(f"{folder} holds a model of kind {self.config.get('model_type')}, not EmbeddingGemma 2.")
        self.text: dict[str, Any] = self.config["text_config"]
        self.vision: dict[str, Any] = self.config["vision_config"]
        self._tensors: dict[str, tuple[Path, int, dict[str, Any]]] = {}
        for path in weight_files(folder):
            with path.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
            for name, spec in header(path).items():
                self._tensors[name] = (path, 8 + length, spec)

    def __getitem__(self, name: str) -> np.ndarray:
        """Returns float32, a tensor. Raises `ModelError`."""
        return self._finite(name, self._read(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor. Raises `ModelError`."""
        return tuple(self._place(name)[2]["shape"])

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """Yields float32 [at most BLOCK_ROWS, size], the rows of a matrix in order. Raises `ModelError`."""
        for start in range(0, self.shape(name)[0], BLOCK_ROWS):
            yield self._finite(name, self._read(name, slice(start, start + BLOCK_ROWS)))

    def bound(self, name: str) -> float | None:
        """Returns a bound of a clipped linear layer; None if it is infinite or absent."""
        value = float(self._read(name).reshape(-1)[0]) if name in self._tensors else np.inf
        return value if np.isfinite(value) else None

    def _finite(self, name: str, values: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).all():
            raise ModelError(f"{self._folder} holds values that are not numbers, in {name}; it is damaged.")
        return values

    def _place(self, name: str) -> tuple[Path, int, dict[str, Any]]:
        if name not in self._tensors:
            raise ModelError(f"{self._folder} has no tensor {name}: it is another model's checkpoint.")
        return self._tensors[name]

    def _read(self, name: str, rows: slice | None = None) -> np.ndarray:
        """Returns float32, a tensor or some of its rows. Not mapped: pages of a file count as memory of the process."""
        path, start, spec = self._place(name)
        stored = {"BF16": "<u2", "F32": "<f4", "F16": "<f2"}.get(spec["dtype"])
        if stored is None:
            raise ModelError(f"{path} has {name} as {spec['dtype']}; the checkpoint has bfloat16 or float32.")
        shape, offset = list(spec["shape"]), start + spec["data_offsets"][0]
        if rows is not None:
            first, last, _ = rows.indices(shape[0])
            shape[0] = last - first
            offset += first * int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(stored).itemsize
        raw = np.fromfile(path, stored, int(np.prod(shape, dtype=np.int64)), offset=offset).reshape(shape)
        return (raw.astype(np.uint32) << 16).view(np.float32) if spec["dtype"] == "BF16" else raw.astype(np.float32)
