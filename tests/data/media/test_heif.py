"""HEIC beyond Pillow's plugin: 200 million pixels within the sandbox, and cells that tile a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.media.image import inspect, read_image
from data.media.kinds import MediaError
from data.media.sandbox import Sandbox
from tests.data.media.heics import grid
from tests.media import picture


def test_a_picture_of_cells(tmp_path: Path) -> None:
    tile = picture(size=(256, 256), seed=2)
    found = read_image(grid(tile, 3, 2))
    assert found.shape == (512, 768, 3)
    assert np.abs(found[256:, 512:].astype(int) - np.asarray(tile)).mean() < 6


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_hundred_million_pixels_fit_into_the_sandbox(tmp_path: Path) -> None:
    tile = Image.new("RGB", (512, 512), (40, 160, 200))
    tile.paste((200, 40, 40), (0, 0, 512, 256))
    path = tmp_path / "a.heic"
    path.write_bytes(grid(tile, 32, 24))
    assert (inspect(path).width, inspect(path).height) == (16384, 12288)
    with Sandbox(workers=1) as box:
        found = box.submit(read_image, path, 640, timeout_s=500).result()
    assert found.shape == (480, 640, 3)
    assert np.abs(found[2:8, 100].mean(axis=0) - (200, 40, 40)).max() < 12
    assert np.abs(found[12:18, 100].mean(axis=0) - (40, 160, 200)).max() < 12


@pytest.mark.slow
def test_more_than_that_is_refused_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="more than Sightline opens"):
        read_image(grid(Image.new("RGB", (1024, 1024)), 20, 20), 640)
