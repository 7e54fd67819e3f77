"""A distilled student: the lite towers and a small projection into a teacher's space, without torch.

Built around one fixed first half, `LiteEmbedder`, and two matrices that `train/objectives/distill.py` learnt:

    x  = [lite vector (1152) ; one of 8: role x kind]
    v  = unit(W2 gelu(W1 x + b1) + b2 + P x)

so a vector of the teacher's dimension costs what lite costs, and stays comparable with the teacher's own.
A folder of it holds student.json and student.safetensors. It knows nothing of how it was trained.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.embedder import ModelError, unit_rows
from model.hub_files import header, read_json
from model.inputs import Input
from model.lite.weights import EARLIER

CONFIG, WEIGHTS = "student.json", "student.safetensors"
ROLES, KINDS = ("query", "document"), ("text", "image", "video", "pdf")
MATRICES = ("hidden.weight", "hidden.bias", "out.weight", "out.bias", "straight.weight")


def is_student(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def features(vectors: np.ndarray, inputs: Sequence[Input]) -> np.ndarray:
    """What the projection sees: float32 [n, 1152 + 8], lite's vectors and a mark for role and kind."""
    marks = np.zeros((len(inputs), len(ROLES) * len(KINDS)), np.float32)
    for row, item in enumerate(inputs):
        marks[row, ROLES.index(item.role) * len(KINDS) + KINDS.index(item.kind)] = 1
    return np.concatenate([vectors.astype(np.float32), marks], axis=1)


class StudentEmbedder:
    """`Embedder` of a distilled student. Made by `model.load(folder)`."""

    max_frames = 8

    def __init__(self, folder: Path) -> None:
        from model.lite.embedder import LiteEmbedder

        config = read_json(folder / CONFIG)
        earlier = config["lite"] if config.get("lite") in EARLIER else None
        self._lite = LiteEmbedder.load(model_id=earlier)
        if config.get("lite") != self._lite.id:
            raise ModelError(
                f"{folder} was trained on {config.get('lite')}, this Sightline has {self._lite.id}; "
                f"train it again, or use the version of Sightline that it was trained with."
            )
        self._weights = _read(folder / WEIGHTS)
        self.dim = int(self._weights["out.bias"].shape[0])
        mark = hashlib.blake2b((folder / WEIGHTS).read_bytes(), digest_size=6).hexdigest()
        self.id = f"{folder.resolve().name}@{mark}-r1"

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), dim]; rows of unit length, in the order given."""
        if not inputs:
            return np.zeros((0, self.dim), np.float32)
        x = features(self._lite.embed(inputs), inputs)
        w = self._weights
        hidden = gelu(x @ w["hidden.weight"].T + w["hidden.bias"])
        out = hidden @ w["out.weight"].T + w["out.bias"] + x @ w["straight.weight"].T
        return np.asarray(unit_rows(out), np.float32)


def gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form, as in training: NumPy has no erf."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1 + np.tanh(inner)), np.float32)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The float32 tensors of a safetensors file, without the library: the default install has none."""
    if not path.is_file():
        raise ModelError(f"{path.parent} has no {path.name}.")
    found: dict[str, Any] = header(path)
    if missing := [name for name in MATRICES if name not in found]:
        raise ModelError(f"{path} lacks {', '.join(missing)}: it is no student of this version.")
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name in MATRICES:
        if found[name]["dtype"] != "F32":
            raise ModelError(f"{path}: {name} is {found[name]['dtype']}, not F32.")
        first, last = found[name]["data_offsets"]
        flat = np.frombuffer(content[start + first : start + last], dtype="<f4")
        tensors[name] = flat.reshape(found[name]["shape"])
        if not np.isfinite(tensors[name]).all():
            raise ModelError(f"{path} holds values that are not numbers, in {name}.")
    return tensors
