"""The model as the trainer sees it: collate, encode, what is trained, how it is saved.

Built around `Tower`, five functions that a backbone must offer. It knows nothing of pairs, losses or
processes; `open.py` finds the tower of a config.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from train.config import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from train.loading import Collate


class Tower(Protocol):
    """A model in training."""

    module: nn.Module
    device: torch.device
    dim: int

    def collator(self) -> Collate:
        """Loaded sides to a batch on the CPU. Holds no weights: it is sent to loader processes."""
        ...

    def encode(self, batch: Any) -> Tensor:
        """A batch to unit rows [n, d], float32, with their graph."""
        ...

    def trained(self) -> dict[str, nn.Parameter]:
        """What the optimiser moves, by name, in a fixed order."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `model.load(folder)` takes."""
        ...

    def restore(self, folder: Path) -> None:
        """Put what `save` wrote back into the parameters. Raises when anything is missing or left over."""
        ...


def put_back(wanted: dict[str, Any], stored: dict[str, Any], folder: Path) -> None:
    """Copy stored tensors into parameters; every name must be on both sides."""
    import torch

    if missing := sorted(set(wanted) ^ set(stored)):
        raise ConfigError(f"{folder} does not belong to this config: {len(missing)} tensors differ, first {missing[0]}")
    with torch.no_grad():
        for name, parameter in wanted.items():
            if parameter.shape != stored[name].shape:
                raise ConfigError(
                    f"{folder} does not belong to this config: {name} is {list(stored[name].shape)}, "
                    f"not {list(parameter.shape)}"
                )
            parameter.copy_(stored[name])
