"""Text in pictures is read where it is plain, and nothing is read where there is none."""

import io
import logging
import math
import re
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from data.media.image import read_image
from model import ocr
from model.embedder import ModelError
from model.lite import weights
from model.ocr import Box, TextReader, boxes_of, islands, outline, read_text, smallest_rectangle


def page(*lines: str, size: int = 26, width: int = 900, ground: str = "white", ink: str = "black") -> Image.Image:
    picture = Image.new("RGB", (width, 40 + len(lines) * size * 3 // 2), ground)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((30, 20 + number * size * 3 // 2), line, ink, ImageFont.load_default(size))
    return picture


def read(picture: Image.Image) -> str:
    return read_text(np.asarray(picture))


LETTER = (
    "Invoice CH-2023-0417",
    "for the new chimney of the cabin",
    "Total 2,350.00 paid on 3 July 2023",
    "Please keep this letter for the insurance.",
)


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[\w.,-]+", text.lower()))


def test_a_letter_is_read_line_by_line_from_top_to_bottom() -> None:
    lines = read(page(*LETTER)).splitlines()
    assert [line.replace(" ", "") for line in lines] == [line.replace(" ", "") for line in LETTER]


def test_somebody_who_waits_is_read_the_longest_lines_in_their_order() -> None:
    lines = read_text(np.asarray(page(*LETTER)), most=2).splitlines()
    longest = sorted(sorted(LETTER, key=len)[-2:], key=LETTER.index)
    assert [line.replace(" ", "") for line in lines] == [line.replace(" ", "") for line in longest]


@pytest.mark.parametrize("ground, ink", [("black", "white"), ("#204080", "#ffe060"), ("#c0c0c0", "#303030")])
def test_colours_do_not_matter(ground: str, ink: str) -> None:
    assert words(read(page(*LETTER, ground=ground, ink=ink))) == words("\n".join(LETTER))


def test_white_letters_on_a_transparent_ground_are_read() -> None:
    ink = page(*LETTER, ground="black", ink="white").convert("L")
    logo = Image.new("RGBA", ink.size, "white")
    logo.putalpha(ink)
    out = io.BytesIO()
    logo.save(out, "PNG")
    assert words(read_text(read_image(out.getvalue()))) == words("\n".join(LETTER))


@pytest.mark.parametrize("degrees", [-30, -9, 6, 20])
def test_a_tilted_sign_is_read(degrees: int) -> None:
    sign = page("", "", "", "Departure gate B17 to Lisbon", "", "", "", size=44).rotate(degrees, fillcolor="white")
    assert words(read(sign)) == words("Departure gate B17 to Lisbon")


@pytest.mark.parametrize("degrees", [90, -90])
def test_a_line_along_the_spine_of_a_book_is_read_either_way(degrees: int) -> None:
    spine = page("The history of lighthouses", size=40, width=640).rotate(degrees, expand=True)
    assert words(read(spine)) == words("The history of lighthouses")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_page_that_lies_on_its_side_or_upside_down_is_read_in_order(degrees: int) -> None:
    lines = read(page(*LETTER).rotate(degrees, expand=True)).splitlines()
    assert [line.replace(" ", "") for line in lines] == [line.replace(" ", "") for line in LETTER]


def test_small_print_of_a_dense_page_is_read() -> None:
    text = "The committee met on Tuesday and approved the minutes of the previous meeting held in May."
    dense = read(page(*([text] * 20), size=18, width=906))
    expected = words(" ".join([text] * 20))
    assert sum((words(dense) & expected).values()) > 0.95 * sum(expected.values())


def test_what_stands_side_by_side_is_one_line() -> None:
    picture = page("", "", width=1000)
    draw = ImageDraw.Draw(picture)
    for x, word in ((700, "right"), (40, "left"), (380, "middle")):
        draw.text((x, 30), word, "black", ImageFont.load_default(30))
    assert read(picture) == "left middle right"


@pytest.mark.parametrize(
    "picture",
    [
        np.full((300, 400, 3), 255, np.uint8),
        np.zeros((300, 400, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((20, 9000, 3), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
    ],
    ids=["white", "black", "noise", "one pixel", "a thread", "nothing"],
)
def test_nothing_is_read_where_nothing_is_written(picture: np.ndarray) -> None:
    assert read_text(picture) == ""


def test_photographs_without_text_give_none() -> None:
    for name in ("cheetah1.jpg",):
        photo = Image.open(str(files("gradio") / "media_assets" / "images" / name)).convert("RGB")
        assert read(photo) == ""


def test_an_outline_is_not_taken_for_a_letter() -> None:
    """A ring, a cross and a crescent, as large as the picture: no word, so no text."""
    for number in range(3):
        picture = Image.new("RGB", (320, 320), "white")
        draw = ImageDraw.Draw(picture)
        if number == 0:
            draw.ellipse((60, 40, 260, 280), outline="#803010", width=40)
        elif number == 1:
            draw.line((60, 60, 260, 260), fill="#205020", width=44)
            draw.line((260, 60, 60, 260), fill="#205020", width=44)
        else:
            draw.arc((60, 40, 260, 280), 40, 320, fill="#103080", width=40)
        assert read(picture) == ""


@pytest.mark.parametrize("sign", ["EXIT", "42", "B7"])
def test_a_short_sign_is_read(sign: str) -> None:
    picture = Image.new("RGB", (640, 400), "#5a6e78")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((200, 150, 440, 250), fill="#fafaf0")
    draw.text((240, 175), sign, "#14143c", ImageFont.load_default(48))
    assert read(picture) == sign


def unsparing(reader: TextReader, monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], str]:
    """The reader that looks for lines in every picture, whatever the letters' scores."""

    def whole(image: np.ndarray) -> str:
        with monkeypatch.context() as patched:
            patched.setattr(ocr, "_LEAST_LETTERS", -np.inf)
            return reader.read(image)

    return whole


def maps_of(reader: TextReader, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the maps that the reader is given from now on."""
    sizes: list[int] = []

    def noted(probabilities: np.ndarray) -> list[Box]:
        sizes.append(probabilities.size)
        return boxes_of(probabilities)

    monkeypatch.setattr(ocr, "boxes_of", noted)
    return sizes


def test_lines_are_not_looked_for_where_no_letters_are(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, photo = TextReader.load(), Path(str(files("gradio"))) / "media_assets" / "images" / "cheetah1.jpg"
    sizes = maps_of(reader, monkeypatch)
    assert reader.read(read_image(photo)) == reader.read(np.full((480, 640, 3), 200, np.uint8)) == ""
    assert sizes == []
    assert reader.read(np.asarray(page("Departure gate B17"))) != ""
    assert len(sizes) == 1


def test_lines_are_looked_for_where_the_letters_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, photos = TextReader.load(), Path(str(files("gradio"))) / "media_assets" / "images"
    picture = Image.fromarray(read_image(photos / "cheetah1.jpg", 640)).resize((640, 480))
    ImageDraw.Draw(picture).rectangle((480, 380, 620, 430), fill="#fafaf0")
    ImageDraw.Draw(picture).text((500, 388), "KR 4711", "#14143c", ImageFont.load_default(28))
    sizes = maps_of(reader, monkeypatch)
    assert reader.read(np.asarray(picture)) == "KR 4711"
    assert 0 < sizes[0] <= 0.3 * 640 * 480


@pytest.mark.parametrize("size", [40, 60, 110])
@pytest.mark.parametrize("degrees", [0, 12, 90])
def test_letters_on_a_photo_are_read_as_if_every_picture_were_looked_at_whole(
    size: int, degrees: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, photos = TextReader.load(), Path(str(files("gradio"))) / "media_assets" / "images"
    text = "Harbour road 27"
    sign = page(text, size=size, width=max(64, size * len(text) * 2 // 3)).rotate(degrees, expand=True)
    picture = Image.fromarray(read_image(photos / "cheetah1.jpg", 900)).resize((900, 640))
    picture.paste(sign.crop((0, 0, min(sign.width, 800), min(sign.height, 600))), (60, 30))
    whole = unsparing(reader, monkeypatch)(np.asarray(picture))
    assert reader.read(np.asarray(picture)) == whole
    assert whole


def test_it_is_silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    TextReader.load().read(np.asarray(page("quiet please")))
    out, err = capfd.readouterr()
    assert out == err == "" and not caplog.records


def test_missing_networks_say_what_and_what_to_run(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "places", lambda name="lite": [tmp_path])
    with pytest.raises(ModelError, match=r"reading text in pictures are missing .*sightline setup"):
        TextReader.load()


def test_an_array_that_is_no_picture_is_named() -> None:
    with pytest.raises(ModelError, match=r"uint8 \[H, W, 3\]"):
        read_text(np.zeros((40, 40), np.uint8))


masks = st.integers(1, 12).flatmap(
    lambda h: st.integers(1, 12).flatmap(
        lambda w: st.lists(st.booleans(), min_size=h * w, max_size=h * w).map(lambda bits: np.array(bits).reshape(h, w))
    )
)


@settings(deadline=None)
@given(mask=masks)
def test_islands_are_the_connected_parts(mask: np.ndarray) -> None:
    """Against a flood fill."""
    found = {
        frozenset((int(r), x) for r, a, b in zip(*runs, strict=True) for x in range(a, b)) for runs in islands(mask)
    }
    todo = set(map(tuple, np.argwhere(mask).tolist()))
    expected = set()
    while todo:
        edge, island = [todo.pop()], set()
        while edge:
            row, column = edge.pop()
            island.add((row, column))
            for near in [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in todo:
                    todo.remove(near)
                    edge.append(near)
        expected.add(frozenset(island))
    assert found == expected


@settings(deadline=None)
@given(
    length=st.floats(20, 300),
    height=st.floats(2, 15),
    angle=st.floats(-math.pi / 4 + 0.01, math.pi / 4 - 0.01),
    x=st.floats(-50, 50),
)
def test_the_smallest_rectangle_around_a_rectangle_is_itself(
    length: float, height: float, angle: float, x: float
) -> None:
    box = Box(x, 7.0, length, height, angle)
    inside = np.random.default_rng(1).uniform(0, 1, (20, 4))
    inside /= inside.sum(1, keepdims=True)
    found = smallest_rectangle(np.concatenate([box.corners(), inside @ box.corners()]))
    assert np.allclose(
        [found.x, found.y, found.length, found.height, found.angle], [x, 7.0, length, height, angle], atol=1e-3
    )


def test_a_core_in_the_map_becomes_one_grown_box() -> None:
    likely = np.zeros((60, 200), np.float32)
    likely[28:34, 40:160] = 0.9
    likely[5:7, 5:7] = 0.9  # too small
    likely[50:56, 20:90] = 0.4  # too unsure
    (box,) = boxes_of(likely)
    assert abs(box.x - 100) < 1 and abs(box.y - 31) < 1
    assert box.height > 6 + 8 and box.length > 120 + 8 and abs(box.angle) < 1e-6


def test_an_outline_has_the_hull_of_all_pixels() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        for rows, starts, ends in islands(rng.random((30, 40)) > 0.6):
            edges = np.concatenate([np.stack([x, y], 1) for x in (starts, ends) for y in (rows, rows + 1)])
            assert smallest_rectangle(outline(rows, starts, ends)) == smallest_rectangle(edges.astype(np.float64))
