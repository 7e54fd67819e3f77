"""The average of several checkpoints or adapters of one base, as one that `model.load` opens.

Built around `average`. Whole checkpoints are averaged weight by weight. LoRA adapters are averaged in what they add:
the mean of s B A of n adapters is one adapter whose A and B are those of all, one below the other, B divided by n.
DoRA is not linear in its parts, so that DoRA adapters are merged first (`python -m train --merge`). It knows nothing of
training.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.embedder import ModelError
from model.hub_files import read_json
from model.qwen.adapters import is_adapter


def average(folders: Sequence[Path], to: Path) -> None:
    """Write the average of `folders` into `to`. Raises `ModelError`: fewer than two, of different kinds or shapes, or
    DoRA adapters."""
    if len(folders) < 2:
        raise ModelError("An average needs at least two folders.")
    for folder in folders:
        if not folder.is_dir():
            raise ModelError(f"{folder} is no folder.")
    kinds = {is_adapter(folder) for folder in folders}
    if len(kinds) == 2:
        raise ModelError("Some of the folders are adapters and some are whole checkpoints; merge the adapters first.")
    if to.exists() and any(to.iterdir()):
        raise ModelError(f"{to} is not empty; choose another --output_dir.")
    part = to.with_name(to.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        (_average_adapters if kinds == {True} else _average_checkpoints)(folders, part)
        if to.exists():
            to.rmdir()
        part.rename(to)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _average_adapters(folders: Sequence[Path], to: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    configs = [read_json(folder / "adapter_config.json") for folder in folders]
    for folder, config in zip(folders, configs, strict=True):
        if config.get("use_dora"):
            raise ModelError(
                f"{folder} is a DoRA adapter, whose effect is not a sum; merge each with `python -m train --merge` "
                "and average the results."
            )
        if config.get("use_rslora") or config.get("rank_pattern") or config.get("alpha_pattern"):
            raise ModelError(f"{folder} has ranks or scales of its own for some layers; merge it first.")
        if config["base_model_name_or_path"] != configs[0]["base_model_name_or_path"]:
            raise ModelError(f"{folder} is made for another base than {folders[0]}.")
    adapters = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    names = _same_names(folders, adapters)
    out: dict[str, Any] = {}
    for name in names:
        tensors = [adapter[name].float() for adapter in adapters]
        if ".lora_A" in name:
            out[name] = torch.cat(tensors, dim=0).contiguous()
        else:
            scales = [config["lora_alpha"] / config["r"] / len(folders) for config in configs]
            out[name] = torch.cat([s * t for s, t in zip(scales, tensors, strict=True)], dim=1).contiguous()
    rank = sum(config["r"] for config in configs)
    save_file(out, to / "adapter_model.safetensors", metadata={"format": "pt"})
    about = json.dumps(configs[0] | {"r": rank, "lora_alpha": rank}, indent=1)
    (to / "adapter_config.json").write_text(about + "\n")
    _copy_others(folders[0], to)


def _average_checkpoints(folders: Sequence[Path], to: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    files = [sorted(path.name for path in folder.glob("*.safetensors")) for folder in folders]
    if not files[0]:
        raise ModelError(f"{folders[0]} has no safetensors weights.")
    if any(folders[0].glob("[0-9]*_*/*.safetensors")):
        raise ModelError(f"{folders[0]} has weights in several folders, which cannot be averaged.")
    for folder, names in zip(folders, files, strict=True):
        if names != files[0]:
            raise ModelError(f"{folder} has other weight files than {folders[0]}.")
    for file in files[0]:
        parts = [load_file(folder / file) for folder in folders]
        names = _same_names(folders, parts)
        means = {name: torch.stack([part[name].double() for part in parts]).mean(0) for name in names}
        out = {name: mean.to(parts[0][name].dtype).contiguous() for name, mean in means.items()}
        save_file(out, to / file, metadata={"format": "pt"})
    _copy_others(folders[0], to)


def _same_names(folders: Sequence[Path], parts: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the names of the tensors. Raises `ModelError` if they differ, or the shapes of whole weights do."""
    for folder, part in zip(folders, parts, strict=True):
        if set(part) != set(parts[0]):
            name = sorted(set(part) ^ set(parts[0]))[0]
            raise ModelError(f"{folder} and {folders[0]} are of different models: only one of them has {name}.")
        for name, tensor in part.items():
            other = parts[0][name]
            axis = 1 if ".lora_A" in name else 0  # the other one is the rank, which may differ
            fits = tensor.shape[axis] == other.shape[axis] if ".lora_" in name else tensor.shape == other.shape
            if not fits:
                raise ModelError(f"{folder} and {folders[0]} are of different models: {name} has another shape.")
    return sorted(parts[0])


def _copy_others(folder: Path, to: Path) -> None:
    """Copies what stands beside the weights, also in the folders of sentence-transformers' modules."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if name.parts[0] == "trainer" or path.suffix not in (".json", ".txt", ".jinja"):
            continue
        if path.is_file() and not (to / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to / name)
