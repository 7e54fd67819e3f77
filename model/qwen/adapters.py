"""LoRA and DoRA adapters, merged into a backbone.

Built around one table, adapter key -> module of the model, that must be complete: published adapters have the module
names of an older library (`model.layers.…`, now `model.language_model.layers.…`), and a loader that only warns leaves
every B matrix at zero. Here an unmatched key, a matrix without its partner, and a merge that changes no output are a
`ModelError`.

Each module is merged in float32:
    LoRA   W' = W + s B A                       s = alpha / r, or alpha / sqrt(r) (rsLoRA)
    DoRA   W' = m (W + s B A) / |W + s B A|     norms by output row (arXiv 2402.09353)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.embedder import ModelError
from model.hub_files import find, read_json, weight_files

CONFIG = "adapter_config.json"
PARTS = ("lora_A", "lora_B", "lora_magnitude_vector")


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def base_of(folder: Path, base: str | None) -> Path:
    """Returns the folder of an adapter's base model: `base`, else the one that the adapter names.

    A name in the adapter is a path beside it, inside it or from the working directory, or a hub id. Raises
    `ModelError`.
    """
    if base is not None:
        return find(base, "--base")
    name = str(read_json(folder / CONFIG).get("base_model_name_or_path") or "")
    if not name:
        raise ModelError(f"The adapter {folder} does not name its base model; give the base model's folder or hub id.")
    if not Path(name).expanduser().is_absolute():
        for path in (folder.resolve().parent / name, folder / name, folder.resolve().parent / Path(name).name):
            if (path / "config.json").is_file():
                return path
    try:
        return find(name, "the base")
    except ModelError as error:
        raise ModelError(f"The adapter {folder} sits on a base model that is missing: {error}") from None


def merge(model: nn.Module, folder: Path, probe: Callable[[], torch.Tensor]) -> int:
    """Merge the adapter of `folder` into `model` in place. Returns the number of changed modules.

    `probe` returns an output of the model; the merge must change it. Raises `ModelError`.
    """
    config = read_json(folder / CONFIG)
    _require_lora(config, folder)
    tensors = _read(folder)
    modules: dict[str, dict[str, torch.Tensor]] = {}
    adapter_names: dict[str, str] = {}
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    unmatched: list[str] = []
    for key, tensor in tensors.items():
        name, part = _split(key)
        module = _locate(name, linear) if part in PARTS else None
        if module is None:
            unmatched.append(key)
        else:
            modules.setdefault(module, {})[part] = tensor
            adapter_names[module] = name.removeprefix("base_model.model.")
    if unmatched:
        raise ModelError(
            f"{len(unmatched)} of the {len(tensors)} tensors of the adapter {folder} belong to no layer of the "
            f"model, first {unmatched[0]}: it was made for another base."
        )
    if not modules:
        raise ModelError(f"The adapter {folder} is empty.")
    before = probe()
    for name, parts in sorted(modules.items()):
        scale = _scale(adapter_names[name], parts, config)
        _merge_one(linear[name], parts, scale, bool(config.get("use_dora")), f"{folder}: {name}")
    if torch.equal(before, probe()):
        raise ModelError(
            f"The adapter {folder} changes nothing: its B matrices are zero; it was never trained, or saved wrongly."
        )
    return len(modules)


def _read(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    weight_files(folder)  # raises for a pickle or a truncated file
    if not path.is_file():
        raise ModelError(f"{folder} has no adapter_model.safetensors.")
    tensors = load_file(path)
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path} holds values that are not numbers, in {key}.")
    return tensors


def _require_lora(config: dict[str, Any], folder: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder} is a {config.get('peft_type')} adapter; only LoRA and DoRA can be loaded.")
    for option in (
        "fan_in_fan_out",
        "lora_bias",
        "modules_to_save",
        "trainable_token_indices",
        "layer_replication",
        "alora_invocation_tokens",
        "use_qalora",
        "use_bdlora",
        "arrow_config",
    ):
        if config.get(option):
            raise ModelError(f"The adapter {folder} uses {option}, which is not supported here.")
    initialisation = str(config.get("init_lora_weights", True)).lower()
    if initialisation.startswith(("pissa", "olora", "corda", "loftq", "lora_ga")):
        raise ModelError(
            f"The adapter {folder} was begun with {initialisation}, which changes the base too; save it as a plain "
            f"LoRA (peft: path_initial_model_for_weight_conversion)."
        )
    if config.get("bias", "none") != "none":
        raise ModelError(f"The adapter {folder} trains biases, which is not supported here.")


def _split(key: str) -> tuple[str, str]:
    """Returns (module name, part) of a key like `base_model.model.layers.0.mlp.up_proj.lora_A.default.weight`."""
    match = re.fullmatch(r"(.+)\.(lora_A|lora_B|lora_magnitude_vector)(?:\.default)?(?:\.weight)?", key)
    return (match.group(1), match.group(2)) if match else (key, "")


def _locate(name: str, linear: dict[str, nn.Linear]) -> str | None:
    """Returns the module of a name in an adapter, for any wrapper or library version; None if there is none."""
    short = name
    while short.startswith(("base_model.", "model.")):
        short = short.split(".", 1)[1]
    inner = short.removeprefix("language_model.model.")
    for candidate in (short, f"language_model.{short}", inner, f"language_model.{inner}"):
        if candidate in linear:
            return candidate
    return None


def _scale(name: str, parts: dict[str, torch.Tensor], config: dict[str, Any]) -> float:
    """Returns alpha / r. `name` is the adapter's name of the module, which the adapter's patterns match."""
    rank = parts["lora_A"].shape[0] if "lora_A" in parts else config["r"]
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            alpha = value
            break
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


@torch.no_grad()
def _merge_one(linear: nn.Linear, parts: dict[str, torch.Tensor], scale: float, dora: bool, where: str) -> None:
    required = set(PARTS) if dora else set(PARTS[:2])
    if set(parts) != required:
        raise ModelError(
            f"{where} has {', '.join(sorted(parts))} where {', '.join(sorted(required))} are needed; "
            f"the adapter is incomplete."
        )
    a, b = parts["lora_A"].float(), parts["lora_B"].float()
    weight = linear.weight
    if a.shape[1] != weight.shape[1] or b.shape[0] != weight.shape[0] or a.shape[0] != b.shape[1]:
        raise ModelError(
            f"{where} is {list(weight.shape)} in the model but {[b.shape[0], a.shape[1]]} in the adapter: "
            f"it was made for another base."
        )
    merged = weight.float() + scale * (b @ a).to(weight.device)
    if dora:
        magnitude = parts["lora_magnitude_vector"].float().flatten().to(weight.device)
        merged = merged * (magnitude / merged.norm(dim=1)).unsqueeze(1)
    weight.copy_(merged.to(weight.dtype))
