"""LoRA and DoRA adapters, merged into a backbone.

Built around one table, adapter key -> module of the model, that has to come out complete:
published adapters carry the module names of an older library (`model.layers.…` where a
current one says `model.language_model.layers.…`), and a loader that only warns leaves
every B matrix at zero. Here a key that lands nowhere, a matrix without its partner or a
merge that changes no output is a `ModelError`.

Merging is done by hand, in float32, module by module:
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
    """The folder of the model that an adapter sits on: `base` if given, else what the adapter names.

    A name in the adapter is looked for beside it, inside it, from the working directory and on the hub.
    """
    if base is not None:
        return find(base, "--base")
    named = str(read_json(folder / CONFIG).get("base_model_name_or_path") or "")
    if not named:
        raise ModelError(f"The adapter {folder} does not name its base model; give the base model's folder or hub id.")
    if not Path(named).expanduser().is_absolute():
        for place in (folder.resolve().parent / named, folder / named, folder.resolve().parent / Path(named).name):
            if (place / "config.json").is_file():
                return place
    try:
        return find(named, "the base")
    except ModelError as error:
        raise ModelError(f"The adapter {folder} sits on a base model that is missing: {error}") from None


def merge(model: nn.Module, folder: Path, probe: Callable[[], torch.Tensor]) -> int:
    """Merge the adapter of `folder` into `model` in place; the number of modules changed.

    `probe` gives some output of the model; it must differ afterwards.
    """
    config = read_json(folder / CONFIG)
    _refuse_what_is_not_lora(config, folder)
    tensors = _read(folder)
    modules: dict[str, dict[str, torch.Tensor]] = {}
    called: dict[str, str] = {}
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    lost: list[str] = []
    for key, tensor in tensors.items():
        name, part = _split(key)
        module = _locate(name, linear) if part in PARTS else None
        if module is None:
            lost.append(key)
        else:
            modules.setdefault(module, {})[part] = tensor
            called[module] = name.removeprefix("base_model.model.")
    if lost:
        raise ModelError(
            f"{len(lost)} of the {len(tensors)} tensors of the adapter {folder} belong to no layer of the "
            f"model, first {lost[0]}: it was made for another base."
        )
    if not modules:
        raise ModelError(f"The adapter {folder} is empty.")
    before = probe()
    for name, parts in sorted(modules.items()):
        _merge_one(
            linear[name], parts, _scale(called[name], parts, config), bool(config.get("use_dora")), f"{folder}: {name}"
        )
    after = probe()
    if torch.equal(before, after):
        raise ModelError(
            f"The adapter {folder} changes nothing: its B matrices are zero; it was never trained, or saved wrongly."
        )
    return len(modules)


def _read(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    named = folder / "adapter_model.safetensors"
    if not named.is_file():
        weight_files(folder)  # names a pickle if there is one
        raise ModelError(f"{folder} has no adapter_model.safetensors.")
    weight_files(folder)
    tensors = load_file(named)
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{named} holds values that are not numbers, in {key}.")
    return tensors


def _refuse_what_is_not_lora(config: dict[str, Any], folder: Path) -> None:
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
    begun = str(config.get("init_lora_weights", True)).lower()
    if begun.startswith(("pissa", "olora", "corda", "loftq", "lora_ga")):
        raise ModelError(
            f"The adapter {folder} was begun with {begun}, which changes the base too; save it as a plain "
            f"LoRA (peft: path_initial_model_for_weight_conversion)."
        )
    if config.get("bias", "none") != "none":
        raise ModelError(f"The adapter {folder} trains biases, which is not supported here.")


def _split(key: str) -> tuple[str, str]:
    """(module name, part) of a key like `base_model.model.layers.0.mlp.up_proj.lora_A.default.weight`."""
    found = re.fullmatch(r"(.+)\.(lora_A|lora_B|lora_magnitude_vector)(?:\.default)?(?:\.weight)?", key)
    return (found.group(1), found.group(2)) if found else (key, "")


def _locate(name: str, linear: dict[str, nn.Linear]) -> str | None:
    """The module that an adapter calls `name`, whichever wrapper or library version named it."""
    bare = name
    while bare.startswith(("base_model.", "model.")):
        bare = bare.split(".", 1)[1]
    for candidate in (bare, f"language_model.{bare}", bare.removeprefix("language_model.model.")):
        if candidate in linear:
            return candidate
    if bare.startswith("language_model.model.") and (moved := "language_model." + bare[21:]) in linear:
        return moved
    return None


def _scale(name: str, parts: dict[str, torch.Tensor], config: dict[str, Any]) -> float:
    """`name`: as the adapter calls the module; its patterns are written against that."""
    rank = parts["lora_A"].shape[0] if "lora_A" in parts else config["r"]
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            alpha = value
            break
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


@torch.no_grad()
def _merge_one(linear: nn.Linear, parts: dict[str, torch.Tensor], scale: float, dora: bool, where: str) -> None:
    wanted = set(PARTS) if dora else set(PARTS[:2])
    if set(parts) != wanted:
        raise ModelError(
            f"{where} has {', '.join(sorted(parts))} where {', '.join(sorted(wanted))} are needed; "
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
