"""The speed of this machine at matrix products, and the memory for a model.

Built around one short measurement (a third of a second). Without an accelerator it does not import torch. It knows
nothing of models.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import threading
import time
from dataclasses import dataclass

import numpy as np

# The share of the matrix-product speed that a model reaches: on a CPU 0.83 (an image in a 2B model, measured), on an
# accelerator about half.
SHARE = {"cpu": 0.8, "accelerator": 0.5}


@dataclass(frozen=True)
class Machine:
    """`device`: a name for people; `gflops`: measured; `memory_gb`: of the device that runs a model."""

    device: str
    gflops: float
    memory_gb: float
    accelerated: bool
    cores: int = 1


def this_machine() -> Machine:
    """Measures this machine."""
    return _accelerator() or _cpu()


DECODE_S = 1.7
"""Seconds of one core to sample 8 frames of a 30-second 720p window (seek and decode; two cores of 2026)."""


def chunks_per_hour(gflop: float, machine: Machine) -> float:
    """Returns the estimated 30-second video windows per hour for a model with `gflop` per window.

    Decoding runs in parallel to an accelerator, but shares a CPU with the model.
    """
    decode_s = DECODE_S / machine.cores
    if machine.accelerated:
        return 3600 / max(decode_s, gflop / (machine.gflops * SHARE["accelerator"]))
    return 3600 / (decode_s + gflop / (machine.gflops * SHARE["cpu"]))


def lower_priority() -> None:
    """Lowers the priority of this thread, and of those that it starts, where the system has one for threads."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def one_thread_products() -> None:
    """Let numpy multiply in one thread in this process.

    Its OpenBLAS takes a second one from 460,800 numbers on, and both spin: a picture's meaning, 1,000 x 512 numbers,
    cost 4.3 ms of CPU in two threads and 0.06 in one (2 cores). The products here are small and run beside each other.
    """
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()
    own = [library.filepath for library in controller.lib_controllers if "numpy" in library.filepath]
    controller.select(filepath=own).limit(limits=1)


def _cpu() -> Machine:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(os.cpu_count(), "blas"):
        return _measured()


def _measured() -> Machine:
    a = np.ones((1024, 1024), dtype=np.float32)
    _ = a @ a
    rounds, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < 0.3:
        _ = a @ a
        rounds += 1
    gflops = rounds * 2 * 1024**3 / seconds / 1e9
    return Machine(platform.processor() or platform.machine(), gflops, _memory_gb(), False, cores())


def _accelerator() -> Machine | None:
    has_driver = shutil.which("nvidia-smi") or shutil.which("rocm-smi") or platform.system() == "Darwin"
    if not has_driver or importlib.util.find_spec("torch") is None:
        return None
    import torch

    if not torch.accelerator.is_available():
        return None
    device = torch.accelerator.current_accelerator()
    a = torch.ones(4096, 4096, dtype=torch.bfloat16, device=device)
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
    return Machine(str(device), gflops, _memory_gb(), True, cores())


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def model_threads() -> int:
    """Returns the number of threads of a model on the CPU: the cores, at most 4. A laptop stays usable meanwhile."""
    return min(4, cores())


def _memory_gb() -> float:
    import psutil

    return float(psutil.virtual_memory().total / 2**30)
