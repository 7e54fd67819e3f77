"""The student in training: the frozen lite towers and a projection, as `model/lite/projection.py` runs it.

Built around `StudentTower`, as wide as its teacher, which is any model that `model.load` opens. What the
frozen towers make of a content is kept. It knows nothing of what the student learns.
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
from train.towers.tower import put_back

if TYPE_CHECKING:
    from torch import Tensor, nn

HIDDEN = 1024
KEPT = 200_000
"""Vectors of teacher and towers kept in memory (0.6 and 0.5 GB at most); the oldest go first."""


@lru_cache(maxsize=1)
def teacher(name: str, device: str) -> Any:
    """The teacher of a run, loaded once."""
    import model

    return model.load(name, device=device)


def content_key(side: LoadedSide) -> int:
    """Role and kind are part of what a model makes of a content, so of what is remembered."""
    return hash((side.key, side.role, side.kind))


def forget(known: dict[int, np.ndarray]) -> None:
    while len(known) > KEPT:
        del known[next(iter(known))]


class StudentCollator:
    """Loaded sides to what the projection sees. Lite is loaded where this runs, not sent there.

    The towers are frozen: what they say of a content is kept for the next time round.
    """

    def __init__(self) -> None:
        self._lite: Any = None
        self._known: dict[int, np.ndarray] = {}

    def __call__(self, sides: Sequence[LoadedSide]) -> Tensor:
        import torch

        from model.lite.embedder import LiteEmbedder
        from model.lite.projection import features

        if self._lite is None:
            self._lite = LiteEmbedder.load()
        keys = [content_key(side) for side in sides]
        new = {key: side.to_input() for key, side in zip(keys, sides, strict=True) if key not in self._known}
        if new:
            inputs = list(new.values())
            self._known |= dict(zip(new, features(self._lite.embed(inputs), inputs), strict=True))
        found = torch.from_numpy(np.stack([self._known[key] for key in keys]))
        forget(self._known)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"_lite": None, "_known": {}}


class StudentTower:
    """The projection in training."""

    def __init__(self, config: Config) -> None:
        from torch import nn

        from model.lite.embedder import LiteEmbedder
        from model.lite.projection import KINDS, ROLES
        from model.qwen.checkpoint import pick_device

        assert config.teacher is not None
        master = teacher(config.teacher, config.device)
        self.config, self.teacher_id, self.dim = config, master.id, int(master.dim)
        self.device = pick_device(config.device)
        width = LiteEmbedder.dim + len(ROLES) * len(KINDS)
        self.module: nn.Module = nn.ModuleDict(
            {
                "hidden": nn.Linear(width, HIDDEN),
                "out": nn.Linear(HIDDEN, master.dim),
                "straight": nn.Linear(width, master.dim, bias=False),
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

    def trained(self) -> dict[str, nn.Parameter]:
        return dict(self.module.named_parameters())

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        from model.lite.embedder import LiteEmbedder
        from model.lite.projection import CONFIG, WEIGHTS

        tensors = {name: p.detach().to("cpu").contiguous() for name, p in self.trained().items()}
        save_file(tensors, folder / WEIGHTS)
        said = {"lite": LiteEmbedder.load().id, "teacher": self.teacher_id}
        (folder / CONFIG).write_text(json.dumps(said, indent=1) + "\n")

    def restore(self, folder: Path) -> None:
        from safetensors.torch import load_file

        from model.lite.projection import WEIGHTS

        put_back(dict(self.trained()), load_file(folder / WEIGHTS), folder)
