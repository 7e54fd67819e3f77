"""The contrastive loss: InfoNCE over cosine, query -> target, and what makes it right in a real batch.

Built around rows that already have unit length: `info_nce` takes their dot products, divides by the
temperature and asks every query to pick its own target among all targets of the global batch. Beside it
stand the three things a batch across processes needs: `gather` (everybody's rows, own rows keep their
gradient), `same_target_mask` (a target equal to the query's own is no negative) and `in_batch_accuracy`.
It knows nothing of models, of chunks or of where the rows come from.

Source: VLM2Vec-V2 (arXiv 2507.04590), section 3; the released code's loss is this one without masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def similarities(queries: Tensor, targets: Tensor, temperature: float = 0.02) -> Tensor:
    """Dot products / temperature, [n, m], in float32 at least, whatever the towers and autocast run in.

    At temperature 0.02 a bfloat16 product would be off by up to 0.2 in the exponent.
    """
    import torch

    with torch.autocast(queries.device.type, enabled=False):
        if queries.dtype in (torch.float16, torch.bfloat16):
            queries = queries.float()
        return queries @ targets.to(queries.dtype).T / temperature


def positives_of(n_queries: int, n_targets: int, device: torch.device | None = None) -> Tensor:
    """Column of each query's own target when targets come in equal groups, the positive first. int64 [n]."""
    import torch

    if n_queries == 0 or n_targets % n_queries:
        raise ValueError(
            f"{n_targets} targets cannot be shared evenly by {n_queries} queries: "
            "give every query the same number of targets, or say which one is its own with `positives`"
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
    """Mean over queries of -log softmax(query · targets / temperature) at the query's own target. Scalar.

    `queries`    [n, d], unit rows. Nothing is normalised here: the gradient is that of the dot product.
    `targets`    [m, d], unit rows. By default m = g·n and the g targets of a query stand together, its
                 positive first and its hard negatives after it.
    `positives`  int64 [n]: the column of each query's positive, where the default order does not hold.
    `mask`       bool [n, m]: True takes a target out of a query's negatives. A positive is never taken out.
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
    """bool [n, m]: targets that are the query's own target once more (equal label, caption, page).

    `target_keys` int64 [m] names each target's content; `positives` int64 [n] as in `info_nce`.
    Without this, two rows labelled "dog" in one batch push "dog" away from each other's image; the
    original does not mask, and loses most on sources with few labels (VOC2007, SUN397).
    """
    return target_keys[positives][:, None] == target_keys[None, :]


def in_batch_accuracy(
    queries: Tensor, targets: Tensor, positives: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """bool [n]: the query's own target beats every negative. A tie counts against the model."""
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
    """Every process's rows in order of rank, and where this process's rows begin. [sum n_r, …].

    Own rows keep their graph, the others are constants. Each process therefore differentiates the whole
    global loss with respect to its own rows, and the exact gradient of the parameters is the plain *sum*
    over processes (no mean, no world-size factor). Processes may hold different numbers of rows.
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
    received = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(received, padded)
    parts = [part[:size] for part, size in zip(received, sizes, strict=True)]
    parts[rank] = rows
    return torch.cat(parts), sum(sizes[:rank])
