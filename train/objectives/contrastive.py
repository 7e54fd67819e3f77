"""What a step makes smaller: a loss over the embeddings of the global batch, and what is told of it.

Built around `Objective`, two functions; `Contrastive` is the recipe's, `distill.py` the student's (`open.py`
finds that of a config). It knows nothing of towers, chunks or how the gradient reaches the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from train.config import Config
from train.loading import PairBatch

if TYPE_CHECKING:
    from torch import Tensor

LossOf = Callable[["Tensor"], "Tensor"]
"""This process's embeddings [queries, positives, negatives; d] to the loss of the global batch."""


class Objective(Protocol):
    wants_items: bool
    """Whether pieces must bring the loaded sides along (`PairBatch.items`)."""

    def on(self, share: Sequence[PairBatch]) -> LossOf:
        """The loss of this process's share of a batch."""
        ...

    def numbers(self, names: Sequence[str]) -> dict[str, Any]:
        """What is told of the last loss: `accuracy`, `source_loss` by name, and the objective's own."""
        ...


class Contrastive:
    """InfoNCE over the global batch, with its accuracy and its loss by source."""

    wants_items = False

    def __init__(self, config: Config) -> None:
        self.config = config
        self._seen: dict[str, Tensor] = {}

    def on(self, share: Sequence[PairBatch]) -> LossOf:
        import torch

        from train.loss import gather, in_batch_accuracy, info_nce, same_target_mask, similarities

        n = sum(len(p) for p in share)

        def loss_of(embeddings: Tensor) -> Tensor:
            device = embeddings.device

            def everybodys(arrays: list[np.ndarray]) -> Tensor:
                return gather(torch.from_numpy(np.concatenate(arrays)).to(device))[0]

            queries, _ = gather(embeddings[:n])
            positives, _ = gather(embeddings[n : 2 * n])
            negatives, _ = gather(embeddings[2 * n :])
            keys = torch.cat([everybodys([p.target_keys for p in share]), everybodys([p.negative_keys for p in share])])
            targets = torch.cat([positives, negatives])
            own = torch.arange(len(queries), device=device)
            mask = same_target_mask(keys, own) if self.config.mask_same_targets else None
            loss = info_nce(queries, targets, self.config.temperature, positives=own, mask=mask)
            with torch.no_grad():
                logits = similarities(queries, targets, self.config.temperature)
                if mask is not None:
                    logits = logits.masked_fill(mask.scatter(1, own[:, None], False), float("-inf"))
                self._seen = {
                    "losses": torch.nn.functional.cross_entropy(logits, own, reduction="none"),
                    "right": in_batch_accuracy(queries, targets, own, mask),
                    "sources": everybodys([p.sources for p in share]),
                }
            return loss

        return loss_of

    def numbers(self, names: Sequence[str]) -> dict[str, Any]:
        return {
            "accuracy": float(self._seen["right"].float().mean()),
            "source_loss": by_source(self._seen["losses"], self._seen["sources"], names),
        }


def by_source(values: Tensor, sources: Tensor, names: Sequence[str]) -> dict[str, float]:
    """The mean of a batch's values [n], by the name of the source (int64 [n]) of each."""
    values, sources = values.cpu(), sources.cpu()
    return {names[s]: float(values[sources == s].mean()) for s in sorted(set(sources.tolist()))}
