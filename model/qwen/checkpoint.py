"""A Qwen2-VL or Qwen2.5-VL checkpoint folder, or an adapter on one, to a `QwenVLEmbedder`.

Built around one order: check the files, build the base model without its head, hold every
tensor to account, merge the adapter, then quantise or compile. It knows folders only;
names and downloads are model/registry.py's.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.devices import pick_device, pick_dtype
from model.embedder import ModelError
from model.hub_files import fingerprint, quiet, read_json, weight_files
from model.prompts import gme, vlm2vec
from model.qwen import adapters
from model.qwen.embedder import FRAMES, RECIPE, QwenVLEmbedder, read_tokenizer
from model.qwen.vision import Pixels

BACKBONES = ("qwen2_vl", "qwen2_5_vl")
# GME's own limits on images and text, and the limits of the resize it gives images first.
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
    """The embedder of a folder: a full checkpoint, or a LoRA/DoRA adapter merged into its base.

    `dtype`: auto (float32 on a CPU, the checkpoint's own on an accelerator), float32, bfloat16,
    float16, or int8 (dynamic, CPU only). `attention`: auto, eager, sdpa, flash_attention_2.
    `max_frames`: frames of a clip (None: 8, the protocol's). `compile` compiles both towers at their
    first use (minutes; worth it for long runs).
    """
    adapter = folder if adapters.is_adapter(folder) else None
    home = adapters.base_of(folder, base) if adapter else folder
    if adapters.is_adapter(home) and adapter:
        raise ModelError(f"{home}, the base of the adapter {adapter}, is itself an adapter; merge it first.")
    config = read_json(home / "config.json")
    if config.get("model_type") not in BACKBONES:
        raise ModelError(f"{home} is a model of kind {config.get('model_type')}; known here: {', '.join(BACKBONES)}.")
    place = pick_device(device)
    number, quantise = pick_dtype(dtype, place, config)
    model = load_backbone(home, place, number, pick_attention(attention, place, number))
    if as_gme:
        min_pixels, max_pixels = min_pixels or GME_PIXELS[0], max_pixels or GME_PIXELS[1]
    files = adapter if adapter and (adapter / "preprocessor_config.json").is_file() else home
    pixels = Pixels.read(files, min_pixels, max_pixels)
    frames = 1 if as_gme else max_frames or FRAMES
    recipe = f"{RECIPE} {pixels} {'gme' if as_gme else 'vlm2vec'} {'int8' if quantise else ''} {frames}"
    mark = fingerprint([home, *([adapter] if adapter else [])], recipe)
    embedder = QwenVLEmbedder(
        model,
        read_tokenizer(adapter if adapter and not (home / "tokenizer.json").is_file() else home),
        pixels,
        id=f"{name or folder.resolve().name}@{mark}-{RECIPE}",
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
    """The headless model of a checkpoint folder, every weight present, fitting and finite; in eval mode."""
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
                f"transformers cannot bring up its {kind} model ({_first_line(error)}); the usual cause is a "
                f"torchvision that does not fit torch: reinstall both from one index, or remove torchvision."
            ) from error
        except (ValueError, TypeError, KeyError, OSError, RuntimeError, AttributeError) as error:
            raise ModelError(f"{folder} cannot be loaded as {kind}: {_first_line(error)}") from error
    missing = sorted(info["missing_keys"])
    strange = sorted(key for key in info["unexpected_keys"] if not key.startswith("lm_head"))
    if mismatched := list(info["mismatched_keys"]):
        raise ModelError(
            f"{folder}: {len(mismatched)} weights are not shaped as in config.json, first {mismatched[0]}."
        )
    if missing or strange:
        wrong = (
            f"lacks {len(missing)} weights, first {missing[0]}"
            if missing
            else f"has {len(strange)} weights that fit nowhere, first {strange[0]}"
        )
        raise ModelError(f"{folder} {wrong}: it is not a whole {kind} checkpoint.")
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight.sum(dtype=torch.float32)):
            raise ModelError(
                f"{folder} holds values that are not numbers, in {name}; the file is damaged or its training failed."
            )
    patches_as_products(model)
    return model.eval().requires_grad_(False)


def patches_as_products(model: Any) -> None:
    """Let the vision tower cut patches by matrix product, in place: its 3-D convolution has stride = kernel.

    The same numbers; on a CPU the convolution took five times as long (17 % of a two-layer model's time).
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
    from transformers.utils import is_flash_attn_2_available

    half = dtype in (torch.bfloat16, torch.float16)
    return "flash_attention_2" if device.type == "cuda" and half and is_flash_attn_2_available() else "sdpa"


def quantise_linear(model: nn.Module) -> None:
    """Replace every linear layer by its int8 form (weights by row, activations as they come), in place.

    One layer at a time, so that the peak is the float32 model and one layer, not two models.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library announces a successor that is not in torch itself
        from torch.ao.nn.quantized.dynamic import Linear
        from torch.ao.quantization import per_channel_dynamic_qconfig

        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    child.qconfig = per_channel_dynamic_qconfig  # type: ignore[assignment]
                    setattr(parent, name, Linear.from_float(child))


@torch.no_grad()
def _probe(embedder: QwenVLEmbedder) -> torch.Tensor:
    """A vector that every part of the model has a hand in: words and the smallest image."""
    import numpy as np

    image = np.arange(56 * 56 * 3, dtype=np.uint32).reshape(56, 56, 3).astype(np.uint8)
    token = embedder.tokenizer.id_to_token(embedder.image_id)
    return embedder.encode(embedder.collate([f"{token} a"], [[image]])).cpu()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
