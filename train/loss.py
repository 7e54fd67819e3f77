"""The contrastive loss: InfoNCE over cosine, query -> target, for a batch across processes.

Built around rows of unit length: `info_nce` divides their dot products by the temperature and takes the
cross-entropy of every query's own target among all targets of the global batch. `gather` collects the rows of all
processes (own rows keep their gradient), `same_target_mask` finds targets that are no negatives.
It knows nothing of models, of chunks or of where the rows come from.

Source: VLM2Vec-V2 (arXiv 2507.04590), section 3; the released code's loss is this one without masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def similarities(queries: Tensor, targets: Tensor, temperature: float = 0.02) -> Tensor:
    """Returns dot products / temperature, [n, m], at least float32, whatever dtype the towers and autocast use.

    At temperature 0.02 a bfloat16 product has an error of up to 0.2 in the exponent.
    """
    import torch

    with torch.autocast(queries.device.type, enabled=False):
        if queries.dtype in (torch.float16, torch.bfloat16):
            queries = queries.float()
        return queries @ targets.to(queries.dtype).T / temperature


def positives_of(n_queries: int, n_targets: int, device: torch.device | None = None) -> Tensor:
    """Returns the column of each query's own target, int64 [n], for groups of equal size, the positive first."""
    import torch

    if n_queries == 0 or n_targets % n_queries:
        raise ValueError(
            f"{n_targets} targets cannot be shared evenly by {n_queries} queries: "
            "give every query the same number of targets, or pass the column of its own with `positives`"
        )
    return torch.arange(n_queries, device=device) * (n_targets // n_queries)


def info_nce(
    queries: Tensor,
    targets: Tensor,
    temperature: float = 0.02,
    *,
    positives: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Returns the mean over queries of -log softmax(query · targets / temperature) at the query's own target.

    `queries`    [n, d], unit rows. Nothing is normalised here: the gradient is that of the dot product.
    `targets`    [m, d], unit rows. By default m = g·n: each query has g consecutive targets, its positive
                 first and its hard negatives after it.
    `positives`  int64 [n]: the column of each query's positive; None: the default order.
    `mask`       bool [n, m]: True removes a target from a query's negatives. A positive is never removed.
    """
    import torch

    logits = similarities(queries, targets, temperature)
    if positives is None:
        positives = positives_of(len(queries), len(targets), device=logits.device)
    if mask is not None:
        own = torch.zeros_like(mask).scatter_(1, positives[:, None], True)
        logits = logits.masked_fill(mask & ~own, float("-inf"))
    return torch.nn.functional.cross_entropy(logits, positives)


def same_target_mask(target_keys: Tensor, positives: Tensor) -> Tensor:
    """Returns bool [n, m]: True where a target has the content of the query's own target (label, caption, page).

    `target_keys` int64 [m] identifies each target's content; `positives` int64 [n] as in `info_nce`.
    Without the mask, two rows labelled "dog" in one batch push "dog" away from each other's image; the
    original does not mask, and loses most on sources with few labels (VOC2007, SUN397).
    """
    return target_keys[positives][:, None] == target_keys[None, :]


def in_batch_accuracy(
    queries: Tensor, targets: Tensor, positives: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Returns bool [n]: the query's own target scores above every negative. A tie counts against the model."""
    import torch

    scores = similarities(queries, targets, 1.0)
    if positives is None:
        positives = positives_of(len(queries), len(targets), device=scores.device)
    own = scores.gather(1, positives[:, None])
    others = torch.ones_like(scores, dtype=torch.bool).scatter_(1, positives[:, None], False)
    if mask is not None:
        others &= ~mask
    return ~((scores >= own) & others).any(dim=1) & own.isfinite().squeeze(1)


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """Returns every process's rows in order of rank, [sum n_r, …], and the position of this process's first row.

    Own rows keep their graph, the others are constants. Each process therefore differentiates the whole
    global loss with respect to its own rows, and the exact gradient of the parameters is the plain *sum*
    over processes (no mean, no world-size factor). The number of rows may differ between processes.
    """
    import torch
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return rows, 0
    world, rank = dist.get_world_size(), dist.get_rank()
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
    dist.all_gather(counts, torch.tensor([len(rows)], dtype=torch.int64, device=rows.device))
    sizes = [int(c) for c in counts]
    widest = max(sizes)
    padded = rows.detach().new_zeros((widest, *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    buffers = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(buffers, padded)
    parts = [part[:size] for part, size in zip(buffers, sizes, strict=True)]
    parts[rank] = rows
    return torch.cat(parts), sum(sizes[:rank])
