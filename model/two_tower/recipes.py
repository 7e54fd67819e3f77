"""How a two-tower model wants its pictures and words: one `Recipe` a family, and what a folder says on top of it.

Built around a small table. A folder says its family with `model_type` in config.json and its own sizes in
preprocessor_config.json; one of another family brings a `two_tower.json` with the fields of a `Recipe`. It knows
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

OWN = "two_tower.json"


@dataclass(frozen=True)
class Recipe:
    """`size`: side of the input in pixels. `fit`: squash to it, or crop the middle of what has it as shorter side.

    `crop_at`: how half a pixel beside the crop is cut to a whole: floor (transformers) or round (torchvision).
    `context`: tokens of a text; `fixed`: every text is padded to it. `pad`: the token of the padding, or its id.
    `text_outputs`, `image_outputs`: names of the vector in the graphs, the first that is there counts.
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
# std 1 for S0, S2 and B: S3, S4 and L take CLIP's, which their folder has to say).
RECIPES = {
    "siglip": Recipe(224, "squash", "bicubic", _HALF, _HALF, 64, True, "</s>", lower=True),
    "siglip2": Recipe(224, "squash", "bilinear", _HALF, _HALF, 64, True, "<pad>", lower=True),
    "clip": Recipe(224, "crop", "bicubic", _CLIP_MEAN, _CLIP_STD, 77, False, "<|endoftext|>", lower=True),
    "mobileclip2": Recipe(256, "crop", "bilinear", (0, 0, 0), (1, 1, 1), 77, True, 0, lower=True, crop_at="round"),
}
_RESAMPLE = {2: "bilinear", 3: "bicubic"}


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a folder. Raises `ModelError` that says what is missing."""
    if (folder / OWN).is_file():
        return _own(folder / OWN)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    family = str(config.get("model_type", ""))
    # SigLIP 2's fixed-size checkpoints call themselves siglip; their vocabulary is Gemma's.
    if family == "siglip" and config.get("text_config", {}).get("vocab_size", 0) > 100_000:
        family = "siglip2"
    if family not in RECIPES:
        raise ModelError(
            f"{folder} does not say how its pictures are prepared: it needs a config.json with a model_type of"
            f" {', '.join(RECIPES)}, or a {OWN}."
        )
    recipe = RECIPES[family]
    text = config.get("text_config", {})
    if isinstance(text.get("max_position_embeddings"), int):
        recipe = replace(recipe, context=text["max_position_embeddings"])
    if (folder / "preprocessor_config.json").is_file():
        recipe = _with_pictures(recipe, folder / "preprocessor_config.json")
    return recipe


def _with_pictures(recipe: Recipe, path: Path) -> Recipe:
    said = read_json(path)
    changes: dict[str, Any] = {}
    sizes = said.get("crop_size") if said.get("do_center_crop") else said.get("size")
    if isinstance(sizes, dict):
        side = sizes.get("height", sizes.get("shortest_edge"))
        if sizes.get("width", side) != side:
            raise ModelError(f"{path} asks for pictures that are not square, which is not known here.")
        sizes = side
    if isinstance(sizes, int):
        changes["size"] = sizes
    for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
        if theirs in said:
            changes[ours] = tuple(float(value) for value in said[theirs])
    if said.get("do_normalize") is False:
        changes |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    if said.get("resample") in _RESAMPLE:
        changes["resample"] = _RESAMPLE[said["resample"]]
    return replace(recipe, **changes)


def _own(path: Path) -> Recipe:
    said = read_json(path)
    names = {field.name for field in fields(Recipe)}
    if unknown := set(said) - names - {"family"}:
        raise ModelError(f"{path} has {sorted(unknown)[0]}, which is no field of a recipe: {', '.join(sorted(names))}.")
    family = said.pop("family", None)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    try:
        return replace(RECIPES[family], **given) if family is not None else Recipe(**given)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path} is no whole recipe ({error}); a family is one of {', '.join(RECIPES)}.") from error


def prepare(picture: np.ndarray, recipe: Recipe) -> np.ndarray:
    """float32 [3, size, size] of a picture, uint8 RGB [H, W, 3]."""
    from PIL import Image

    way = Image.Resampling.BICUBIC if recipe.resample == "bicubic" else Image.Resampling.BILINEAR
    image = Image.fromarray(np.ascontiguousarray(picture))
    side = recipe.size
    if recipe.fit == "squash":
        image = image.resize((side, side), way)
    else:
        short, long = sorted(image.size)
        other = int(side * long / short)
        wide, high = (side, other) if image.width <= image.height else (other, side)
        image = image.resize((wide, high), way)
        left, top = (_half(gap, recipe.crop_at) for gap in (wide - side, high - side))
        image = image.crop((left, top, left + side, top + side))
    values = np.asarray(image).astype(np.float32) * np.float32(1 / 255)
    values = (values - np.float32(recipe.mean)) / np.float32(recipe.std)
    return values.transpose(2, 0, 1)


def _half(gap: int, crop_at: str) -> int:
    return gap // 2 if crop_at == "floor" else round(gap / 2)


def as_json(recipe: Recipe) -> str:
    """What stands in a model's fingerprint."""
    return json.dumps(vars(recipe), sort_keys=True)
