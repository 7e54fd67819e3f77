"""Distillation: a small student learns a teacher's vectors and the order that they give.

Built around `StudentTower`, the frozen lite towers and a projection (`model/lite/projection.py` runs it
without torch), and `Distillation`, the objective in `InfoNCE`'s place:

    loss = mean (1 - cos(student, teacher)) + distill_weight * KL(teacher's softmax of q·d/τ || student's)

The first term keeps the spaces comparable, so a library can hold both; the second says that what counts is
who is nearest. The teacher is any model that `model.load` opens; it sees the same loaded pictures, each
once: its vectors are kept by content.
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
from train.loading import Piece
from train.objectives.contrastive import LossOf, by_source
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


def _forget(known: dict[int, np.ndarray]) -> None:
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
        _forget(self._known)
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


class Distillation:
    """The objective: the teacher's vectors, and its order within the global batch."""

    wants_items = True

    def __init__(self, config: Config) -> None:
        assert config.teacher is not None
        self.config = config
        self.teacher = teacher(config.teacher, config.device)
        self._known: dict[int, np.ndarray] = {}
        self._seen: dict[str, Any] = {}

    def on(self, share: Sequence[Piece]) -> LossOf:
        import torch

        from train.loss import gather, in_batch_accuracy, same_target_mask, similarities

        n = sum(len(p) for p in share)
        items = [item for piece in share for item in piece.items]
        taught = torch.from_numpy(self._taught([q for q, _ in items] + [d for _, d in items]))

        def loss_of(embeddings: Tensor) -> Tensor:
            device = embeddings.device
            queries, documents = (gather(embeddings[a:b])[0] for a, b in ((0, n), (n, 2 * n)))
            wanted = taught.to(device)
            asked, shown = (gather(wanted[a:b])[0] for a, b in ((0, n), (n, 2 * n)))
            cosine = torch.cat([(queries * asked).sum(1), (documents * shown).sum(1)])
            tau = self.config.temperature
            order = torch.nn.functional.kl_div(
                torch.log_softmax(similarities(queries, documents, tau), dim=1),
                torch.log_softmax(similarities(asked, shown, tau), dim=1),
                reduction="batchmean",
                log_target=True,
            )
            keys = gather(torch.from_numpy(np.concatenate([p.target_keys for p in share])).to(device))[0]
            own = torch.arange(len(queries), device=device)
            sources = np.concatenate([p.sources for p in share])
            with torch.no_grad():
                self._seen = {
                    "right": in_batch_accuracy(queries, documents, own, same_target_mask(keys, own)),
                    "cosine": cosine,
                    "sources": gather(torch.from_numpy(sources).to(device))[0],
                    "order": order,
                }
            return (1 - cosine).mean() + self.config.distill_weight * order

        return loss_of

    def numbers(self, names: Sequence[str]) -> dict[str, Any]:
        cosine = self._seen["cosine"].detach()
        return {
            "accuracy": float(self._seen["right"].float().mean()),
            "teacher_cosine": float(cosine.mean()),
            "teacher_order": float(self._seen["order"].detach()),
            "source_loss": by_source(1 - cosine.view(2, -1).mean(0), self._seen["sources"], names),
        }

    def _taught(self, sides: Sequence[LoadedSide]) -> np.ndarray:
        """The teacher's vectors, float32 [n, d]; each content is embedded once.

        And alone: the last bit of a vector depends on its batch, and a run that goes on from a checkpoint
        meets contents in other company. Then the cost is once a content, not once a step.
        """
        keys = [content_key(side) for side in sides]
        new = {key: side for key, side in zip(keys, sides, strict=True) if key not in self._known}
        for key, side in new.items():
            self._known[key] = self.teacher.embed([side.to_input()])[0].astype(np.float16)
        taught = np.stack([self._known[key] for key in keys]).astype(np.float32)
        _forget(self._known)
        return taught / np.linalg.norm(taught, axis=1, keepdims=True)
