"""Exact gradients of a batch that does not fit into memory: a forward pass without a graph, then one per chunk with it.

Built around one fact: the loss depends on the model only through the embeddings. So (1) every chunk is embedded
without a graph and its random state is recorded; (2) the loss and its gradient with respect to the embeddings are
computed over the whole batch; (3) each chunk is embedded again in the same random state, and its part of that
gradient is backpropagated. The sum over chunks is the gradient of the whole batch, dropout included. The memory
is that of one chunk, the cost a second forward pass; a batch of one chunk needs only one.
It knows nothing of queries, targets, losses or processes: `loss_of` does. Gradients are added to `.grad`;
`sum_gradients` then sums them over processes.

Source of the idea: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"
(arXiv 2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Encode = Callable[[Any], "Tensor"]
"""From a collated chunk to embeddings [n, d] with their graph."""


def cached_backward(
    encode: Encode, chunks: Sequence[Any], loss_of: Callable[[Tensor], Tensor], cache: bool = True
) -> Tensor:
    """Add d loss_of(embeddings of all chunks) / d parameters to `.grad`. Returns the loss, detached.

    `loss_of` receives the embeddings [sum n, d] in the order of the chunks. `cache=False` keeps the graph of
    all chunks at once: one forward pass and the memory of the whole batch.
    """
    import torch

    if len(chunks) == 1 or not cache:
        loss = loss_of(torch.cat([encode(chunk) for chunk in chunks]))
        torch.autograd.backward(loss)
        return loss.detach()

    states, parts = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(random_state())
            parts.append(encode(chunk))
    sizes = [len(part) for part in parts]
    embeddings = torch.cat(parts).requires_grad_()
    del parts
    loss = loss_of(embeddings)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    after = random_state()
    for chunk, state, part in zip(chunks, states, torch.split(gradient, sizes), strict=True):
        set_random_state(state)
        torch.autograd.backward((encode(chunk) * part).sum())
    set_random_state(after)
    return loss.detach()


def embed_chunks(encode: Encode, chunks: Iterable[Any]) -> Tensor:
    """Returns the embeddings of all chunks without a graph, [sum n, d]."""
    import torch

    with torch.no_grad():
        return torch.cat([encode(chunk) for chunk in chunks])


def random_state() -> list[Tensor]:
    """Returns the state of the generators that dropout uses: the CPU's and the accelerator's, if one is in use."""
    import torch

    accelerator = _accelerator()
    return [torch.get_rng_state()] + ([accelerator.get_rng_state()] if accelerator else [])


def set_random_state(states: Sequence[Tensor]) -> None:
    import torch

    torch.set_rng_state(states[0])
    if len(states) > 1 and (accelerator := _accelerator()):
        accelerator.set_rng_state(states[1])


def _accelerator() -> Any:
    """Returns `torch.cuda`, `torch.mps` … for the current device; None if no accelerator is in use."""
    import torch

    if not torch.accelerator.is_available():
        return None
    module = torch.get_device_module(torch.accelerator.current_accelerator())
    return module if getattr(module, "is_initialized", lambda: True)() else None


@contextmanager
def same_random_state() -> Iterator[None]:
    """Restore the random state at the end of the block."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Sum `.grad` over all processes; a parameter without a gradient in one process counts as 0 there.

    A sum, not a mean: each process differentiates the whole global loss (see `train.loss.gather`).
    """
    import torch
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return
    by_dtype: dict[Any, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_dtype.values():
        for bucket in _buckets(gradients, elements=64 * 2**20):
            flat = torch.cat([g.reshape(-1) for g in bucket])
            dist.all_reduce(flat)
            for gradient, part in zip(bucket, torch.split(flat, [g.numel() for g in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))


def _buckets(tensors: Sequence[Tensor], elements: int) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.numel() > elements:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket
