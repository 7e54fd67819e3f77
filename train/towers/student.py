"""The student in training: a projection over the frozen lite towers, as `model/lite/projection.py` runs it.

Built around `StudentTower`, which has the dimension of its teacher, any model that `model.load` opens. The vectors
of the frozen towers are cached. It knows nothing of the objective.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.sources.pair import LoadedSide
from train.config import Config
from train.towers.tower import copy_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

HIDDEN = 1024
CACHE_SIZE = 200_000
"""Cached vectors of teacher and of towers (0.6 and 0.5 GB at most)."""


@lru_cache(maxsize=1)
def teacher(name: str, device: str) -> Any:
    """Returns the teacher of a run, loaded once."""
    import model

    return model.load(name, device=device)


def content_key(side: LoadedSide) -> int:
    """Returns the cache key of a side: a model's vector depends on content, role and kind."""
    return hash((side.key, side.role, side.kind))


def shrink(cache: dict[int, np.ndarray]) -> None:
    """Delete the oldest vectors above CACHE_SIZE."""
    while len(cache) > CACHE_SIZE:
        del cache[next(iter(cache))]


class StudentCollator:
    """Turns loaded sides into the projection's inputs, the cached vectors of the frozen towers.

    Each loader process loads lite itself.
    """

    def __init__(self) -> None:
        self._lite: Any = None
        self._cache: dict[int, np.ndarray] = {}

    def __call__(self, sides: Sequence[LoadedSide]) -> Tensor:
        import torch

        from model.lite.embedder import LiteEmbedder
        from model.lite.projection import features

        if self._lite is None:
            self._lite = LiteEmbedder.load()
        keys = [content_key(side) for side in sides]
        new = {key: side.to_input() for key, side in zip(keys, sides, strict=True) if key not in self._cache}
        if new:
            inputs = list(new.values())
            self._cache |= dict(zip(new, features(self._lite.embed(inputs), inputs), strict=True))
        batch = torch.from_numpy(np.stack([self._cache[key] for key in keys]))
        shrink(self._cache)
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {"_lite": None, "_cache": {}}


class StudentTower:
    """The projection in training."""

    def __init__(self, config: Config) -> None:
        from torch import nn

        from model.devices import pick_device
        from model.lite.embedder import LiteEmbedder
        from model.lite.projection import KINDS, ROLES

        assert config.teacher is not None
        model = teacher(config.teacher, config.device)
        self.config, self.teacher_id, self.dim = config, model.id, int(model.dim)
        self.device = pick_device(config.device)
        width = LiteEmbedder.dim + len(ROLES) * len(KINDS)
        self.module: nn.Module = nn.ModuleDict(
            {
                "hidden": nn.Linear(width, HIDDEN),
                "out": nn.Linear(HIDDEN, self.dim),
                "straight": nn.Linear(width, self.dim, bias=False),
            }
        ).to(self.device)

    def collator(self) -> StudentCollator:
        return StudentCollator()

    def encode(self, batch: Tensor) -> Tensor:
        from torch.nn import functional

        x = batch.to(self.device)
        parts: Any = self.module
        out = parts["out"](functional.gelu(parts["hidden"](x), approximate="tanh")) + parts["straight"](x)
        return functional.normalize(out, dim=1)

    def trainable(self) -> dict[str, nn.Parameter]:
        return dict(self.module.named_parameters())

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        from model.lite.embedder import LiteEmbedder
        from model.lite.projection import CONFIG, WEIGHTS

        tensors = {name: p.detach().to("cpu").contiguous() for name, p in self.trainable().items()}
        save_file(tensors, folder / WEIGHTS)
        ids = {"lite": LiteEmbedder.load().id, "teacher": self.teacher_id}
        (folder / CONFIG).write_text(json.dumps(ids, indent=1) + "\n")

    def restore(self, folder: Path) -> None:
        from safetensors.torch import load_file

        from model.lite.projection import WEIGHTS

        copy_tensors(dict(self.trainable()), load_file(folder / WEIGHTS), folder)
