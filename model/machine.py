"""What this machine would manage: its speed at matrix products and the memory that a model may take.

Built around one short measurement (a third of a second); it knows no model. Without an
accelerator torch is not even imported.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import time
from dataclasses import dataclass

import numpy as np

# Of the measured matrix-product speed, the share that a whole model reaches; on a CPU 0.83 was
# measured for an image through a 2B model, on accelerators half is common.
SHARE = {"cpu": 0.8, "accelerator": 0.5}


@dataclass(frozen=True)
class Machine:
    """`device` as a person calls it; `gflops` measured; `memory_gb` of the device that would run a model."""

    device: str
    gflops: float
    memory_gb: float
    accelerated: bool
    cores: int = 1


def this_machine() -> Machine:
    """Measured now."""
    return _accelerator() or _cpu()


# Seconds of one core to sample 8 frames of a 30-second 720p window (seek and decode; two cores of 2026).
DECODE_S = 1.7


def chunks_per_hour(gflop: float, machine: Machine) -> float:
    """Estimated 30-second video windows an hour for a model that takes so many GFLOP for one.

    Decoding goes on beside an accelerator, but shares a CPU with the model.
    """
    decode = DECODE_S / machine.cores
    if machine.accelerated:
        return 3600 / max(decode, gflop / (machine.gflops * SHARE["accelerator"]))
    return 3600 / (decode + gflop / (machine.gflops * SHARE["cpu"]))


def _cpu() -> Machine:
    a = np.ones((1024, 1024), dtype=np.float32)
    _ = a @ a
    rounds, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < 0.3:
        _ = a @ a
        rounds += 1
    gflops = rounds * 2 * 1024**3 / spent / 1e9
    return Machine(platform.processor() or platform.machine(), gflops, _memory_gb(), False, cores())


def _accelerator() -> Machine | None:
    likely = shutil.which("nvidia-smi") or shutil.which("rocm-smi") or platform.system() == "Darwin"
    if not likely or importlib.util.find_spec("torch") is None:
        return None
    import torch

    if not torch.accelerator.is_available():
        return None
    place = torch.accelerator.current_accelerator()
    a = torch.ones(4096, 4096, dtype=torch.bfloat16, device=place)
    _ = a @ a
    torch.accelerator.synchronize()
    rounds, start = 20, time.perf_counter()
    for _ in range(rounds):
        _ = a @ a
    torch.accelerator.synchronize()
    gflops = rounds * 2 * 4096**3 / (time.perf_counter() - start) / 1e9
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Machine(properties.name, gflops, properties.total_memory / 2**30, True, cores())
    return Machine(str(place), gflops, _memory_gb(), True, cores())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb() -> float:
    import psutil

    return psutil.virtual_memory().total / 2**30
