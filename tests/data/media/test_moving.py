"""Files of several pictures: what begins blank shows its most telling picture, anything else its first."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from data.media.image import read_image
from tests.media import picture

FORMATS = ["gif", "png", "webp", "avif", "heic"]


def draw(path: Path, frames: Sequence[Image.Image], **save: Any) -> Path:
    pillow_heif.register_heif_opener()
    if path.suffix != ".heic":
        save = {"duration": 100, **save}
    frames[0].save(path, save_all=True, append_images=list(frames[1:]), **save)
    return path


def off(found: np.ndarray, truth: Image.Image) -> float:
    return float(np.abs(found.astype(int) - np.asarray(truth).astype(int)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("blank", ["black", "white", "navy"])
def test_what_begins_blank_shows_what_comes(tmp_path: Path, suffix: str, blank: str) -> None:
    scene = picture(size=(320, 240), seed=5)
    path = draw(tmp_path / f"a.{suffix}", [Image.new("RGB", scene.size, blank), scene, scene, scene])
    assert off(read_image(path), scene) < 10
    assert off(read_image(path, 160), scene.resize((160, 120))) < 10


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_begins_with_a_picture_shows_it(tmp_path: Path, suffix: str) -> None:
    first, second = picture(size=(320, 240), seed=5), picture("busier", size=(320, 240), seed=9)
    assert off(read_image(draw(tmp_path / f"a.{suffix}", [first, second])), first) < 10


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_blank_throughout_stays_so(tmp_path: Path, suffix: str) -> None:
    path = draw(tmp_path / f"a.{suffix}", [Image.new("RGB", (64, 48), c) for c in ("black", "#010101")])
    assert read_image(path).max() < 6


@pytest.mark.slow
def test_a_slow_fade_from_black(tmp_path: Path) -> None:
    scene = np.asarray(picture(size=(160, 120), seed=5)).astype(float)
    frames = [Image.fromarray((scene * i / 60).astype(np.uint8)) for i in range(60)]
    path = draw(tmp_path / "a.webp", frames, lossless=True)
    assert read_image(path).mean() > 0.7 * scene.mean()


def test_a_stereo_photo_whose_first_view_is_covered() -> None:
    scene = picture(size=(320, 240), seed=5)
    out = io.BytesIO()
    Image.new("RGB", scene.size, "black").save(out, "MPO", save_all=True, append_images=[scene])
    data = bytearray(out.getvalue())
    assert read_image(bytes(data)).max() == 0, "the second picture is not said to be a view"


def test_an_icon_shows_its_largest_picture() -> None:
    out = io.BytesIO()
    picture(size=(256, 256), seed=5).save(out, "ICO", sizes=[(16, 16), (64, 64), (128, 128)])
    assert read_image(out.getvalue()).shape == (128, 128, 3)


def test_a_cut_off_gif_shows_what_is_there(tmp_path: Path) -> None:
    scene = picture(size=(320, 240), seed=5)
    data = draw(tmp_path / "a.gif", [scene, picture(size=(320, 240), seed=6)]).read_bytes()
    assert off(read_image(data[: int(len(data) * 0.8)]), scene) < 10
