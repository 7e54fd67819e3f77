"""Distillation: a small student learns a teacher's vectors and the ranking that they give.

Built around `Distillation`, the objective that replaces InfoNCE:

    loss = mean (1 - cos(student, teacher)) + distill_weight * KL(teacher's softmax of q·d/τ || student's)

The first term keeps the two vector spaces comparable, so a library can hold both; the second teaches the order of
the targets. The teacher embeds the same loaded images as the student, each content once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.sources.pair import LoadedSide
from train.config import Config
from train.loading import PairBatch
from train.objectives.contrastive import LossOf, by_source
from train.towers.student import content_key, shrink, teacher

if TYPE_CHECKING:
    from torch import Tensor


class Distillation:
    """The objective: the teacher's vectors, and its order within the global batch."""

    needs_items = True

    def __init__(self, config: Config) -> None:
        assert config.teacher is not None
        self.config = config
        self.teacher = teacher(config.teacher, config.device)
        self._cache: dict[int, np.ndarray] = {}
        self._last: dict[str, Any] = {}

    def loss_function(self, share: Sequence[PairBatch]) -> LossOf:
        import torch

        from train.loss import gather, in_batch_accuracy, same_target_mask, similarities

        n = sum(len(p) for p in share)
        items = [item for batch in share for item in batch.items]
        teacher_vectors = torch.from_numpy(self._teacher_vectors([q for q, _ in items] + [d for _, d in items]))

        def loss_of(embeddings: Tensor) -> Tensor:
            device = embeddings.device
            vectors = teacher_vectors.to(device)
            queries, documents = (gather(rows)[0] for rows in (embeddings[:n], embeddings[n : 2 * n]))
            teacher_queries, teacher_documents = (gather(rows)[0] for rows in (vectors[:n], vectors[n : 2 * n]))
            cosine = torch.cat([(queries * teacher_queries).sum(1), (documents * teacher_documents).sum(1)])
            tau = self.config.temperature
            order = torch.nn.functional.kl_div(
                torch.log_softmax(similarities(queries, documents, tau), dim=1),
                torch.log_softmax(similarities(teacher_queries, teacher_documents, tau), dim=1),
                reduction="batchmean",
                log_target=True,
            )
            keys = gather(torch.from_numpy(np.concatenate([p.target_keys for p in share])).to(device))[0]
            own = torch.arange(len(queries), device=device)
            sources = np.concatenate([p.sources for p in share])
            with torch.no_grad():
                self._last = {
                    "correct": in_batch_accuracy(queries, documents, own, same_target_mask(keys, own)),
                    "cosine": cosine,
                    "sources": gather(torch.from_numpy(sources).to(device))[0],
                    "order": order,
                }
            return (1 - cosine).mean() + self.config.distill_weight * order

        return loss_of

    def metrics(self, names: Sequence[str]) -> dict[str, Any]:
        cosine = self._last["cosine"].detach()
        return {
            "accuracy": float(self._last["correct"].float().mean()),
            "teacher_cosine": float(cosine.mean()),
            "teacher_order": float(self._last["order"].detach()),
            "source_loss": by_source(1 - cosine.view(2, -1).mean(0), self._last["sources"], names),
        }

    def _teacher_vectors(self, sides: Sequence[LoadedSide]) -> np.ndarray:
        """Returns the teacher's vectors, float32 [n, d]. Each content is embedded once and alone.

        Alone, because the last bit of a vector depends on its batch, and a resumed run has other batches.
        """
        keys = [content_key(side) for side in sides]
        new = {key: side for key, side in zip(keys, sides, strict=True) if key not in self._cache}
        for key, side in new.items():
            self._cache[key] = self.teacher.embed([side.to_input()])[0].astype(np.float16)
        vectors = np.stack([self._cache[key] for key in keys]).astype(np.float32)
        shrink(self._cache)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
