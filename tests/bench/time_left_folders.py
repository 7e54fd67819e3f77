"""Folders for `tests.bench.time_left`: what a person may have, of kinds that differ in what they cost.

Built around the sample set: its pages as scans, its pictures larger and cut anew, its films with a voice. The same
name, the same files.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pymupdf
from PIL import Image

from tests import media
from tests.bench.speech import RATE, scene

SAMPLES = Path("samples")
Pages = Iterator[tuple[pymupdf.Document, int]]
"""Documents, each with the number of one of its pages."""


def scans(folder: Path, papers: int, most_pages: int, seed: int) -> None:
    """PDFs of 1 to `most_pages` pages that are pictures of printed pages."""
    for n, (document, pages) in enumerate(_papers(papers, most_pages, seed)):
        for source, at in pages:
            pixels = source[at].get_pixmap(dpi=150)
            page = document.new_page(width=pixels.width * 72 / 150, height=pixels.height * 72 / 150)
            page.insert_image(page.rect, stream=pixels.tobytes("jpg", jpg_quality=70))
        document.save(str(folder / f"scan {n:03}.pdf"))


def texts(folder: Path, papers: int, most_pages: int, seed: int) -> None:
    """PDFs of 1 to `most_pages` pages with their own text."""
    for n, (document, pages) in enumerate(_papers(papers, most_pages, seed)):
        for source, at in pages:
            document.insert_pdf(source, from_page=at, to_page=at)
        document[0].insert_text((20, 20), f"Copy {n}", fontsize=8)
        document.save(str(folder / f"paper {n:03}.pdf"))


def _papers(papers: int, most_pages: int, seed: int) -> Iterator[tuple[pymupdf.Document, Pages]]:
    """Yields empty documents, each with the pages of the sample set that it is to be made of."""
    dice = random.Random(seed)
    sources = sorted((SAMPLES / "pdfs").glob("*.pdf"))
    for _ in range(papers):
        yield pymupdf.open(), _chosen(dice, sources, dice.randint(1, most_pages))


def _chosen(dice: random.Random, sources: list[Path], count: int) -> Pages:
    for _ in range(count):
        with pymupdf.open(dice.choice(sources)) as source:
            yield source, dice.randrange(len(source))


def photos(folder: Path, count: int, side: int, seed: int) -> None:
    """Pictures of the sample set in cut-outs, with a longer side of `side` pixels."""
    dice = random.Random(seed)
    sources = sorted((SAMPLES / "images").rglob("*.jpg"))
    for n in range(count):
        with Image.open(dice.choice(sources)) as source:
            picture = source.convert("RGB")
        width, height = picture.size
        left, top = dice.randrange(1 + width // 5), dice.randrange(1 + height // 5)
        cut = picture.crop((left, top, left + 4 * width // 5, top + 4 * height // 5))
        scale = side / max(cut.size)
        size = round(cut.width * scale), round(cut.height * scale)
        cut.resize(size).save(folder / f"photo {side} {n:04}.jpg", quality=85)


def spoken(folder: Path, count: int, minutes: float, seed: int) -> None:
    """Films with a voice that speaks half of the time."""
    for n in range(count):
        dice = random.Random(seed + n)
        colours = [(dice.randrange(256), dice.randrange(256), dice.randrange(256)) for _ in range(int(6 * minutes))]
        scenes = [(10.0 * k, colour) for k, colour in enumerate(colours)]
        path = media.draw_video(folder / f"spoken {n}.mp4", 60 * minutes, fps=2, size=(640, 360), scenes=scenes)
        line, _ = scene(RATE, minutes, pause_s=8.0 + n)
        media.add_sound(path, (0.0, line[None]))


def silent(folder: Path, count: int, seed: int) -> None:
    """Films of the sample set, each cut to other seconds by its order."""
    sources = sorted((SAMPLES / "videos").rglob("*.mp4"))
    for n in range(count):
        path = folder / f"film {n}.mp4"
        media.rewrap(sources[(seed + n) % len(sources)], path, {"title": f"Copy {n}"})


def make(name: str, folder: Path) -> None:
    """Fill an empty folder."""
    folder.mkdir(parents=True)
    if name == "scans":
        scans(folder, 8, 16, 1)
        photos(folder, 40, 1200, 1)
        spoken(folder, 2, 10, 1)
    elif name == "photos":
        for part, (count, side) in {"a": (250, 4000), "b": (900, 1000)}.items():
            (folder / part).mkdir()
            photos(folder / part, count, side, side)
        silent(folder, 4, 0)
    elif name == "papers":
        texts(folder, 30, 60, 4)
        scans(folder, 12, 8, 5)
    elif name == "mixed":
        for path in sorted((SAMPLES / "images").rglob("*.jpg"))[:150]:
            shutil.copy(path, folder)
        scans(folder, 1, 60, 11)
        spoken(folder, 1, 12, 9)
        texts(folder, 6, 40, 6)
    else:
        raise SystemExit(f"no such folder: {name}")
