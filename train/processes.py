"""This process among those that share a run, as torchrun describes them.

Built around `processes`, which joins them and leaves them. It knows nothing of what they do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from train.config import Config

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Processes:
    """This process among those that share a run."""

    rank: int = 0
    world: int = 1
    device: str | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextmanager
def processes(config: Config) -> Iterator[Processes]:
    """Join the process group that torchrun describes, where it does."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 and "RANK" not in os.environ:
        yield Processes()
        return
    import torch
    import torch.distributed as dist

    from model.qwen.checkpoint import pick_device

    local = int(os.environ.get("LOCAL_RANK", "0"))
    kind = pick_device(config.device).type
    device = f"{kind}:{local}" if kind == "cuda" else None
    if device:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def make_current(device: torch.device) -> None:
    """For `device: cuda:1`: torch's random states and memory counters are those of its current card."""
    import torch

    if device.index and device.type != "cpu":
        torch.accelerator.set_device_index(device.index)


def everybodys(value: Any, here: Processes) -> list[Any]:
    """`value` of every process, in order of rank."""
    if here.world == 1:
        return [value]
    import torch.distributed as dist

    gathered: list[Any] = [None] * here.world
    dist.all_gather_object(gathered, value)
    return gathered
