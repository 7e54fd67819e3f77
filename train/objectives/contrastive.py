"""The objective of a step: a loss over the embeddings of the global batch, and its metrics.

Built around `Objective`; `Contrastive` is the recipe's, `distill.py` the student's, and `open.py` selects one by
the config. It knows nothing of towers, chunks or how the gradient reaches the weights.
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
"""From this process's embeddings [queries, positives, negatives; d] to the loss of the global batch."""


class Objective(Protocol):
    needs_items: bool
    """Whether the batches must carry the loaded sides (`PairBatch.items`)."""

    def loss_function(self, share: Sequence[PairBatch]) -> LossOf:
        """Returns the loss of this process's share of a batch."""
        ...

    def metrics(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns the metrics of the last loss: `accuracy`, `source_loss` by source name, and the objective's own."""
        ...


class Contrastive:
    """InfoNCE over the global batch, with its accuracy and its loss by source."""

    needs_items = False

    def __init__(self, config: Config) -> None:
        self.config = config
        self._last: dict[str, Tensor] = {}

    def loss_function(self, share: Sequence[PairBatch]) -> LossOf:
        import torch

        from train.loss import gather, in_batch_accuracy, info_nce, same_target_mask, similarities

        n = sum(len(p) for p in share)

        def loss_of(embeddings: Tensor) -> Tensor:
            device = embeddings.device

            def gather_arrays(arrays: list[np.ndarray]) -> Tensor:
                return gather(torch.from_numpy(np.concatenate(arrays)).to(device))[0]

            queries, _ = gather(embeddings[:n])
            positives, _ = gather(embeddings[n : 2 * n])
            negatives, _ = gather(embeddings[2 * n :])
            keys = torch.cat([gather_arrays([getattr(p, k) for p in share]) for k in ("target_keys", "negative_keys")])
            targets = torch.cat([positives, negatives])
            own = torch.arange(len(queries), device=device)
            mask = same_target_mask(keys, own) if self.config.mask_same_targets else None
            loss = info_nce(queries, targets, self.config.temperature, positives=own, mask=mask)
            with torch.no_grad():
                logits = similarities(queries, targets, self.config.temperature)
                if mask is not None:
                    logits = logits.masked_fill(mask.scatter(1, own[:, None], False), float("-inf"))
                self._last = {
                    "losses": torch.nn.functional.cross_entropy(logits, own, reduction="none"),
                    "correct": in_batch_accuracy(queries, targets, own, mask),
                    "sources": gather_arrays([p.sources for p in share]),
                }
            return loss

        return loss_of

    def metrics(self, names: Sequence[str]) -> dict[str, Any]:
        return {
            "accuracy": float(self._last["correct"].float().mean()),
            "source_loss": by_source(self._last["losses"], self._last["sources"], names),
        }


def by_source(values: Tensor, sources: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Returns the mean of `values` [n] for each source; `sources` int64 [n] index `names`."""
    values, sources = values.cpu(), sources.cpu()
    return {names[s]: float(values[sources == s].mean()) for s in sorted(set(sources.tolist()))}
