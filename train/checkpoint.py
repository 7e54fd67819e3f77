"""Checkpoints: a run resumes from one as if it had never stopped, and `model.load` opens one as a model.

Built around one folder per checkpoint: the files of `Tower.save` at the top, and below `trainer/` the
optimiser's moments, every process's random state and the step, all in safetensors and JSON (no pickles).
A folder is written under a temporary name and renamed when it is complete, so that a crash, a kill or a full
disk leaves the previous checkpoint intact. The step alone gives the position in the data (`mixing.py`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.config import Config, ConfigError, to_dict
from train.towers.tower import Tower

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

MOMENTS = ("exp_avg", "exp_avg_sq")


class CheckpointError(Exception):
    """A checkpoint cannot be written or read. The message is for the user."""


def checkpoints(output_dir: Path) -> list[Path]:
    """Returns the complete checkpoints of a run, oldest first."""
    numbered = [
        (int(match.group(1)), folder)
        for folder in output_dir.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", folder.name)) and (folder / "trainer/state.json").is_file()
    ]
    return [folder for _, folder in sorted(numbered)]


def state_of(folder: Path) -> dict[str, Any]:
    """Returns a checkpoint's state: `step`, `config`, and the `extra` of `save`. Raises `CheckpointError`."""
    try:
        return dict(json.loads((folder / "trainer/state.json").read_text()))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is damaged ({error}); delete it to continue from the one before") from error


def save(
    output_dir: Path,
    step: int,
    tower: Tower,
    optimizer: Optimizer,
    random_states: Sequence[Sequence[Tensor]],
    config: Config,
    extra: Mapping[str, Any],
) -> Path:
    """Write `checkpoint-<step>`, then delete all but the `config.keep_last` newest. Returns its folder.

    `random_states` holds one state per process, in order of rank. Raises `CheckpointError`.
    """
    from safetensors import SafetensorError

    final = output_dir / f"checkpoint-{step}"
    partial = output_dir / f".checkpoint-{step}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _require_room(output_dir, tower)
        (partial / "trainer").mkdir(parents=True)
        tower.save(partial)
        _save_trainer(partial / "trainer", tower, optimizer, random_states)
        state = {
            "step": step,
            "world": len(random_states),
            "config": to_dict(config),
            "devices": [len(states) for states in random_states],
            **extra,
        }
        (partial / "trainer/state.json").write_text(json.dumps(state, indent=1) + "\n")
        _flush(partial)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        earlier = checkpoints(output_dir)
        raise CheckpointError(
            f"checkpoint-{step} could not be written to {output_dir} "
            f"({getattr(error, 'strerror', None) or error}); "
            + (f"the last good one is {earlier[-1].name}; " if earlier else "there is no earlier one; ")
            + "make room and start the same command again"
        ) from error
    for old in checkpoints(output_dir)[: -config.keep_last]:
        shutil.rmtree(old)
    return final


def restore(folder: Path, tower: Tower, optimizer: Optimizer, config: Config) -> dict[str, Any]:
    """Load weights and moments in place. Returns the saved state: `step` and the `extra` of `save`.

    Raises `ConfigError` if the config differs from the saved one, `CheckpointError` if a file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state = state_of(folder)
    if changed := config.same_run(state["config"]):
        key = changed[0]
        raise ConfigError(
            f"{folder} was trained with {key} {state['config'][key]!r}, now it is {to_dict(config)[key]!r}; "
            "continue with the old value, or choose another --output_dir"
        )
    try:
        tower.restore(folder)
        stored = load_file(folder / "trainer/optimizer.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is damaged ({error}); delete it to continue from the one before") from error
    import torch

    parameters = tower.trainable() if stored else {}
    if {f"{name}.{part}" for name in parameters for part in MOMENTS} != set(stored):
        raise CheckpointError(
            f"{folder} has moments of other tensors than this program trains: another version wrote it; end the run "
            "with that version, or begin anew in another --output_dir"
        )
    for name, parameter in parameters.items():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(state["step"]), device=parameter.device),
            **{part: stored.pop(f"{name}.{part}").to(parameter.device) for part in MOMENTS},
        }
    return state


def restore_random(folder: Path, rank: int, world: int) -> None:
    """Restore this process's random state, unless the checkpoint is from another number of processes."""
    from safetensors.torch import load_file

    from train.grad_cache import set_random_state

    state = state_of(folder)
    if state["world"] == world:
        stored = load_file(folder / "trainer/random.safetensors")
        set_random_state([stored[f"{rank}.{i}"] for i in range(state["devices"][rank])])


def _save_trainer(folder: Path, tower: Tower, optimizer: Optimizer, random_states: Sequence[Sequence[Tensor]]) -> None:
    from safetensors.torch import save_file

    moments = {}
    for name, parameter in tower.trainable().items():
        for part, moment in optimizer.state.get(parameter, {}).items():  # none before the first step
            if part in MOMENTS:
                moments[f"{name}.{part}"] = moment.detach().to("cpu").contiguous()
    save_file(moments, folder / "optimizer.safetensors")
    save_file(
        {f"{rank}.{i}": s.clone() for rank, states in enumerate(random_states) for i, s in enumerate(states)},
        folder / "random.safetensors",
    )


def _require_room(output_dir: Path, tower: Tower) -> None:
    """Raise `OSError` if the disk has no room for every trained weight and its two moments."""
    output_dir.mkdir(parents=True, exist_ok=True)
    need = sum(p.numel() * p.element_size() for p in tower.trainable().values()) * 3
    free = shutil.disk_usage(output_dir).free
    if free < need:
        raise OSError(f"{need / 2**20:.0f} MB are needed, {free / 2**20:.0f} MB are free")


def _flush(folder: Path) -> None:
    """Flush every file to disk before the rename: a power cut must not leave a complete-looking empty file."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
