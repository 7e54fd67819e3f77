"""The trainer's interface to a model: collate, encode, trainable weights, save, restore.

Built around `Tower`, the protocol of a backbone; `open.py` selects the tower of a config. It knows nothing of
pairs, losses or processes.
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
        """Returns the function that turns loaded sides into a batch on the CPU. It holds no weights, because it is
        sent to loader processes."""
        ...

    def encode(self, batch: Any) -> Tensor:
        """Returns the embeddings of a batch: float32 [n, d], unit rows, with their graph."""
        ...

    def trainable(self) -> dict[str, nn.Parameter]:
        """Returns the parameters that the optimiser changes, by name, in a fixed order."""
        ...

    def save(self, folder: Path) -> None:
        """Write a folder that `model.load` opens."""
        ...

    def restore(self, folder: Path) -> None:
        """Load the weights of a folder that `save` wrote. Raises `ConfigError` if a tensor is missing or left over."""
        ...


def copy_tensors(parameters: dict[str, Any], stored: dict[str, Any], folder: Path) -> None:
    """Copy stored tensors into parameters. Raises `ConfigError` if their names or shapes differ."""
    import torch

    if missing := sorted(set(parameters) ^ set(stored)):
        raise ConfigError(f"{folder} does not belong to this config: {len(missing)} tensors differ, first {missing[0]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != stored[name].shape:
                raise ConfigError(
                    f"{folder} does not belong to this config: {name} is {list(stored[name].shape)}, "
                    f"not {list(parameter.shape)}"
                )
            parameter.copy_(stored[name])
