"""InfoNCE with several right targets for a query, in both directions, block by block.

Built around `multi_positive_nce`: rows with the same content are positives of each other's queries, where
`train.loss.info_nce` can only leave them out of the negatives:

    mean over positives p of  -log  exp(s_p) / (exp(s_p) + sum over negatives exp(s_n))

and `both_ways`, which takes the mean with the direction from target to query. It holds the similarities of `ROWS` rows
at once and computes them again for the gradient, so that memory grows with the batch and not with its square. It knows
nothing of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.loss import info_nce, same_target_mask, similarities

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 1024
"""8,192 x 8,192 similarities are 268 MB in float32, and a loss with its gradient holds several matrices of that size;
1,024 of their rows are 34 MB. A batch of 1,024 is one block, as it was."""


def multi_positive_nce(queries: Tensor, targets: Tensor, same: Tensor, temperature: float = 0.02) -> Tensor:
    """Returns the mean over queries. `same` bool [n, m]: a target is right for a query; one a row or more."""
    import torch

    logits = similarities(queries, targets, temperature)
    others = torch.logsumexp(logits.masked_fill(same, float("-inf")), dim=1, keepdim=True)
    each = torch.logaddexp(logits, others) - logits
    return (each.masked_fill(~same, 0).sum(dim=1) / same.sum(dim=1)).mean()


def both_ways(
    queries: Tensor,
    targets: Tensor,
    temperature: float = 0.02,
    keys: Tensor | None = None,
    *,
    several: bool = False,
    symmetric: bool = False,
    rows: int = ROWS,
) -> Tensor:
    """Returns the loss of queries [n, d] against targets [m, d], of which the first n are their own, in order.

    `keys` int64 [m]: the content of each target; targets equal to the own one are no negatives (`several`: they are
    positives). None: only the own target is right. `symmetric`: the mean with the loss of each own target against all
    queries. `rows`: the size of a block.
    """
    forward = _in_blocks(queries, targets, temperature, keys, several, rows)
    if not symmetric:
        return forward
    n = len(queries)
    back = _in_blocks(targets[:n], queries, temperature, None if keys is None else keys[:n], several, rows)
    return (forward + back) / 2


def _in_blocks(
    queries: Tensor, targets: Tensor, temperature: float, keys: Tensor | None, several: bool, rows: int
) -> Tensor:
    import torch
    from torch.utils.checkpoint import checkpoint

    def mean_of(first: int, block: Tensor, columns: Tensor) -> Tensor:
        own = torch.arange(first, first + len(block), device=block.device)
        same = None if keys is None else same_target_mask(keys, own)
        if several and same is not None:
            return multi_positive_nce(block, columns, same, temperature)
        return info_nce(block, columns, temperature, positives=own, mask=same)

    n = len(queries)
    if n <= rows:
        return mean_of(0, queries, targets)
    total = queries.new_zeros((), dtype=torch.float32)
    for first in range(0, n, rows):
        block = queries[first : first + rows]
        mean = checkpoint(mean_of, first, block, targets, use_reentrant=False, preserve_rng_state=False)
        total = total + mean * (len(block) / n)
    return total
