"""Captions: what people wrote about a picture, from wherever their programs put it, and nothing else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import PngImagePlugin

from data.media import beside, pdf
from data.media.caption_noise import is_junk
from data.media.captions import MAX_LETTERS, caption_of_tags
from data.media.image import inspect, read_image, read_picture
from data.media.kinds import MediaError
from data.media.video import probe
from data.media.xmp import read_xmp
from tests.media import add_iptc, draw_image, draw_pdf, draw_video, iptc_records, xmp_packet

WRITTEN = xmp_packet(
    dc_title="Regatta",
    photoshop_Headline="Storm over the bay",
    dc_description="Two boats race for the harbour.",
    Iptc4xmpCore_AltTextAccessibility="White sails before a black sky",
    dc_subject=("sailing", "storm", "Lisbon"),
    lr_hierarchicalSubject=("Places|Europe|Lisbon", "Sport|regatta boats"),
    faces=("Anna", "Bob"),
    Iptc4xmpExt_PersonInImage=("Bob", "Carla"),
    photoshop_City="Lisbon",
    photoshop_Country="Portugal",
    Iptc4xmpCore_Location=("Belém",),
)
TOLD = """Regatta
Storm over the bay
Two boats race for the harbour.
White sails before a black sky
Bob, Carla, Anna
sailing, storm, Lisbon, regatta boats
Belém, Portugal"""


def caption_of(path: Path) -> str:
    caption = inspect(path).caption
    found = read_picture(path, 64)
    assert found.caption == caption, "with the pixels as without"
    assert (found.pixels == read_image(path, 64)).all()
    return caption


def told_beside(path: Path) -> str:
    """What is written in the file, then what is written beside it."""
    return "\n".join(filter(None, (caption_of(path), beside.read(path).words)))


def with_xmp(path: Path, packet: bytes) -> Path:
    if path.suffix == ".png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
        return draw_image(path, pnginfo=chunks)
    if path.suffix == ".tiff":
        return draw_image(path, tiffinfo={700: packet})
    return draw_image(path, xmp=packet)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff", "a.heic", "a.avif"])
def test_xmp_is_read_in_every_format(tmp_path: Path, name: str) -> None:
    assert caption_of(with_xmp(tmp_path / name, WRITTEN)) == TOLD


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.gif", "a.heic"])
def test_a_picture_without_words_has_no_caption(tmp_path: Path, name: str) -> None:
    assert caption_of(draw_image(tmp_path / name)) == ""
    if name != "a.bmp" and name != "a.gif":
        assert caption_of(draw_image(tmp_path / name, exif={"make": "Canon", "taken": "2023:07:14 09:30:00"})) == ""


def test_iptc_is_read(tmp_path: Path) -> None:
    words = ((5, "Régate"), (105, "Storm"), (120, "Two boats"), (25, "sailing"), (25, "storm"))
    records = iptc_records(*words, (101, "Portugal"), (90, "Lisboa"), (80, "The Photographer"))
    expected = "Régate\nStorm\nTwo boats\nsailing\nLisboa, Portugal"
    assert caption_of(add_iptc(draw_image(tmp_path / "a.jpg"), records)) == expected
    old = iptc_records(*words, (90, "Lisboa"), (101, "Portugal"), encoding="cp1252")
    assert caption_of(add_iptc(draw_image(tmp_path / "b.jpg"), old)) == expected, "before UTF-8"
    assert caption_of(add_iptc(draw_image(tmp_path / "c.jpg"), records[:14] + b"\x1c\x02\x78\xff\xff..")) == "Régate"
    tiff = draw_image(tmp_path / "a.tiff", tiffinfo={33723: records})
    assert caption_of(tiff) == expected


def test_exif_is_read_whatever_its_characters(tmp_path: Path) -> None:
    windows = {0x9C9B: "Regatta 帆船", 0x9C9C: "What a day", 0x9C9E: "sailing;storm", 0x9C9F: "Lisbon"}
    path = draw_image(tmp_path / "a.jpg", exif={"description": "Grüße".encode(), "windows": windows})
    assert caption_of(path) == "Regatta 帆船\nLisbon\nGrüße\nWhat a day\nsailing, storm"
    for number, (comment, text) in enumerate(
        (
            (b"ASCII\0\0\0A day at sea\0\0", "A day at sea"),
            (b"UNICODE\0" + "Tag am Meer – 海".encode("utf-16-le"), "Tag am Meer – 海"),
            (b"UNICODE\0" + "Tag am Meer – 海".encode("utf-16-be"), "Tag am Meer – 海"),
            (b"UNICODE\0" + "День на море".encode("utf-16-be"), "День на море"),
            (b"UNICODE\0" + "Tag am Meer".encode("utf-16"), "Tag am Meer"),
            (b"JIS\0\0\0\0\0" + "海の日".encode("iso2022_jp"), "海の日"),
            (b"\0" * 8 + "Tag am Meer: Grüße".encode(), "Tag am Meer: Grüße"),
            ("no name at all, Grüße".encode("cp1252"), "no name at all, Grüße"),
            (b"ASCII\0\0\0" + b" " * 200, ""),
            (b"UNICODE\0", ""),
            (b"\0", ""),
        )
    ):
        assert caption_of(draw_image(tmp_path / f"{number}.jpg", exif={"comment": comment})) == text


def test_png_texts_are_read(tmp_path: Path) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Title", "Régate")
    chunks.add_itxt("Description", "Two boats 帆船")
    chunks.add_text("Comment", "Created with GIMP")
    chunks.add_text("Software", "Some program")
    chunks.add_text("parameters", "a boat, Steps: 20, Sampler: Euler a, Seed: 3")
    assert caption_of(draw_image(tmp_path / "a.png", pnginfo=chunks)) == "Régate\nTwo boats 帆船"


def test_each_thing_is_told_once(tmp_path: Path) -> None:
    packet = xmp_packet(dc_title="Regatta", dc_description="regatta", dc_subject=("Storm", "REGATTA", "storm"))
    path = draw_image(tmp_path / "a.jpg", xmp=packet, exif={"description": "Regatta", "windows": {0x9C9B: "Regatta"}})
    assert caption_of(add_iptc(path, iptc_records((5, "Regatta"), (25, "storm")))) == "Regatta\nStorm"


def test_a_caption_is_short(tmp_path: Path) -> None:
    text = " ".join(f"word{i}" for i in range(3000))
    caption = caption_of(draw_image(tmp_path / "a.jpg", xmp=xmp_packet(dc_title="Words", dc_description=text)))
    assert MAX_LETTERS - 20 < len(caption) <= MAX_LETTERS and caption.startswith("Words\nword0 word1 ")
    assert caption.rsplit(" ", 1)[1] in text.split(" "), "it ends with a whole word"
    assert len(caption_of(draw_image(tmp_path / "b.jpg", xmp=xmp_packet(dc_title="海" * 5000)))) == MAX_LETTERS


# What was found in people's files, from phones, cameras and programs.
JUNK = """OLYMPUS DIGITAL CAMERA
SONY DSC
KODAK Digital Still Camera
MINOLTA DIGITAL CAMERA
Exif_JPEG_PICTURE
Default
untitled
Untitled-1
Created with GIMP
Created with The GIMP
Processed with VSCO with a6 preset
Screenshot
Screenshot 2023-07-14 at 09.30
Adobe Photoshop CC 2019 (Windows)
HandBrake 1.3.0 2019110900
Lavf58.29.100
filter: 0; fileterIntensity: 0.0; filterMask: 0; captureOrientation: 0; hdrForward: 0;
oplus_32
oznorCOQNO
hdr_vivid
a cat, masterpiece Negative prompt: bad Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 3
{"mirror":false,"sensor_type":"front"}
ImageJ=1.53t images=30 slices=30 unit=micron
<?xml version="1.0"?><OME xmlns="x"></OME>
123456
2023-07-14
aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQ=
5d41402abc4b2a76b9719d911017c592
IMG_20230714_093000
DSC01234
photo.jpg
https://example.com/a
Microsoft Word - x.doc
PowerPoint Presentation
Document1
Slide 1
?
x
\ufffd\ufffd\ufffd Bildersuche""".splitlines()
WORDS = """Made in Italy
Created by Anna
Edited by Anna in 2019
Windows of the house
Photoshop workshop in Berlin
My digital camera, 1998
GoPro in the river
Left: Anna, Middle: Bob, Right: Carl
1: Anna 2: Bob 3: Carl
P-51
A screenshot of the mistake
Untitled, oil on canvas, 1956
Slide in the playground
[1920] Wedding
Wedding of Anna & Bob, 14.07.2023
Score 3:2 after extra time
Annual report 2023
犬
שלום""".splitlines()


@pytest.mark.parametrize("text", JUNK)
def test_what_nobody_wrote_is_left_out(text: str) -> None:
    assert is_junk(text)


@pytest.mark.parametrize("text", WORDS)
def test_what_somebody_wrote_stays(text: str) -> None:
    assert not is_junk(text)


def test_tags_say_more_than_the_same_words_as_a_title() -> None:
    for tag in ("screenshot", "photo", "image", "hdr", "Microsoft", "P-51", "犬"):
        assert not is_junk(tag, tag=True)
    for tag in ("1234", "https://example.com", "IMG_1234", ""):
        assert is_junk(tag, tag=True)


def test_no_text_takes_long_to_judge() -> None:
    evil = ("a", "a ", "a:1 ", "a=a ", "steps: 1, ", "adobe ", "gimp a a a", "created with ", "<", "(", "0-", "_", ". ")
    begun = time.perf_counter()
    for text in evil:
        is_junk((text * 4000)[:4000])
        is_junk((text * 4000)[:4000], tag=True)
    assert time.perf_counter() - begun < 2


def test_a_sidecar_beside_the_picture_is_read(tmp_path: Path) -> None:
    for name in ("photo.jpg.xmp", "photo.xmp"):
        path = draw_image(tmp_path / "photo.jpg", exif={"description": "In the file"})
        (tmp_path / name).write_bytes(xmp_packet(dc_title="Beside", dc_subject=("sailing",)))
        assert told_beside(path) == "In the file\nBeside\nsailing"
        assert caption_of(path) == "In the file", "the words beside are the copy's"
        (tmp_path / name).unlink()
    capitals = draw_image(tmp_path / "PHOTO2.JPG")
    (tmp_path / "PHOTO2.XMP").write_bytes(xmp_packet(dc_title="Beside"))
    assert told_beside(capitals) == "Beside"


def test_a_programs_own_books_are_no_keywords(tmp_path: Path) -> None:
    packet = xmp_packet(
        dc_subject=("darktable", "exported", "format", "jpg", "sailing"),
        lr_hierarchicalSubject=("darktable|exported", "darktable|format|jpg", "Sport|1/2 ton"),
        digiKam_TagsList=("_Digikam_Internal_Tags_/Date Time Not Set", "Places/Lisbon"),
    )
    assert caption_of(draw_image(tmp_path / "a.jpg", xmp=packet)) == "sailing, 1/2 ton, Lisbon"


@pytest.mark.parametrize(
    ("photo", "note"),
    [
        ("a.jpg", "a.jpg.json"),
        ("a.jpg", "a.jpg.supplemental-metadata.json"),
        ("a(1).jpg", "a.jpg(1).json"),
        ("a(1).jpg", "a.jpg.supplemental-metadata(1).json"),
        ("IMG_20230714_093000123.jpg", "IMG_20230714_093000123.jpg.supplemental-metada.json"),
    ],
)
def test_a_google_export_is_read(tmp_path: Path, photo: str, note: str) -> None:
    path = draw_image(tmp_path / photo)
    known = {"title": photo, "description": "On the beach", "people": [{"name": "Anna"}, {"name": "Bob"}, 3, {}]}
    (tmp_path / note).write_text(json.dumps(known), encoding="utf-8")
    assert told_beside(path) == "On the beach\nAnna, Bob"


@pytest.mark.parametrize(
    "text", ["[]", "3", "{", "[" * 100_000, '{"description": {"a": 1}, "people": "Anna"}', "\x00", ""]
)
def test_another_json_beside_is_no_harm(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg.json").write_text(text)
    assert told_beside(draw_image(tmp_path / "a.jpg", exif={"description": "In the file"})) == "In the file"


def test_what_lies_beside_and_is_no_file_is_no_harm(tmp_path: Path) -> None:
    path = draw_image(tmp_path / "a.jpg", exif={"description": "In the file"})
    (tmp_path / "a.jpg.json").mkdir()
    with (tmp_path / "a.jpg.xmp").open("wb") as file:
        file.write(xmp_packet(dc_title="Beside"))
        file.truncate(100 << 20)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "a.xmp")
    assert told_beside(path) == "In the file"


@pytest.mark.slow
def test_bombs_in_xmp_are_harmless(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 20))
    wanted = frozenset(("http://purl.org/dc/elements/1.1/ title",))
    body = WRITTEN.decode().split("?>\n", 1)[1].replace("Regatta", "&l19;")
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>{body}'.encode()
    outside = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + body.replace("&l19;", "&e;").encode()
    deep = b"<a>" * 1_000_000
    wide = xmp_packet(dc_title=["x" * 10_000] * 300, dc_subject=[f"k{i}" for i in range(20_000)])
    begun = time.perf_counter()
    assert read_xmp(bomb, wanted) == {} and read_xmp(outside, wanted) == {} and read_xmp(deep, wanted) == {}
    found = read_xmp(wide, wanted)["http://purl.org/dc/elements/1.1/ title"]
    assert sum(map(len, found)) < 2_000_000
    assert read_xmp(b"\xff\xfe\x00" * 1000, wanted) == read_xmp(b"", wanted) == read_xmp(bytes(100), wanted) == {}
    assert read_xmp(b'<?xml version="1.0" encoding="nonsense"?><a/>', wanted) == {}
    assert time.perf_counter() - begun < 3
    path = draw_image(tmp_path / "a.webp", xmp=bomb, exif={"description": "In the file"})
    assert caption_of(path) == "In the file"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_of_a_broken_packet_the_beginning_is_read(tmp_path: Path, share: float) -> None:
    packet = WRITTEN[: int(len(WRITTEN) * share)]
    lines = caption_of(draw_image(tmp_path / "a.jpg", xmp=packet)).split("\n")
    assert set(", ".join(lines).split(", ")) <= {"", *TOLD.replace("\n", ", ").split(", ")}


@pytest.mark.slow
def test_garbage_in_metadata_costs_the_words_and_not_the_picture(tmp_path: Path) -> None:
    whole = add_iptc(
        draw_image(
            tmp_path / "a.jpg", size=(64, 48), xmp=WRITTEN, exif={"description": "x y", "comment": b"ASCII\0\0\0z"}
        ),
        iptc_records((5, "Regatta"), (25, "storm")),
    ).read_bytes()
    header = whole.index(b"\xff\xdb")
    rng = np.random.default_rng(5)
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(4, header - 4, 8):
            data[at] = int(rng.integers(0, 256))
        path = tmp_path / "b.jpg"
        path.write_bytes(data)
        try:
            read_image(path)
        except MediaError:  # the picture itself is hurt
            continue
        caption_of(path)


def test_unseen_and_turning_characters_are_dropped(tmp_path: Path) -> None:
    packet = xmp_packet(
        dc_title="fo\u202eto\u200b \u00adof\tAnna", dc_description="a\nb\n\nc", dc_subject=("שלום", "مرحبا")
    )
    assert caption_of(draw_image(tmp_path / "a.jpg", xmp=packet)) == "foto of Anna\na b c\nשלום, مرحبا"


def test_a_videos_tags_are_its_caption(tmp_path: Path) -> None:
    tags = {"title": "Regatta", "description": "Two boats", "comment": "Lavf58.29.100", "keywords": "sailing, storm"}
    path = draw_video(tmp_path / "a.mkv", 1, 10, size=(64, 48), codec="mpeg4", metadata=tags)
    assert probe(path).caption == "Regatta\nTwo boats\nsailing, storm"
    known = {"description": "On the beach", "people": [{"name": "Anna"}]}
    (tmp_path / "a.mkv.supplemental-metadata.json").write_text(json.dumps(known), encoding="utf-8")
    assert beside.read(path).words == "On the beach\nAnna"
    apple = {"com.apple.quicktime.title": "Regatta", "com.apple.quicktime.make": "Apple", "ENCODER": "x y z"}
    assert caption_of_tags(apple) == "Regatta"


@pytest.mark.parametrize("engine", ["pymupdf", "pypdfium2"])
def test_a_pdfs_title_is_its_caption(tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_PDF", engine)
    known = {"title": "Régate", "subject": "A report on boats", "keywords": "sailing; storm", "creator": "Word"}
    for metadata, caption in (
        (known, "Régate\nA report on boats\nsailing, storm"),
        ({"title": "Microsoft Word - x.doc", "subject": "untitled"}, ""),
        ({}, ""),
    ):
        with pdf.open_pdf(draw_pdf(tmp_path / "a.pdf", metadata=metadata)) as document:
            assert pdf.caption_of(document) == caption
