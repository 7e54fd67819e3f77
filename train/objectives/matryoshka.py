"""Matryoshka: vectors that are good when cut short.

Built around `nested`, which takes the mean of a loss over the whole vectors and over their first values, each at unit
length (arXiv 2205.13147). It knows nothing of the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""From queries [n, d] and targets [m, d], unit rows, to a number."""


def cut(rows: Tensor, dim: int) -> Tensor:
    """Returns the first `dim` values of unit rows, at unit length again."""
    import torch

    return torch.nn.functional.normalize(rows[:, :dim], dim=1)


def nested(loss: Loss, queries: Tensor, targets: Tensor, dims: Sequence[int]) -> Tensor:
    """Returns the mean of `loss` over the whole vectors and over `dims`, which are below their length."""
    whole = loss(queries, targets)
    if not dims:
        return whole
    parts = [loss(cut(queries, dim), cut(targets, dim)) for dim in dims]
    return (whole + sum(parts)) / (1 + len(parts))
