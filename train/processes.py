"""This process among the processes of a run, as torchrun describes them.

Built around `processes`, which joins and leaves the process group. It knows nothing of training.
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
    """The rank of this process, the number of processes, and its device (None: the config's)."""

    rank: int = 0
    world: int = 1
    device: str | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextmanager
def processes(config: Config) -> Iterator[Processes]:
    """Join the process group that torchrun describes; without torchrun the run has one process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 and "RANK" not in os.environ:
        yield Processes()
        return
    import torch
    import torch.distributed as dist

    from model.devices import pick_device

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
    """Make `device` torch's current one, whose random states and memory counters torch reports."""
    import torch

    if device.index and device.type != "cpu":
        torch.accelerator.set_device_index(device.index)


def gather_objects(value: Any, processes: Processes) -> list[Any]:
    """Returns the `value` of every process, in order of rank."""
    if processes.world == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * processes.world
    dist.all_gather_object(values, value)
    return values
