"""Where the weights of the lite model and of OCR lie, and what they must be.

Built around a folder for each, "lite" and "ocr", with a manifest of its files' sizes: in the
environment (`share/sightline/NAME`) or, where that is read-only, in the user's cache.
`sightline setup` (`build/`) puts the folders there. It knows nothing of how they are made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from model.embedder import ModelError

COMMAND = "sightline setup"
MANIFEST = "manifest.json"

PINNED = {
    "text.onnx": "2ba3ebc6e0c40504e44dab8c45e22ad983f5e0b3787b38d5f212770a24def3e7",
    "image.onnx": "7bdc2a0b7ea04edd5940c19272b5f283c3790890944759bfca5f5a71e8d87f32",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "class_names.json": "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
    "multilingual.onnx": "55c6eaad8f17bbe46471c8aa37229cc3031b8e6f5c83c8bdff6b098646b26972",
    "multilingual_pieces.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
    "multilingual_table.npy": "c6ccc250818850e18caff0a0d7273ab774523f466a84769ca0698be6475cc086",
    "multilingual_rare.npy": "3150333f50155a10a6d7f85bfbe5462800fa9d4cda709b4c6a09ac00e3cf9bde",
}
"""The files that come out alike on every machine, by SHA-256."""

OCR_PINNED = {
    "detect.onnx": "ed79ddad37521a425073e39d32616c88dd9c21ee2f3dbd6c4013f51f42ee39a2",
    "letters.onnx": "6488b6fe28748b7be4e5e70624cd18231786fb834dccc7faa4ab2e4e18c34288",
}
"""What set-up makes of the network that finds lines of text, by SHA-256; they come out alike everywhere."""

TEXT_ROWS_AT, TEXT_SCALES_AT = 19_009, 11_739_485
"""Where words stand in text.onnx, which comes out alike everywhere: int8 [30522, 384] and float32 [30522, 1]."""

EARLIER = {"lite@c400e9f7-r3": 3, "lite@127b24cb-r4": 4, "lite@127b24cb-r5": 5, "lite@5bd195dc-r6": 6}
"""Ids of earlier recipes, with their numbers, which the same files serve: old libraries answer until renewed."""

TEXT_DIM = 384
MULTILINGUAL_DIM = 512
PROJECTION_DIM = 256
MAX_TOKENS = 256
IMAGE_SIDE = 224
PAGE_IMAGE_SIDE = 192
"""Of pages with words."""


def places(name: str = "lite") -> list[Path]:
    """Where converted weights may lie, in order: the environment, then the user's cache."""
    import platformdirs

    environment = Path(sys.prefix) / "share" / "sightline" / name
    return [environment, Path(platformdirs.user_cache_dir("sightline", appauthor=False)) / name]


def find(name: str = "lite") -> Path:
    """The folder of converted weights; `ModelError` says where it was looked for and what to run."""
    there = [folder for folder in places(name) if (folder / MANIFEST).is_file()]
    if there:
        return next((folder for folder in there if not _is_older(folder)), there[0])
    where = " and ".join(str(folder) for folder in places(name))
    what = "for reading text in pictures" if name == "ocr" else f"of the {name} model"
    raise ModelError(f"the weights {what} are missing (looked in {where}); run: {COMMAND}")


def check_sizes(folder: Path) -> None:
    """Every file of the manifest is there and whole; cheap enough for each start. Raises ModelError."""
    try:
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        broken = [name for name, entry in files.items() if (folder / name).stat().st_size != entry["bytes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the weights in {folder} are damaged ({error}); run: {COMMAND} --again") from error
    if _is_older(folder):
        raise ModelError(f"the weights in {folder} are of an older Sightline; run: {COMMAND}")
    if broken:
        raise ModelError(f"{folder / broken[0]} is damaged; run: {COMMAND} --again")


def _is_older(folder: Path) -> bool:
    """Whether a folder lacks what this version needs of it: a file of the lite model, or today's OCR networks."""
    try:
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        if any(name in files and files[name].get("sha256") != digest for name, digest in OCR_PINNED.items()):
            return True
        return "text.onnx" in files and not PINNED.keys() <= files.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # damaged, which `check_sizes` says
