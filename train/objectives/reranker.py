"""A reranker's scores as a lesson: how much better the right target is than each hard negative.

Built around `order_loss`, the divergence of the model's distribution over a pair's own candidates (its positive and its
hard negatives) from the reranker's. The scores are stored with the pairs. It knows nothing of rerankers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def order_loss(queries: Tensor, targets: Tensor, scores: Tensor, owners: Tensor, temperature: float = 0.02) -> Tensor:
    """Returns the mean over scored queries of KL(softmax of their scores || softmax of their similarities).

    `queries` [n, d] and `targets` [m, d], unit rows, the n own targets first, then the hard negatives.
    `scores`  [m]: the reranker's score of each target for its own query; NaN: none.
    `owners`  int64 [m]: the query that a target belongs to.
    A query counts whose positive and at least one negative have a score; without any the loss is 0.
    """
    import torch

    n, is_scored = len(queries), torch.isfinite(scores)
    counts = torch.bincount(owners[is_scored], minlength=n)
    counts_query = (counts > 1) & is_scored[:n]
    if not counts_query.any():
        return queries.sum() * 0
    columns = torch.nonzero(is_scored & counts_query[owners]).squeeze(1)
    columns = columns[torch.argsort(owners[columns], stable=True)]
    width = int(counts[counts_query].max())
    firsts = torch.cumsum(counts[counts_query], 0) - counts[counts_query]
    place = torch.arange(width, device=queries.device)
    is_there = place[None, :] < counts[counts_query][:, None]
    table = columns[(firsts[:, None] + place).clamp_max(len(columns) - 1)]  # [scored queries, width]
    with torch.autocast(queries.device.type, enabled=False):
        own = torch.einsum("nd,nkd->nk", queries[counts_query].float(), targets[table].float()) / temperature
    ours = torch.log_softmax(own.masked_fill(~is_there, float("-inf")), dim=1).masked_fill(~is_there, 0)
    theirs = torch.log_softmax(scores[table].float().masked_fill(~is_there, float("-inf")), dim=1)
    gap = theirs.exp() * (theirs.masked_fill(~is_there, 0) - ours)
    return gap.sum(dim=1).mean()
