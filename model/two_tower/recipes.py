"""The preprocessing of two-tower models: one `Recipe` per family, with the values of a folder's own files.

Built around the table `RECIPES`. `model_type` in a folder's config.json names the family, preprocessor_config.json has
the folder's own sizes; a folder of another family has a `two_tower.json` with the fields of a `Recipe`. It knows
nothing of graphs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from model.embedder import ModelError
from model.hub_files import read_json

RECIPE_FILE = "two_tower.json"


@dataclass(frozen=True)
class Recipe:
    """`size`: side of the square input in pixels. `fit`: squash the image to it, or resize the shorter side to it and
    crop the middle. `crop_at`: rounding of the crop's offset: floor (transformers) or round (torchvision).

    `context`: maximum number of tokens of a text; `fixed`: every text is padded to it. `pad`: the padding token, or its
    id. `text_outputs`, `image_outputs`: names of the vector in the graphs; the first that exists is used.
    """

    size: int
    fit: Literal["squash", "crop"]
    resample: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    context: int
    fixed: bool
    pad: str | int
    lower: bool
    crop_at: Literal["floor", "round"] = "floor"
    text_outputs: tuple[str, ...] = ("text_embeds", "pooler_output")
    image_outputs: tuple[str, ...] = ("image_embeds", "pooler_output")


_HALF = (0.5, 0.5, 0.5)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

# From transformers' classes of these names, and mobileclip2 from open_clip's pretrained.py (`_mc2cfg`; mean 0 and
# std 1 for S0, S2 and B; S3, S4 and L have CLIP's, in the folder's own files).
RECIPES = {
    "siglip": Recipe(224, "squash", "bicubic", _HALF, _HALF, 64, True, "</s>", lower=True),
    "siglip2": Recipe(224, "squash", "bilinear", _HALF, _HALF, 64, True, "<pad>", lower=True),
    "clip": Recipe(224, "crop", "bicubic", _CLIP_MEAN, _CLIP_STD, 77, False, "<|endoftext|>", lower=True),
    "mobileclip2": Recipe(256, "crop", "bilinear", (0, 0, 0), (1, 1, 1), 77, True, 0, lower=True, crop_at="round"),
}
_RESAMPLE = {2: "bilinear", 3: "bicubic"}


def recipe_of(folder: Path) -> Recipe:
    """Returns the recipe of a folder. Raises `ModelError`."""
    if (folder / RECIPE_FILE).is_file():
        return _read_recipe(folder / RECIPE_FILE)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    family = str(config.get("model_type", ""))
    # SigLIP 2's fixed-size checkpoints have the type siglip, and Gemma's vocabulary.
    if family == "siglip" and config.get("text_config", {}).get("vocab_size", 0) > 100_000:
        family = "siglip2"
    if family not in RECIPES:
        raise ModelError(
            f"{folder} does not say how its images are prepared: it needs a config.json with a model_type of"
            f" {', '.join(RECIPES)}, or a {RECIPE_FILE}."
        )
    recipe = RECIPES[family]
    text = config.get("text_config", {})
    if isinstance(text.get("max_position_embeddings"), int):
        recipe = replace(recipe, context=text["max_position_embeddings"])
    if (folder / "preprocessor_config.json").is_file():
        recipe = _with_preprocessor(recipe, folder / "preprocessor_config.json")
    return recipe


def _with_preprocessor(recipe: Recipe, path: Path) -> Recipe:
    """Returns the recipe with the values of a preprocessor_config.json. Raises `ModelError`."""
    config = read_json(path)
    changes: dict[str, Any] = {}
    sizes = config.get("crop_size") if config.get("do_center_crop") else config.get("size")
    if isinstance(sizes, dict):
        side = sizes.get("height", sizes.get("shortest_edge"))
        if sizes.get("width", side) != side:
            raise ModelError(f"{path} asks for images that are not square, which Sightline does not support.")
        sizes = side
    if isinstance(sizes, int):
        changes["size"] = sizes
    for name, key in (("mean", "image_mean"), ("std", "image_std")):
        if key in config:
            changes[name] = tuple(float(value) for value in config[key])
    if config.get("do_normalize") is False:
        changes |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    if config.get("resample") in _RESAMPLE:
        changes["resample"] = _RESAMPLE[config["resample"]]
    return replace(recipe, **changes)


def _read_recipe(path: Path) -> Recipe:
    """Returns the recipe of a two_tower.json. Raises `ModelError`."""
    config = read_json(path)
    names = {field.name for field in fields(Recipe)}
    if unknown := set(config) - names - {"family"}:
        raise ModelError(f"{path} has {sorted(unknown)[0]}, which is no field of a recipe: {', '.join(sorted(names))}.")
    family = config.pop("family", None)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config.items()
    }
    try:
        return replace(RECIPES[family], **values) if family is not None else Recipe(**values)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path} is no whole recipe ({error}); a family is one of {', '.join(RECIPES)}.") from error


def prepare(image: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Returns the input of the vision graph, float32 [3, size, size], for an image, uint8 RGB [H, W, 3]."""
    from PIL import Image

    resample = Image.Resampling.BICUBIC if recipe.resample == "bicubic" else Image.Resampling.BILINEAR
    pil_image = Image.fromarray(np.ascontiguousarray(image))
    side = recipe.size
    if recipe.fit == "squash":
        pil_image = pil_image.resize((side, side), resample)
    else:
        short, long = sorted(pil_image.size)
        long_side = int(side * long / short)
        width, height = (side, long_side) if pil_image.width <= pil_image.height else (long_side, side)
        pil_image = pil_image.resize((width, height), resample)
        left, top = (_half(excess, recipe.crop_at) for excess in (width - side, height - side))
        pil_image = pil_image.crop((left, top, left + side, top + side))
    values: np.ndarray = np.asarray(pil_image).astype(np.float32) * np.float32(1 / 255)
    values = (values - np.asarray(recipe.mean, np.float32)) / np.asarray(recipe.std, np.float32)
    return values.transpose(2, 0, 1)


def _half(excess: int, crop_at: str) -> int:
    return excess // 2 if crop_at == "floor" else round(excess / 2)


def as_json(recipe: Recipe) -> str:
    """Returns a recipe as JSON, for the model's fingerprint."""
    return json.dumps(vars(recipe), sort_keys=True)
