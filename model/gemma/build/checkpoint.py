"""The tensors of EmbeddingGemma 2's checkpoint, one at a time, without torch.

Built around safetensors files, which are mapped into memory. It knows nothing of what a tensor is for.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from model.embedder import ModelError
from model.gemma.files import MODEL_TYPE
from model.hub_files import header, read_json, weight_files


class Checkpoint:
    """`text`, `vision`: the configurations of the two towers; `checkpoint[name]`: float32, a tensor."""

    def __init__(self, folder: Path) -> None:
        """Raises `ModelError` if a file is missing, truncated or another model's."""
        self._folder = folder
        self.config = read_json(folder / "config.json")
        if self.config.get("model_type") != MODEL_TYPE:
            raise ModelError(f"{folder} holds a model of kind {self.config.get('model_type')}, not EmbeddingGemma 2.")
        if not (folder / "tokenizer.json").is_file():
            raise ModelError(f"{folder / 'tokenizer.json'} is missing.")
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
        values = self._values(name)
        if not np.isfinite(values).all():
            raise ModelError(f"{self._folder} holds values that are not numbers, in {name}; it is damaged.")
        return values

    def bound(self, name: str) -> float | None:
        """Returns a bound of a clipped linear layer; None if it is infinite or absent."""
        value = float(self._values(name).reshape(-1)[0]) if name in self._tensors else np.inf
        return value if np.isfinite(value) else None

    def _values(self, name: str) -> np.ndarray:
        if name not in self._tensors:
            raise ModelError(f"{self._folder} has no tensor {name}: it is another model's checkpoint.")
        path, start, spec = self._tensors[name]
        begin, end = spec["data_offsets"]
        raw = np.memmap(path, np.uint8, "r", start + begin, (end - begin,)) if end > begin else np.zeros(0, np.uint8)
        if spec["dtype"] == "BF16":
            values = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        elif spec["dtype"] in ("F32", "F16"):
            values = raw.view("<f4" if spec["dtype"] == "F32" else "<f2").astype(np.float32)
        else:
            raise ModelError(f"{path} has {name} as {spec['dtype']}; the checkpoint has bfloat16 or float32.")
        return values.reshape(spec["shape"])
