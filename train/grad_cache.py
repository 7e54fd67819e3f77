"""Exact gradients of a batch that does not fit: forward without a graph, then chunk by chunk with one.

Built around one fact: the loss meets the model only through the embeddings. So (1) every chunk is embedded
without a graph, its random state noted; (2) the loss and its gradient *at the embeddings* are taken over
the whole batch; (3) each chunk is embedded again, in the same random state, and that gradient is sent
through it. The sum over chunks is the gradient of the un-chunked batch, dropout included. Memory is that
of one chunk, the price a second forward; a batch of one chunk skips both.
It knows nothing of queries, targets, losses or processes: `loss_of` does. Gradients are added to `.grad`;
over several processes they are afterwards summed by `sum_gradients`.

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
"""A collated chunk to embeddings [n, d] with their graph."""


def cached_backward(
    encode: Encode, chunks: Sequence[Any], loss_of: Callable[[Tensor], Tensor], cache: bool = True
) -> Tensor:
    """Add d loss_of(embeddings of all chunks) / d parameters to `.grad`; return the loss, detached.

    `loss_of` gets the embeddings [sum n, d] in the order of the chunks. `cache=False` keeps the graph of
    all chunks at once: one forward, and the memory of the whole batch.
    """
    import torch

    if len(chunks) == 1 or not cache:
        loss = loss_of(torch.cat([encode(chunk) for chunk in chunks]))
        loss.backward()
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
    for chunk, state, wanted in zip(chunks, states, gradient.split(sizes), strict=True):
        set_random_state(state)
        (encode(chunk) * wanted).sum().backward()
    set_random_state(after)
    return loss.detach()


def embed_chunks(encode: Encode, chunks: Iterable[Any]) -> Tensor:
    """Embeddings of all chunks without a graph, [sum n, d]."""
    import torch

    with torch.no_grad():
        return torch.cat([encode(chunk) for chunk in chunks])


def random_state() -> list[Tensor]:
    """State of the generators that dropout draws from: the CPU's and, if one is in use, an accelerator's."""
    import torch

    accelerator = _accelerator()
    return [torch.get_rng_state()] + ([accelerator.get_rng_state()] if accelerator else [])


def set_random_state(states: Sequence[Tensor]) -> None:
    import torch

    torch.set_rng_state(states[0])
    if len(states) > 1 and (accelerator := _accelerator()):
        accelerator.set_rng_state(states[1])


def _accelerator() -> Any:
    """`torch.cuda`, `torch.mps` …, where one is in use; it answers for its current device."""
    import torch

    if not torch.accelerator.is_available():
        return None
    found = torch.get_device_module(torch.accelerator.current_accelerator())
    return found if getattr(found, "is_initialized", lambda: True)() else None


@contextmanager
def same_random_state() -> Iterator[None]:
    """What happens inside draws no random numbers from the outside's point of view."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Add up `.grad` over all processes; a parameter that one process did not use counts as 0 there.

    The sum, not the mean: each process differentiated the whole global loss (see `train.loss.gather`).
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
            for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))


def _buckets(tensors: Sequence[Tensor], elements: int) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    held = 0
    for tensor in tensors:
        if bucket and held + tensor.numel() > elements:
            yield bucket
            bucket, held = [], 0
        bucket.append(tensor)
        held += tensor.numel()
    if bucket:
        yield bucket
