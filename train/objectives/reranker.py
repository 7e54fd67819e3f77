"""A reranker's scores as a lesson: how much better the right target is than each hard negative.

Built around `order_loss`, the divergence of the model's distribution over a pair's own candidates (its positive and its
hard negatives) from the reranker's. The scores are stored with the pairs. It knows nothing of rerankers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def order_loss(logits: Tensor, scores: Tensor, owners: Tensor) -> Tensor:
    """Returns the mean over scored queries of KL(softmax of their scores || softmax of their logits).

    `logits`  [n, m]: similarities / temperature to all targets, the n own ones first, then the hard negatives.
    `scores`  [m]: the reranker's score of each target for its own query; NaN: none.
    `owners`  int64 [m]: the query that a target belongs to.
    A query counts whose positive and at least one negative have a score; without any the loss is 0.
    """
    import torch

    n = len(logits)
    rows = torch.arange(n, device=logits.device)
    is_own = (owners[None, :] == rows[:, None]) & torch.isfinite(scores)[None, :]
    counts = is_own.sum(dim=1)
    scored = (counts > 1) & is_own[rows, rows]
    if not scored.any():
        return logits.sum() * 0
    is_own = is_own[scored]
    ours = torch.log_softmax(logits[scored].masked_fill(~is_own, float("-inf")), dim=1)
    wide = torch.where(is_own, scores[None, :].to(logits.dtype), float("-inf"))
    theirs = torch.softmax(wide, dim=1)
    gap = torch.where(is_own, theirs * (torch.log(theirs.clamp_min(1e-20)) - ours.masked_fill(~is_own, 0)), 0)
    return gap.sum(dim=1).mean()
