"""Distillation: a small student learns a teacher's vectors and the order that they give.

Built around `Distillation`, the objective in `InfoNCE`'s place:

    loss = mean (1 - cos(student, teacher)) + distill_weight * KL(teacher's softmax of q·d/τ || student's)

The first term keeps the spaces comparable, so a library can hold both; the second says that what counts is
who is nearest. The teacher sees the same loaded pictures as the student, each once: its vectors are kept by
content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.sources.pair import LoadedSide
from train.config import Config
from train.loading import PairBatch
from train.objectives.contrastive import LossOf, by_source
from train.towers.student import content_key, forget, teacher

if TYPE_CHECKING:
    from torch import Tensor


class Distillation:
    """The objective: the teacher's vectors, and its order within the global batch."""

    wants_items = True

    def __init__(self, config: Config) -> None:
        assert config.teacher is not None
        self.config = config
        self.teacher = teacher(config.teacher, config.device)
        self._known: dict[int, np.ndarray] = {}
        self._seen: dict[str, Any] = {}

    def on(self, share: Sequence[PairBatch]) -> LossOf:
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
        forget(self._known)
        return taught / np.linalg.norm(taught, axis=1, keepdims=True)
