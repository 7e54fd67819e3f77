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
    """InfoNCE over the global batch, with its accuracy and its loss by source.

    By the config also on cut vectors (`matryoshka.py`), in both directions and with several right targets
    (`multi_positive.py`), and with a reranker's order of a pair's own candidates (`reranker.py`).
    """

    needs_items = False

    def __init__(self, config: Config) -> None:
        self.config = config
        self._last: dict[str, Tensor] = {}

    def loss_function(self, share: Sequence[PairBatch]) -> LossOf:
        import torch

        from train.loss import gather
        from train.objectives.matryoshka import nested
        from train.objectives.multi_positive import both_ways
        from train.objectives.reranker import order_loss

        n = sum(len(p) for p in share)
        config = self.config

        def loss_of(embeddings: Tensor) -> Tensor:
            def gather_arrays(arrays: list[np.ndarray]) -> Tensor:
                return gather(torch.from_numpy(np.concatenate(arrays)).to(embeddings.device))[0]

            queries, first = gather(embeddings[:n])
            positives, _ = gather(embeddings[n : 2 * n])
            negatives, _ = gather(embeddings[2 * n :])
            targets = torch.cat([positives, negatives])
            keys = None
            if config.mask_same_targets:
                keys = torch.cat([gather_arrays([p.target_keys for p in share]),
                                  gather_arrays([p.negative_keys for p in share])])  # fmt: skip

            def contrast(rows: Tensor, columns: Tensor) -> Tensor:
                several, symmetric = config.multi_positive, config.symmetric
                return both_ways(rows, columns, config.temperature, keys, several=several, symmetric=symmetric)

            loss = nested(contrast, queries, targets, config.matryoshka)
            if config.rerank_weight:
                starts = np.cumsum([0, *(len(p) for p in share)])
                owners = [p.negative_owners + start for p, start in zip(share, starts[:-1], strict=True)]
                owner_of = gather(torch.from_numpy(np.concatenate(owners)).to(embeddings.device) + first)[0]
                scores = [gather_arrays([getattr(p, s) for p in share]) for s in ("scores", "negative_scores")]
                own = torch.arange(len(queries), device=embeddings.device)
                order = order_loss(queries, targets, torch.cat(scores), torch.cat([own, owner_of]), config.temperature)
                loss = loss + config.rerank_weight * order
            with torch.no_grad():
                losses, correct = _by_query(queries, targets, config.temperature, keys)
                self._last = {
                    "losses": losses,
                    "correct": correct,
                    "sources": gather_arrays([p.sources for p in share]),
                }
            return loss

        return loss_of

    def metrics(self, names: Sequence[str]) -> dict[str, Any]:
        return {
            "accuracy": float(self._last["correct"].float().mean()),
            "source_loss": by_source(self._last["losses"], self._last["sources"], names),
        }


def _by_query(queries: Tensor, targets: Tensor, temperature: float, keys: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns the plain loss of each query, float [n], and whether its own target is first, bool [n]."""
    import torch

    from train.loss import in_batch_accuracy, same_target_mask, similarities
    from train.objectives.multi_positive import ROWS

    losses, correct = [], []
    for first in range(0, len(queries), ROWS):
        rows = queries[first : first + ROWS]
        own = torch.arange(first, first + len(rows), device=queries.device)
        mask = None if keys is None else same_target_mask(keys, own)
        logits = similarities(rows, targets, temperature)
        if mask is not None:
            logits = logits.masked_fill(mask.scatter(1, own[:, None], False), float("-inf"))
        losses.append(torch.nn.functional.cross_entropy(logits, own, reduction="none"))
        correct.append(in_batch_accuracy(rows, targets, own, mask))
    return torch.cat(losses), torch.cat(correct)


def by_source(values: Tensor, sources: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Returns the mean of `values` [n] for each source; `sources` int64 [n] index `names`."""
    values, sources = values.cpu(), sources.cpu()
    return {names[s]: float(values[sources == s].mean()) for s in sorted(set(sources.tolist()))}
