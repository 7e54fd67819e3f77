"""Pairs for a tiny model out of real media: photographs, pages they are printed on, and films.

Built around what a random vision tower of four tokens can be taught: the colour of each quarter of a picture
or clip, in words worked out from its pixels. Every caption comes once, so that a held-out row has one right
answer. The media are the sample set's where it was fetched (`make samples`, which CI does), else the
photographs and films that come in installed packages. Nothing here knows of training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files as packaged
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
from PIL import Image

from data.media.image import read_image
from data.media.video import probe, sample_frames

SIDE = 56
ROWS = 240
FEWEST = 200
"""A fifth of a source at most is held out, and 40 rows are wanted."""
CUTS = (1, 2, 3, 4, 5, 6)
WINDOWS = 12
PALETTE = {
    "black": (15, 15, 15), "grey": (125, 125, 125), "white": (240, 240, 240), "red": (185, 45, 45),
    "brown": (110, 75, 45), "orange": (225, 135, 50), "yellow": (220, 205, 95), "green": (75, 120, 55),
    "sky": (140, 180, 215), "blue": (45, 75, 135), "pink": (215, 165, 170), "olive": (60, 65, 40),
}  # fmt: skip

Row = dict[str, Any]


def real_media() -> list[Path]:
    """Photographs and films: the sample set's, or those of installed packages."""
    fetched = Path("samples")
    if (fetched / "names.json").exists():
        folders = [fetched / "images", fetched / "videos"]
    else:
        assets = Path(str(packaged("gradio"))) / "media_assets"
        folders = [assets / "images", assets / "videos", Path(str(packaged("sklearn"))) / "datasets" / "images"]
    return sorted(file for folder in folders for file in folder.iterdir())


def write_pairs(media: list[Path], folder: Path, rows: int = ROWS) -> list[Path]:
    """`photos.jsonl`, `pages.jsonl` and `clips.jsonl` in `folder`, of FEWEST to `rows` pairs each."""
    folder.mkdir(parents=True)
    pictures = _cut_photographs([f for f in media if f.suffix in (".jpg", ".jpeg", ".png")])
    films = [f for f in media if f.suffix in (".mp4", ".avi")]
    written = [
        _written(folder / "photos.jsonl", _photos(pictures[::2], folder), rows),
        _written(folder / "pages.jsonl", _pages(pictures[1::2], folder), rows),
        _written(folder / "clips.jsonl", _clips(films, folder), rows),
    ]
    return [path for path in written if len(path.read_text().splitlines()) >= FEWEST]


def _photos(pictures: list[Image.Image], folder: Path) -> Iterator[Row]:
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number}.png")
        yield {"query": quarters([picture]), "positive": {"image": f"{number}.png"}}


def _pages(pictures: list[Image.Image], folder: Path) -> Iterator[Row]:
    """A printed album, one picture a page: drawn anew from the PDF in every step, as people's own are."""
    album, said = pymupdf.open(), []
    for picture in pictures:
        page = album.new_page(width=SIDE, height=SIDE)
        pixels = pymupdf.Pixmap(pymupdf.csRGB, SIDE, SIDE, picture.tobytes(), False)
        page.insert_image(page.rect, pixmap=pixels)
        said.append(quarters([picture]))
    album.save(folder / "album.pdf")
    for number, words in enumerate(said, 1):
        yield {"query": words, "positive": {"pdf": "album.pdf", "page": number}}


def _clips(films: list[Path], folder: Path) -> Iterator[Row]:
    """Two seconds of every film in turn, whole and in part."""
    windows = []
    for film in films:
        for start in np.linspace(0, max(0.0, probe(film).duration_s - 2), WINDOWS):
            windows.append(sample_frames(film, start, start + 2, count=4, max_side=SIDE * CUTS[-1])[0])
    number = 0
    for cuts in CUTS:
        for window in windows:
            cut = [_tiles(Image.fromarray(frame), cuts) for frame in window]
            for part in zip(*cut, strict=True):
                clip = folder / f"clip-{number}"
                clip.mkdir()
                for at, frame in enumerate(part):
                    frame.save(clip / f"{at}.png")
                yield {"query": quarters(part), "positive": {"frames": clip.name}}
                number += 1


def _cut_photographs(paths: list[Path]) -> list[Image.Image]:
    """Whole photographs first, then ever smaller parts of all of them; each caption once."""
    opened = [Image.fromarray(read_image(path, max_side=SIDE * 2 * CUTS[-1])) for path in paths]
    tiles = [tile for cuts in CUTS for picture in opened for tile in _tiles(picture, cuts)]
    return list({quarters([tile]): tile for tile in reversed(tiles)}.values())[::-1]


def _tiles(picture: Image.Image, cuts: int) -> list[Image.Image]:
    width, height = picture.width / cuts, picture.height / cuts
    return [
        picture.resize((SIDE, SIDE), Image.Resampling.BOX, (x * width, y * height, (x + 1) * width, (y + 1) * height))
        for y in range(cuts)
        for x in range(cuts)
    ]


def quarters(pictures: Any) -> str:
    """The nearest named colour of each quarter, in the order of reading; of several pictures, their mean."""
    small = [np.asarray(p.resize((2, 2), Image.Resampling.BOX), float).reshape(4, 3) for p in pictures]
    far = np.linalg.norm(np.mean(small, axis=0)[:, None] - np.array(list(PALETTE.values()))[None], axis=2)
    return " ".join(list(PALETTE)[n] for n in far.argmin(axis=1))


def _written(path: Path, found: Iterator[Row], rows: int) -> Path:
    known: dict[str, Row] = {}
    for row in found:
        known.setdefault(row["query"], row)
        if len(known) == rows:
            break
    path.write_text("".join(json.dumps(row) + "\n" for row in known.values()))
    return path
