"""Training runs as programs of their own, for tests that kill, stop or multiply them, and what they leave behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from train.config import Config, to_dict

ROOT = Path(__file__).parents[2]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
TWO_PROCESSES = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
ONE_COMMAND = (sys.executable, "-m", "train", "--nproc_per_node", "2")


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in log_of(folder) if "loss" in line]


def everything_saved(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        tensors |= {f"{path.name} {name}": tensor for name, tensor in load_file(path).items()}
    return tensors


def assert_same(a: Path, b: Path) -> None:
    """Weights, moments and random states, to the bit."""
    first, second = everything_saved(a), everything_saved(b)
    assert first.keys() == second.keys() and len(first) > 10
    assert all(torch.equal(first[name], second[name]) for name in first)


def living() -> dict[int, int]:
    """Process -> its parent, from /proc; empty on other systems."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(stat.parent.name)] = int(parent)
    return parents


def processes_of(program: int) -> list[int]:
    """A program and all processes below it; torchrun gives each rank a session of its own."""
    parents, found = living(), [program]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


@contextmanager
def started(config: Config, folder: Path, *launcher: str, session: bool = False) -> Iterator[subprocess.Popen[str]]:
    """The real command, as a process of its own; gone at the end, with all that it started."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(to_dict(config)))
    words = list(launcher or (sys.executable,))
    words += [*(() if "train" in words else ("-m", "train")), "--config", str(path), "--output_dir", str(folder)]
    running = subprocess.Popen(words, cwd=ROOT, env=ENV, stderr=subprocess.PIPE, text=True, start_new_session=session)
    try:
        yield running
    finally:
        for process in processes_of(running.pid) if running.poll() is None else ():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        running.communicate()


def wait_for_step(running: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Until the log holds the step, whole; the test's own time limit ends the wait."""
    log = folder / "log.jsonl"
    while not log.is_file() or log.read_text().count("\n") < step:
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.05)


def held(config: Config, folder: Path) -> Config:
    """The same run, which waits where files in `folder` ask for it (`tests/train/held.py`)."""
    how = {"type": "held", "folder": str(folder)}
    return dataclasses.replace(
        config, datasets=tuple({**entry, **how} for entry in config.datasets), imports=("tests.train.held",)
    )


def kill_after(config: Config, folder: Path, steps: int) -> Config:
    """Run the command and kill it, without warning, when it has done so many steps and begun another."""
    places = folder.with_name(folder.name + ".places")
    places.mkdir()
    (places / "reading").write_text(str(steps * config.batch_size))
    run = held(config, places)
    with started(run, folder) as running:
        wait_for_step(running, folder, steps)
        while not (places / "reading.held").exists():  # the test's own time limit ends the wait
            time.sleep(0.05)
    assert len(losses(folder)) == steps
    return run
