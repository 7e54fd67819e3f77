"""InfoNCE with several right targets for a query, and in both directions.

Built around `multi_positive_nce`: rows with the same content are positives of each other's queries, where
`train.loss.info_nce` can only leave them out of the negatives:

    mean over positives p of  -log  exp(s_p) / (exp(s_p) + sum over negatives exp(s_n))

and `both_ways`, which adds the direction from target to query. It knows nothing of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.loss import info_nce, similarities

if TYPE_CHECKING:
    from torch import Tensor


def multi_positive_nce(queries: Tensor, targets: Tensor, same: Tensor, temperature: float = 0.02) -> Tensor:
    """Returns the mean over queries. `same` bool [n, m]: a target is right for a query; one a row or more."""
    import torch

    logits = similarities(queries, targets, temperature)
    others = torch.logsumexp(logits.masked_fill(same, float("-inf")), dim=1, keepdim=True)
    each = torch.logaddexp(logits, others) - logits
    return (each.masked_fill(~same, 0).sum(dim=1) / same.sum(dim=1)).mean()


def both_ways(
    queries: Tensor, targets: Tensor, temperature: float, same: Tensor | None, several: bool, symmetric: bool
) -> Tensor:
    """Returns the loss of queries [n, d] against targets [m, d], of which the first n are their own, in order.

    `same` as in `multi_positive_nce`, None: only the own target is right. `several`: the right ones are positives, else
    they are only no negatives. `symmetric`: the mean with the loss of each own target against all queries.
    """
    import torch

    n = len(queries)
    own = torch.arange(n, device=queries.device)

    def one_way(rows: Tensor, columns: Tensor, right: Tensor | None) -> Tensor:
        if several and right is not None:
            return multi_positive_nce(rows, columns, right, temperature)
        return info_nce(rows, columns, temperature, positives=own, mask=right)

    forward = one_way(queries, targets, same)
    if not symmetric:
        return forward
    back = None if same is None else same[:, :n].T
    return (forward + one_way(targets[:n], queries, back)) / 2
