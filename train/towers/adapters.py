"""LoRA and DoRA around a linear layer in training: one product with the base weight, in the dtype of that weight.

Built around `AdaptedLinear`:

    LoRA   y = W x + s B A drop(x) + bias                              s = alpha / rank
    DoRA   y = m / |W + s B A| * (W x + s B A drop(x)) + bias          norms by output row, constant in the gradient

A, B and m are float32 and are cast for each product: a step in bfloat16 has no large product in float32. peft
multiplies with W twice, the second time with drop(x) and in the dtype of A; here dropout reaches the adapter's branch
alone, which is the same in the mean. `save` and `restore` use peft's format. It knows nothing of
backbones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.config import Config, ConfigError
from train.towers.tower import copy_tensors

WEIGHTS, ABOUT = "adapter_model.safetensors", "adapter_config.json"


class AdaptedLinear(nn.Module):
    """A frozen `nn.Linear` with an adapter. Untrained, it equals the linear layer exactly."""

    lora_magnitude_vector: nn.Parameter | None
    base_norm: Tensor

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float, use_dora: bool) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.Linear(base.in_features, rank, bias=False, device=base.weight.device, dtype=torch.float32)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False, device=base.weight.device, dtype=torch.float32)
        nn.init.normal_(self.lora_A.weight, std=1 / rank)
        nn.init.zeros_(self.lora_B.weight)
        self.scale, self.dropout = alpha / rank, dropout
        # In float32: row norms in bfloat16 are up to 0.4 % off, and an untrained adapter would change the model.
        norm = base.weight.float().norm(dim=1)
        self.register_buffer("base_norm", norm, persistent=False)
        self.lora_magnitude_vector = nn.Parameter(norm.clone()) if use_dora else None

    def forward(self, x: Tensor) -> Tensor:
        """`x` [..., in]. Returns [..., out] in its dtype."""
        base, bias = self.base_layer.weight, self.base_layer.bias
        a, b = self.lora_A.weight.to(x.dtype), self.lora_B.weight.to(x.dtype)
        plain = functional.linear(x, base)
        low = functional.linear(functional.dropout(x, self.dropout, self.training), a)
        low = functional.linear(low, b * self.scale)
        y = plain + low
        if self.lora_magnitude_vector is not None:
            factor = self.lora_magnitude_vector / self._row_norms(a.detach(), b.detach())
            # `factor` is near 1, where bfloat16 has steps of 0.4 %; `factor - 1` keeps its digits.
            y = torch.addcmul(y, y, (factor - 1).to(x.dtype))
        return y if bias is None else y + bias

    @torch.no_grad()
    def _row_norms(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns |W + s B A| by row, float32 [out], without a matrix of the size of W:

        |W + s B A|² = |W|² + 2 s <B, W Aᵀ> + s² <B, B (A Aᵀ)>
        """
        scaled = b.float() * self.scale
        cross = (scaled * (self.base_layer.weight @ a.T.to(self.base_layer.weight.dtype)).float()).sum(dim=1)
        own = (scaled * (scaled @ (a.float() @ a.float().T))).sum(dim=1)
        return (self.base_norm.square() + 2 * cross + own).clamp_min(1e-12).sqrt()


def make_trainable(module: nn.Module, backbone: Any, language_model: nn.Module, config: Config) -> None:
    """Freeze `module` but for adapters in its `language_model`, or for all of that with `lora_rank` 0. `backbone`: the
    part that recomputes activations. Raises `ConfigError`."""
    module.requires_grad_(False)
    if config.lora_rank:
        insert_adapters(language_model, config)
    else:
        language_model.requires_grad_(True)
    if config.gradient_checkpointing:
        # transformers 5.23 renames this; 6 removes the old name.
        enable = getattr(backbone, "activation_checkpointing_enable", None)
        (enable or backbone.gradient_checkpointing_enable)({"use_reentrant": False})


def insert_adapters(language_model: nn.Module, config: Config) -> None:
    """Replace every linear layer of `language_model` that `lora_target_modules` names by an `AdaptedLinear`, in order.
    Raises `ConfigError` if it has no layer of a name."""
    names = {name.rsplit(".", 1)[-1] for name, _ in language_model.named_modules()}
    if missing := [t for t in config.lora_target_modules if t not in names]:
        raise ConfigError(f"lora_target_modules: the language model has no {', '.join(missing)}")
    shape = config.lora_rank, config.lora_alpha, config.lora_dropout, config.use_dora
    for parent in list(language_model.modules()):
        for name, child in list(parent.named_children()):
            if name in config.lora_target_modules and isinstance(child, nn.Linear):
                setattr(parent, name, AdaptedLinear(child, *shape))


def save(folder: Path, parameters: Mapping[str, Tensor], config: Config) -> None:
    """Write an adapter for peft and for `model.load`. `parameters` by their names in the backbone."""
    from safetensors.torch import save_file

    tensors = {_key(name): p.detach().to("cpu").contiguous() for name, p in parameters.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / ABOUT).write_text(json.dumps(_about(config), indent=1) + "\n")


def restore(folder: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    from safetensors.torch import load_file

    copy_tensors({_key(name): p for name, p in parameters.items()}, load_file(folder / WEIGHTS), folder)


def _key(name: str) -> str:
    """Returns the name that peft gives a parameter on disk."""
    return f"base_model.model.model.{name}"


def _about(config: Config) -> dict[str, Any]:
    """Returns `adapter_config.json`. The pattern of modules holds for the language model only: Qwen2.5-VL's vision
    encoder has the same module names."""
    folder = Path(config.model_name).expanduser()
    alpha = config.lora_alpha
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": str(folder.resolve()) if folder.is_dir() else config.model_name,
        "r": config.lora_rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": config.lora_dropout,
        "use_dora": config.use_dora,
        "target_modules": rf".*language_model\..*\.({'|'.join(map(re.escape, config.lora_target_modules))})",
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": "gaussian",
        "inference_mode": True,
    }
