"""From a Qwen2-VL or Qwen2.5-VL checkpoint folder, or an adapter, to a `QwenVLEmbedder`.

Built around one order: check the files, build the base model without its head, check every tensor, merge the adapter,
then quantise or compile. It knows only folders; names and downloads are in model/registry.py.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.devices import dtype_label, pick_device, pick_dtype
from model.embedder import ModelError, first_line
from model.hub_files import fingerprint, quiet, read_json, weight_files
from model.prompts import gme, vlm2vec
from model.qwen import adapters
from model.qwen.embedder import FRAMES, RECIPE, QwenVLEmbedder, read_tokenizer
from model.qwen.vision import Pixels

BACKBONES = ("qwen2_vl", "qwen2_5_vl")
# GME's own limits of images and text, and the limits of its first resize of images.
GME_PIXELS = (256 * 28 * 28, 1280 * 28 * 28)
GME_FIRST_SIZE = (4 * 28 * 28, 16384 * 28 * 28)
GME_MAX_TOKENS = 1800


def load_qwen(
    folder: Path,
    *,
    name: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    base: str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    attention: str = "auto",
    compile: bool = False,
    batch_tokens: int | None = None,
    max_frames: int | None = None,
    as_gme: bool = False,
) -> QwenVLEmbedder:
    """Returns the embedder of a full checkpoint, or of a LoRA/DoRA adapter merged into its base.

    `dtype`: auto (float32 on a CPU, the checkpoint's own on an accelerator), float32, bfloat16,
    float16, or int8 (dynamic, CPU only). `attention`: auto, eager, sdpa, flash_attention_2.
    `max_frames`: frames of a clip (None: 8, the protocol's). `compile` compiles both towers at their
    first use (minutes; for long runs). Raises `ModelError`.
    """
    adapter = folder if adapters.is_adapter(folder) else None
    base_folder = adapters.base_of(folder, base) if adapter else folder
    if adapters.is_adapter(base_folder) and adapter:
        raise ModelError(f"{base_folder}, the base of the adapter {adapter}, is itself an adapter; merge it first.")
    config = read_json(base_folder / "config.json")
    kind = config.get("model_type")
    if kind not in BACKBONES:
        raise ModelError(f"{base_folder} is a model of kind {kind}; known here: {', '.join(BACKBONES)}.")
    torch_device = pick_device(device)
    torch_dtype, quantise = pick_dtype(dtype, torch_device, config)
    attention = pick_attention(attention, torch_device, torch_dtype)
    model = load_backbone(base_folder, torch_device, torch_dtype, attention)
    if as_gme:
        min_pixels, max_pixels = min_pixels or GME_PIXELS[0], max_pixels or GME_PIXELS[1]
    pixel_folder = adapter if adapter and (adapter / "preprocessor_config.json").is_file() else base_folder
    pixels = Pixels.read(pixel_folder, min_pixels, max_pixels)
    frames = 1 if as_gme else max_frames or FRAMES
    label = dtype_label(dtype, torch_device, config)
    recipe = f"{RECIPE} {pixels} {'gme' if as_gme else 'vlm2vec'} {label} {frames}"
    weights_id = fingerprint([base_folder, *([adapter] if adapter else [])], recipe)
    embedder = QwenVLEmbedder(
        model,
        read_tokenizer(adapter if adapter and not (base_folder / "tokenizer.json").is_file() else base_folder),
        pixels,
        id=f"{name or folder.resolve().name}@{weights_id}-{RECIPE}",
        family=gme if as_gme else vlm2vec,
        max_frames=frames,
        batch_tokens=batch_tokens,
        first_size=GME_FIRST_SIZE if as_gme else None,
        **({"max_tokens": GME_MAX_TOKENS} if as_gme else {}),
    )
    if adapter:
        adapters.merge(model, adapter, lambda: _probe(embedder))
    if quantise:
        quantise_linear(model)
    if compile:
        model.language_model.compile(dynamic=True)
        model.visual.compile(dynamic=True)
    return embedder


def load_backbone(folder: Path, device: torch.device, dtype: torch.dtype, attention: str) -> Any:
    """Returns the model of a checkpoint without its head, in eval mode. Raises `ModelError` if a weight is missing,
    of another shape, or not finite."""
    import transformers

    weight_files(folder)
    kind = read_json(folder / "config.json")["model_type"]
    family = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}[kind]
    with quiet():
        try:
            config_class, model_class = (getattr(transformers, family + part) for part in ("Config", "Model"))
            config = config_class.from_pretrained(folder, local_files_only=True)
            model, info = model_class.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                attn_implementation=attention,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **({"device_map": {"": device}} if device.type != "cpu" else {}),
            )
        except ImportError as error:
            raise ModelError(
                f"transformers cannot bring up its {kind} model ({first_line(error)}); the usual cause is a "
                f"torchvision that does not fit torch: reinstall both from one index, or remove torchvision."
            ) from error
        except (ValueError, TypeError, KeyError, OSError, RuntimeError, AttributeError) as error:
            raise ModelError(f"{folder} cannot be loaded as {kind}: {first_line(error)}") from error
    if mismatches := list(info["mismatched_keys"]):
        raise ModelError(
            f"{folder}: {len(mismatches)} weights are not shaped as in config.json, first {mismatches[0]}."
        )
    problem = ""
    if missing := sorted(info["missing_keys"]):
        problem = f"lacks {len(missing)} weights, first {missing[0]}"
    elif extra := sorted(key for key in info["unexpected_keys"] if not key.startswith("lm_head")):
        problem = f"has {len(extra)} weights that fit nowhere, first {extra[0]}"
    if problem:
        raise ModelError(f"{folder} {problem}: it is not a whole {kind} checkpoint.")
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight.sum(dtype=torch.float32)):
            raise ModelError(
                f"{folder} holds values that are not numbers, in {name}; the file is damaged or its training failed."
            )
    patches_as_products(model)
    return model.eval().requires_grad_(False)


def patches_as_products(model: Any) -> None:
    """Replace the vision tower's 3-D convolution (stride = kernel) by a matrix product, in place.

    The values are the same; on a CPU the convolution takes five times as long (17 % of a two-layer model's time).
    """
    embed = model.visual.patch_embed
    embed.forward = types.MethodType(_patches_by_product, embed)


def _patches_by_product(embed: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    weight = embed.proj.weight.flatten(1)
    rows = hidden_states.view(-1, weight.shape[1]).to(weight.dtype)
    return nn.functional.linear(rows, weight, embed.proj.bias)


def pick_attention(attention: str, device: torch.device, dtype: torch.dtype) -> str:
    if attention != "auto":
        return attention
    from transformers.utils import is_flash_attn_2_available  # type: ignore[attr-defined, unused-ignore]

    half = dtype in (torch.bfloat16, torch.float16)
    return "flash_attention_2" if device.type == "cuda" and half and is_flash_attn_2_available() else "sdpa"


def quantise_linear(model: nn.Module) -> None:
    """Replace every linear layer by its int8 form (weights by row, activations dynamic), in place.

    One layer at a time, so that the peak memory is the float32 model and one layer, not two models.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of a successor that is not part of torch
        from torch.ao.nn.quantized.dynamic import Linear
        from torch.ao.quantization import per_channel_dynamic_qconfig

        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    child.qconfig = per_channel_dynamic_qconfig  # type: ignore[assignment]
                    quantised = Linear.from_float(child)  # type: ignore[no-untyped-call, unused-ignore]
                    setattr(parent, name, quantised)


@torch.no_grad()
def _probe(embedder: QwenVLEmbedder) -> torch.Tensor:
    """Returns a vector that depends on every part of the model: of words and a small image."""
    import numpy as np

    image = np.arange(56 * 56 * 3, dtype=np.uint32).reshape(56, 56, 3).astype(np.uint8)
    token = embedder.tokenizer.id_to_token(embedder.image_id)
    return embedder.encode(embedder.collate([f"{token} a"], [[image]])).cpu()
