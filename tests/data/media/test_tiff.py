"""TIFFs: pages, planes of 16 bits, pixels that are not square, turned ones, and why some are refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.media.image import inspect, read_image
from data.media.kinds import MediaError
from data.reader import ChunkSpec, decode, make_thumbnail, outline
from data.span import Span
from tests.data.media.tiffs import Tags, tiff
from tests.data.media.tiffs import picture as directory
from tests.media import picture, xmp_packet

COLOURS = ("red", "green", "blue")


def draw_pages(path: Path, sizes: tuple[tuple[int, int], ...] = ((300, 200),) * 3, **save: Any) -> Path:
    pages = [Image.new("RGB", size, color) for size, color in zip(sizes, COLOURS, strict=True)]
    pages[0].save(path, save_all=True, append_images=pages[1:], **save)
    return path


def test_pages_become_chunks_as_those_of_a_pdf(tmp_path: Path) -> None:
    path = draw_pages(tmp_path / "a.tif", sizes=((300, 200), (200, 300), (300, 200)))
    found = outline(path, "image")
    assert found.pages == 3 and (found.width, found.height) == (300, 200)
    assert [(chunk.ordinal, chunk.span.page) for chunk in found.chunks] == [(0, 1), (1, 2), (2, 3)]
    chunks = decode(path, "image", found.chunks, max_side=150)
    assert [chunk.frames.shape for chunk in chunks] == [(1, 100, 150, 3), (1, 150, 100, 3), (1, 100, 150, 3)]
    assert [int(chunk.frames[0, 5, 5].argmax()) for chunk in chunks] == [0, 1, 2]
    with Image.open(io.BytesIO(make_thumbnail(path, "image", found.chunks[1]))) as small:
        assert small.size == (200, 300)
    (again,) = decode(path, "image", (ChunkSpec(2, Span(page=3)),))
    assert again.frames[0, 5, 5].argmax() == 2
    assert read_image(path, page=2)[5, 5].argmax() == 1 and read_image(path)[5, 5].argmax() == 0


@pytest.mark.parametrize("compression", ["group4", "tiff_lzw", "jpeg"])
def test_pages_of_scanners(tmp_path: Path, compression: str) -> None:
    mode = "1" if compression == "group4" else "L"
    pages = [picture(text, (400, 300), (30, 30, 30)).convert(mode) for text in ("one", "two")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression=compression)
    assert len(outline(tmp_path / "a.tif", "image").chunks) == 2
    for page in (1, 2):
        truth = np.asarray(pages[page - 1].convert("L")).astype(int)
        assert np.abs(read_image(tmp_path / "a.tif", page=page)[..., 0] - truth).mean() < 4


def test_one_picture_has_no_page_and_a_wrong_page_is_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.tif")
    found = outline(tmp_path / "a.tif", "image")
    assert found.chunks == (ChunkSpec(0),) and found.pages is None
    with pytest.raises(MediaError, match="no page 2"):
        read_image(tmp_path / "a.tif", page=2)


def test_the_words_of_a_file_are_told_on_its_first_page(tmp_path: Path) -> None:
    path = draw_pages(tmp_path / "a.tif", tiffinfo={700: xmp_packet(dc_title="Minutes")})
    assert [chunk.text for chunk in decode(path, "image", outline(path, "image").chunks)] == ["Minutes", "", ""]


def test_a_damaged_page_costs_that_page(tmp_path: Path) -> None:
    data = bytearray(draw_pages(tmp_path / "a.tif", compression="tiff_adobe_deflate").read_bytes())
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(1)
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]  # type: ignore[attr-defined]
    data[start : start + length] = b"\x55" * length
    (tmp_path / "b.tif").write_bytes(data)
    found = outline(tmp_path / "b.tif", "image")
    assert [chunk.spec.span.page for chunk in decode(tmp_path / "b.tif", "image", found.chunks)] == [1, 3]


def shades(size: tuple[int, int], more: Tags | None = None) -> tuple[Tags, list[bytes]]:
    return directory(np.asarray(picture(size=size, seed=6)), more=more)


def test_thumbnails_masks_and_pyramids_are_no_pages() -> None:
    full = shades((320, 240))
    small: Tags = {254: ("I", (1,))}
    mask: Tags = {254: ("I", (4,))}
    assert inspect(tiff(full, shades((160, 120), small), shades((80, 60), small))).pages == 1
    assert inspect(tiff(full, shades((320, 240), mask))).pages == 1
    assert inspect(tiff(full, shades((80, 60)))).pages == 1, "not marked, but a small copy"
    assert inspect(tiff(full, shades((240, 320)))).pages == 2
    assert inspect(tiff(full, shades((160, 120), {297: ("H", (1, 2))}))).pages == 2, "numbered as a page"
    thumb_first = tiff(shades((80, 60), small), full)
    assert inspect(thumb_first).pages == 1 and inspect(thumb_first).width == 320
    assert read_image(thumb_first).shape == (240, 320, 3), "not the thumbnail"
    assert inspect(tiff(shades((80, 60), small), full, full)).pages == 2
    unmarked_first = tiff(shades((80, 60)), full)
    assert inspect(unmarked_first).pages == 1 and read_image(unmarked_first).shape == (240, 320, 3)
    assert inspect(tiff(shades((80, 60)), full, full)).pages == 2
    assert inspect(tiff(shades((60, 80)), full)).pages == 2, "of another shape: a page of its own"
    assert inspect(tiff(shades((600, 450)), shades((1200, 900)))).pages == 2, "larger than a thumbnail"
    assert inspect(tiff(shades((80, 60), {297: ("H", (0, 2))}), full)).pages == 2, "numbered as a page"


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_palette_of_eight_bits_has_its_colours(order: str) -> None:
    indexes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    ramp, falling = tuple(range(256)), tuple(range(255, -1, -1))
    colours = (*ramp, *falling, *(128,) * 256)
    shown = np.dstack([indexes, 255 - indexes, np.full((16, 16), 128, np.uint8)])
    for factor in (1, 257):
        tags: Tags = {262: ("H", (3,)), 320: ("H", tuple(factor * value for value in colours))}
        written = tiff(directory(indexes[..., None], more=tags), order=order)
        assert (read_image(written) == shown).all(), factor


def test_signed_greys_of_eight_bits_are_no_wrapped_ones() -> None:
    values = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    shown = read_image(tiff(directory(values.view(np.uint8)[..., None], photometric=1, sample_format=2)))[..., 0]
    assert (shown == 2 * np.maximum(values.astype(int), 0)).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("layout", [{}, {"rows": 16}, {"tile": 64}, {"zipped": True}, {"zipped": True, "tile": 64}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_sixteen_bits_in_planes_or_not(order: str, planar: int, layout: dict[str, Any], mode: str) -> None:
    image = picture(size=(200, 150), seed=6)
    stored, more = np.asarray(image), {}
    if mode == "RGBA":
        stored, more = np.dstack([stored, np.full((150, 200), 255, np.uint8)]), {338: ("H", (2,))}
    elif mode == "CMYK":
        stored = np.dstack([255 - stored, np.zeros((150, 200), np.uint8)])
    part = directory(
        stored.astype("u2") * 257,
        photometric=5 if mode == "CMYK" else 2,
        planar=planar,
        order=order,
        more=more,
        **layout,
    )
    data = tiff(part, order=order)
    if mode == "CMYK" and planar == 2 and "zipped" not in layout:
        with pytest.raises(MediaError, match="a rare variant of its format"):
            read_image(data)  # Pillow has no way to these planes: refused, not wrong
    else:
        assert np.abs(read_image(data).astype(int) - np.asarray(image)).mean() < 1


GREYS: dict[str, tuple[str, float, int, int]] = {
    "whole": ("u2", 257, 1, 1),
    "white is 0": ("u2", 257, 1, 0),
    "32 bits": ("u4", 16_843_009, 1, 1),
    "signed": ("i2", 128, 2, 1),
    "floating-point": ("f4", 1 / 255, 3, 1),
}
"""Type of a pixel, its value for a grey level, its number format and the photometric interpretation."""
NOT_READ = {("white is 0", ">"), ("32 bits", ">")}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", GREYS)
def test_greys_of_many_bits_are_right_or_refused(kind: str, zipped: bool, order: str) -> None:
    grey = np.asarray(picture(size=(200, 150), seed=6).convert("L"))
    pixel, step, number_type, photometric = GREYS[kind]
    values = (grey * np.float64(step)).astype(pixel)
    stored = 65535 - values if photometric == 0 else values
    part = directory(stored[..., None], photometric=photometric, sample_format=number_type, zipped=zipped, order=order)
    data = tiff(part, order=order)
    if (kind, order) in NOT_READ:
        with pytest.raises(MediaError, match="a rare kind of TIFF"):
            read_image(data)
    else:
        shown = grey // 2 if kind == "signed" else grey  # half of its range is below 0
        assert np.abs(read_image(data)[..., 0].astype(int) - shown).mean() < 1


def test_a_fax_has_square_pixels(tmp_path: Path) -> None:
    line = Image.new("1", (1728, 1100), 1)
    line.paste(0, (0, 0, 864, 1100))
    line.save(tmp_path / "a.tif", compression="group3", dpi=(204, 98))
    info = inspect(tmp_path / "a.tif")
    assert (info.width, info.height) == (1728, 2290)
    assert read_image(tmp_path / "a.tif").shape == (2290, 1728, 3)
    small = read_image(tmp_path / "a.tif", 500)
    assert small.shape == (500, 377, 3) and small[250, 100].max() == 0 and small[250, 300].min() == 255


@pytest.mark.parametrize(
    ("dpi", "size"),
    [
        ((300, 300), (200, 100)),
        ((100, 200), (400, 100)),
        ((200, 100), (200, 200)),
        ((1, 300), (200, 100)),
        ((300, 301), (200, 100)),
    ],
)
def test_which_resolutions_stretch(tmp_path: Path, dpi: tuple[int, int], size: tuple[int, int]) -> None:
    Image.new("L", (200, 100)).save(tmp_path / "a.tif", dpi=dpi)
    info = inspect(tmp_path / "a.tif")
    assert (info.width, info.height) == size
    assert read_image(tmp_path / "a.tif").shape == (size[1], size[0], 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_has_the_size_and_the_corner_that_it_is_shown_with(tmp_path: Path, orientation: int) -> None:
    image = Image.new("RGB", (64, 32), "blue")
    image.paste("red", (0, 0, 32, 16))
    image.save(tmp_path / "a.tif", tiffinfo={274: orientation}, dpi=(100, 200))
    found, info = read_image(tmp_path / "a.tif"), inspect(tmp_path / "a.tif")
    turned = orientation >= 5
    assert found.shape == ((128, 32, 3) if turned else (32, 128, 3))
    assert (info.width, info.height) == ((32, 128) if turned else (128, 32))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert found[corner[orientation]].argmax() == 0


@pytest.mark.parametrize(
    ("pixels", "sample_format", "reason"),
    [
        (np.zeros((8, 8, 3), "f4"), 3, "3 x 32-bit floating-point numbers a pixel"),
        (np.zeros((8, 8, 3), "f2"), 3, "3 x 16-bit floating-point"),
        (np.zeros((8, 8, 3), "u4"), 1, "3 x 32-bit whole"),
        (np.zeros((8, 8, 3), "i2"), 2, "3 x 16-bit signed"),
    ],
)
def test_a_rare_tiff_is_refused_for_what_it_is(pixels: np.ndarray, sample_format: int, reason: str) -> None:
    with pytest.raises(MediaError, match=f"a rare kind of TIFF .{reason}") as caught:
        read_image(tiff(directory(pixels, sample_format=sample_format)))
    assert caught.value.cause == "unsupported"


@pytest.mark.parametrize(
    ("number", "name"),
    [(34712, "JPEG 2000"), (50001, "WebP"), (34887, "LERC"), (52546, "JPEG XL"), (33333, "number 33333")],
)
def test_a_rare_compression_is_told_by_its_name(number: int, name: str) -> None:
    with pytest.raises(MediaError, match=f"a rare kind of TIFF .compressed as {name}") as caught:
        read_image(tiff(directory(np.zeros((8, 8, 3), "u1"), more={259: ("H", (number,))})))
    assert caught.value.cause == "unsupported"
