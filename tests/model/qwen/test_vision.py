"""Pictures become the patch rows that the library's own processor makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.embedder import ModelError
from model.qwen.vision import (
    PROTOCOL_MAX_PIXELS,
    PROTOCOL_MIN_PIXELS,
    Pixels,
    as_rgb,
    image_visual,
    patchify,
    resize,
    smart_resize,
    video_visual,
)

SIZES = [(375, 500), (56, 56), (131, 257), (28, 28), (720, 1280), (97, 640), (400, 30)]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth waves with some noise: resizing has something to work on."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(x / (9 + c) + y / (13 - c)) for c in range(3)]
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    return np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("height, width", SIZES)
def test_rows_equal_those_of_the_librarys_pil_processor(height: int, width: int) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    frame = picture(height, width)
    pixels = Pixels(max_pixels=200 * 28 * 28)
    visual = image_visual(frame, pixels)
    theirs = Qwen2VLImageProcessorPil(min_pixels=pixels.min_pixels, max_pixels=pixels.max_pixels)
    # Resized by us first, where both agree on the size: only the order of Pillow's passes may differ.
    out = theirs(Image.fromarray(resize(frame, *visual.size)), return_tensors="np")
    assert out["image_grid_thw"].tolist() == [list(visual.grid)]
    np.testing.assert_allclose(visual.patches(pixels), out["pixel_values"], atol=1e-6)
    whole = theirs(Image.fromarray(frame), return_tensors="np")
    assert whole["image_grid_thw"].tolist() == [list(visual.grid)]
    assert np.abs(visual.patches(pixels) - whole["pixel_values"]).max() < 0.02  # one grey level


@pytest.mark.parametrize(
    "height, width, expected", [(375, 500, (364, 504)), (2200, 1700, (1120, 868)), (336, 597, (336, 588))]
)
def test_sizes_are_those_of_the_published_protocol(height: int, width: int, expected: tuple[int, int]) -> None:
    assert smart_resize(height, width) == expected


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(height=st.integers(1, 30000), width=st.integers(1, 30000), tokens=st.integers(16, 16384))
def test_every_size_comes_out_whole_and_within_the_limits(height: int, width: int, tokens: int) -> None:
    limit = tokens * 28 * 28
    tall, wide = smart_resize(height, width, min_pixels=PROTOCOL_MIN_PIXELS, max_pixels=limit)
    assert tall % 28 == 0 and wide % 28 == 0 and min(tall, wide) >= 28
    thin = min(tall, wide) == 28  # a strip cannot get thinner than one patch
    assert tall * wide <= limit or (thin and max(tall, wide) <= 28 * 200 * 2)
    assert tall * wide >= min(PROTOCOL_MIN_PIXELS, limit) or limit < PROTOCOL_MIN_PIXELS or thin


@pytest.mark.slow
def test_a_tiny_image_is_stretched_to_56_and_a_tiny_frame_made_square() -> None:
    assert image_visual(picture(1, 1), Pixels()).size == (56, 56)
    assert image_visual(picture(20, 20000), Pixels()).size == (56, 56)
    assert video_visual([picture(20, 44)], Pixels()).size == (56, 56)
    assert video_visual([picture(20, 400)], Pixels()).size == (392, 392)
    assert image_visual(picture(60, 20000), Pixels()).size == smart_resize(20000, 20000)


def test_a_clip_takes_its_first_frames_size_and_repeats_its_last_frame() -> None:
    pixels = Pixels()
    frames = [picture(100, 150, 1), picture(100, 150, 2), picture(80, 90, 3)]
    visual = video_visual(frames, pixels)
    assert visual.grid == (2, visual.size[0] // 14, visual.size[1] // 14)
    longer = video_visual([*frames, frames[-1]], pixels)
    np.testing.assert_array_equal(visual.patches(pixels), longer.patches(pixels))


def test_a_row_holds_channel_time_and_place_in_that_order() -> None:
    """Checked pixel by pixel, for a clip, which no library here can make without torchvision."""
    pixels = Pixels()
    frames = np.stack([picture(56, 84, seed) for seed in range(4)])
    rows = patchify(frames, pixels).reshape(2, 2, 3, 2, 2, 3, 2, 14, 14)  # t, gh, gw, mh, mw, c, tp, y, x
    table = pixels.table()
    rng = np.random.default_rng(0)
    for _ in range(200):
        t, tp = rng.integers(0, 2, 2)
        gh, mh, gw, mw = rng.integers(0, 2), rng.integers(0, 2), rng.integers(0, 3), rng.integers(0, 2)
        c, y, x = rng.integers(0, 3), rng.integers(0, 14), rng.integers(0, 14)
        value = frames[t * 2 + tp, (gh * 2 + mh) * 14 + y, (gw * 2 + mw) * 14 + x, c]
        assert rows[t, gh, gw, mh, mw, c, tp, y, x] == table[c, value]


def test_resizing_is_the_same_under_every_pillow() -> None:
    """Wider and shorter at once: height first, as Pillow 13 does by itself and Pillow 12 does not."""
    frame = picture(257, 131)
    tall_first = Image.fromarray(frame).resize((131, 252), Image.Resampling.BICUBIC)
    expected = np.asarray(tall_first.resize((140, 252), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(frame, 252, 140), expected)


@pytest.mark.parametrize("size", [(112, 392), (252, 700), (112, 700), (252, 392), (199, 392), (112, 640), (199, 640)])
def test_pillow_is_never_left_to_choose_which_axis_comes_first(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[tuple[int, int], tuple[int, int]]] = []
    of_pillow = Image.Image.resize

    def recorded(self: Image.Image, to: tuple[int, int], *more: object) -> Image.Image:
        calls.append((self.size, to))
        return of_pillow(self, to, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", recorded)
    assert resize(picture(199, 640), *size).shape[:2] == size
    assert len(calls) == sum(a != b for a, b in zip(size, (199, 640), strict=True))
    assert all((a[0] == b[0]) != (a[1] == b[1]) for a, b in calls)


@pytest.mark.parametrize(
    "wrong, word",
    [
        (np.zeros((4, 4), np.uint8), "RGB"),
        (np.zeros((4, 4, 4), np.uint8), "RGB"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), "nothing to embed"),
        ("photo.jpg", "str"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(wrong: object, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        as_rgb(wrong)


def test_a_pil_image_of_any_mode_is_taken_as_rgb() -> None:
    grey = Image.fromarray(picture(40, 40)[:, :, 0])
    assert as_rgb(grey).shape == (40, 40, 3)
    assert as_rgb(Image.new("RGBA", (5, 6))).shape == (6, 5, 3)


def test_limits_come_from_the_checkpoint_and_can_be_overridden(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert Pixels.read(tmp_path).max_pixels == PROTOCOL_MAX_PIXELS
    file = tmp_path / "preprocessor_config.json"
    file.write_text('{"size": {"shortest_edge": 6272, "longest_edge": 78400}, "image_mean": [0.5, 0.5, 0.5]}')
    read = Pixels.read(tmp_path)
    assert (read.min_pixels, read.max_pixels, read.mean) == (6272, 78400, (0.5, 0.5, 0.5))
    file.write_text('{"min_pixels": 3136, "max_pixels": 50176, "size": {"longest_edge": 1}}')
    assert Pixels.read(tmp_path).max_pixels == 50176
    assert Pixels.read(tmp_path, max_pixels=100352).max_pixels == 100352
    with pytest.raises(ModelError, match="limit"):
        Pixels.read(tmp_path, min_pixels=60000)
    file.unlink()
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"max_pixels": 7840, "min_pixels": 784}}')
    assert Pixels.read(tmp_path).max_pixels == 7840
