"""The same picture file gives the same pixels through every door: a library, the OpenAI door, mteb's wrapper."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.model_server.openai import UnreadableRequest, inputs_of
from data.media.image import read_image
from data.reader import ChunkSpec, decode, to_input
from eval.mteb_model import _image
from model.embedder import SIDE


def _drawing() -> np.ndarray:
    """uint8 [90, 160, 3]: dark shapes on a light ground, nothing symmetrical."""
    shown = np.full((90, 160, 3), 230, np.uint8)
    shown[10:40, 20:60] = (20, 30, 40)
    shown[50:80, 100:150] = (200, 60, 30)
    return shown


def _alpha() -> tuple[bytes, str]:
    dark = np.zeros((90, 160, 4), np.uint8)
    dark[10:40, 20:60, 3] = 255
    return _bytes(Image.fromarray(dark), "PNG")


def _palette() -> tuple[bytes, str]:
    image = Image.fromarray(_drawing()).quantize(8)
    return _bytes(image, "PNG", transparency=0)


def _turned() -> tuple[bytes, str]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _bytes(Image.fromarray(_drawing()), "JPEG", exif=exif, quality=95)


def _deep() -> tuple[bytes, str]:
    grey = (_drawing().mean(2) / 255 * 65535).astype(np.uint16)
    return _bytes(Image.fromarray(grey), "PNG")


def _print() -> tuple[bytes, str]:
    return _bytes(Image.fromarray(_drawing()).convert("CMYK"), "JPEG", quality=95)


def _plain() -> tuple[bytes, str]:
    return _bytes(Image.fromarray(_drawing()), "WEBP", lossless=True)


def _bytes(image: Image.Image, form: str, **how) -> tuple[bytes, str]:
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue(), form.lower()


KINDS = {"alpha": _alpha, "palette": _palette, "turned": _turned, "16 bit": _deep, "CMYK": _print, "plain": _plain}


def _asked(data: bytes) -> np.ndarray:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    (item,) = inputs_of({"messages": [message]}, "model@1", SIDE["image"])
    return item.images[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_door_shows_the_model_what_a_library_shows_it(kind: str, tmp_path: Path) -> None:
    data, form = KINDS[kind]()
    path = tmp_path / f"picture.{form}"
    path.write_bytes(data)
    (chunk,) = decode(path, "image", [ChunkSpec(0)], max_side=SIDE["image"])
    library = to_input(chunk, "image").images[0]
    assert library.min() < 80 < 200 < library.max()  # the drawing is seen, not all black or white
    assert np.array_equal(_asked(data), library)
    with Image.open(io.BytesIO(data)) as image:
        benchmark = _image(image)
    assert benchmark is not None and benchmark.shape == library.shape
    assert np.abs(benchmark.astype(int) - library).max() <= (2 if kind == "CMYK" else 0)


@pytest.mark.parametrize("mode", ["F", "LAB", "LA", "1"])
def test_mteb_s_images_of_any_mode_are_read_as_a_library_reads_their_file(mode: str) -> None:
    shown = Image.fromarray(_drawing())
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        shown = ImageCms.applyTransform(shown, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    else:
        shown = shown.convert("L").convert(mode) if mode == "F" else shown.convert(mode)
    data, _ = _bytes(shown, "TIFF")
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(_image(image), read_image(data))
    converted = _image(Image.fromarray(_drawing()).convert("YCbCr"))
    assert converted is not None and np.abs(converted.astype(int) - _drawing()).max() <= 2


@pytest.mark.slow
def test_a_large_picture_comes_through_the_door_as_large_as_in_a_library() -> None:
    data, _ = _bytes(Image.fromarray(_drawing()).resize((2560, 1440)), "PNG")
    assert max(_asked(data).shape) == SIDE["image"]


@pytest.mark.parametrize("form", ["GIF", "TIFF", "BMP"])
def test_other_formats_are_refused(form: str) -> None:
    data, _ = _bytes(Image.fromarray(_drawing()), form)
    with pytest.raises(UnreadableRequest, match="not PNG, JPEG or WebP"):
        _asked(data)


def test_a_damaged_picture_is_refused_in_a_sentence() -> None:
    with pytest.raises(UnreadableRequest, match="not PNG, JPEG or WebP"):
        _asked(b"\x89PNG nothing more")
