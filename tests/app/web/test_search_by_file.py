"""A file as the query: a page finds its photograph, a clip finds the same event from another camera.

No other tool for one's own files was found to do this; the tests were written down before the code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from app.web.server import create_app
from data.media.pdf import page_image
from indexer.library import Library
from indexer.types import Filters, Part, Query
from tests.app.conftest import HERE
from tests.indexer.written_library import drawing
from tests.media import draw_video

DOCS = Path(__file__).parents[3] / "docs"


def scene(seed: int) -> Image.Image:
    return Image.fromarray(drawing(seed)).resize((160, 120))


def photographed(page: np.ndarray, seed: int) -> Image.Image:
    """A printed page on a desk: tilted, unevenly lit, a little out of focus."""
    rng = np.random.default_rng(seed)
    grain = rng.normal(110, 8, (600, 800, 3)) + np.array([20, 0, -20])
    desk = Image.fromarray(grain.clip(0, 255).astype(np.uint8))
    sheet = Image.fromarray(page).convert("RGBA")
    sheet = sheet.resize((round(sheet.width * 520 / sheet.height), 520))
    sheet = sheet.rotate(float(rng.uniform(-6, 6)), expand=True, resample=Image.Resampling.BICUBIC)
    desk.paste(sheet, (int(rng.integers(120, 300)), int(rng.integers(5, 30))), sheet)
    lit = np.asarray(desk) * np.linspace(1, 0.8, 800)[None, :, None]
    return Image.fromarray(lit.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


@pytest.mark.long
def test_a_page_finds_the_photograph_of_its_print(tmp_path: Path) -> None:
    """PDF page as the query, photographs of pages in the library: ≥ 90 % among the first three of 10."""
    book = pymupdf.open()
    for guide in sorted(DOCS.glob("*.md")):
        words = re.sub(r"[`*|#-]+", " ", guide.read_text("utf-8")).split()[:180]
        if len(book) < 10 and len(words) > 100:
            page = book.new_page(width=420, height=595)
            page.insert_textbox(pymupdf.Rect(36, 36, 384, 560), " ".join(words), fontsize=12)
    while len(book) < 10:
        book.new_page(width=420, height=595).insert_text((60, 90), f"Chapter {len(book)}", fontsize=24)
    book.save(tmp_path / "book.pdf")
    (tmp_path / "photos").mkdir()
    for number in range(1, 11):
        page = page_image(tmp_path / "book.pdf", number, max_side=1200)
        photographed(page, number).save(tmp_path / "photos" / f"IMG_{number}.jpg", quality=85)
    ranks = []
    with Library.open(tmp_path / "library") as library:
        library.index([tmp_path / "photos"])
        for number in range(1, 11):
            alone = pymupdf.open()
            alone.insert_pdf(book, from_page=number - 1, to_page=number - 1)
            alone.save(tmp_path / "asked.pdf")
            hits = library.search(Query((Part(file=tmp_path / "asked.pdf"),), Filters(kinds=("image",))), k=3).hits
            ranks.append([hit.title for hit in hits].count(f"IMG_{number}.jpg"))
    assert np.mean(ranks) >= 0.9, ranks


def other_camera(picture: Image.Image) -> Image.Image:
    """The same scene, mirrored, nearer, darker and warmer."""
    near = ImageOps.mirror(picture).crop((12, 9, 150, 112)).resize((160, 120))
    warm = np.asarray(ImageEnhance.Brightness(near).enhance(0.8)) * np.array([1.1, 1.0, 0.85])
    return Image.fromarray(warm.clip(0, 255).astype(np.uint8))


@pytest.mark.long
def test_a_clip_finds_the_same_event_from_another_camera(tmp_path: Path) -> None:
    """Posted as a person drops it; ≥ 80 % among the first five of 24 films."""

    def moving(seed: int) -> Any:
        def frame(t: float) -> Image.Image:
            return scene(seed).rotate(6 * t, fillcolor=(90, 90, 90))

        return frame

    for seed in range(24):
        draw_video(tmp_path / "films" / f"event{seed}.mp4", 6.0, fps=5, frame=moving(700 + seed))
    found = []
    with Library.open(tmp_path / "library", ocr="off") as library:
        library.index([tmp_path / "films"])
        with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
            for seed in range(24):
                asked = tmp_path / "asked.avi"
                seen = moving(700 + seed)
                draw_video(asked, 4.0, fps=10, codec="mpeg4", frame=lambda t, seen=seen: other_camera(seen(t + 1)))
                with asked.open("rb") as file:
                    answer = client.post("/api/search", files={"files": ("asked.avi", file)}, data={"k": "5"})
                found.append(f"event{seed}.mp4" in [hit["title"] for hit in answer.json()["hits"]])
    assert np.mean(found) >= 0.8, found
