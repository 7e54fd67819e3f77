"""Dates, places and words of copies: inside the file, beside it and in its name, with exiftool as the referee."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, PngImagePlugin

from data.copies import Copy, CopyFacts, facts_of, facts_of_name, read_copies
from data.media.avchd import recorded
from data.media.dates import Taken
from data.media.kinds import kind_by_content, kind_of
from data.media.metadata import NOTHING, Metadata
from tests.media import add_iptc, draw_image, draw_pdf, draw_video, iptc_records

MTIME = 1_764_000_000
EXIF, XMP = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/xap/1.0/"
LISBON = {"latitude": 38.7223, "longitude": -9.1393}


def facts(path: Path) -> CopyFacts:
    kind = kind_of(path) or kind_by_content(path)
    assert kind is not None
    return facts_of(Copy(path, kind, MTIME * 10**9, None))


def taken(path: Path) -> tuple[str, str]:
    found = facts(path).best.taken
    assert found is not None
    return found.at, found.source


def xmp(**properties: str) -> bytes:
    names = {
        "original": "exif:DateTimeOriginal", "created": "photoshop:DateCreated", "digitized": "xmp:CreateDate",
        "lat": "exif:GPSLatitude", "lon": "exif:GPSLongitude", "make": "tiff:Make", "model": "tiff:Model",
    }  # fmt: skip
    values = " ".join(f'{names[name]}="{value}"' for name, value in properties.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:exif="{EXIF}" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmp="{XMP}"'
        f' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {values}/></rdf:RDF></x:xmpmeta>'
    ).encode()


def exif(tags: dict[int, Any], detail: dict[int, Any] | None = None, gps: dict[int, Any] | None = None) -> Image.Exif:
    made = Image.Exif()
    made.update(tags)
    made.get_ifd(0x8769).update(detail or {})
    made.get_ifd(0x8825).update(gps or {})
    return made


def note(path: Path, seconds: int = 1_276_000_000, **more: Any) -> None:
    known = {"title": "", "photoTakenTime": {"timestamp": str(seconds)}, "geoData": LISBON, **more}
    path.write_text(json.dumps(known), encoding="utf-8")


GPS = {1: "N", 2: (38.0, 43.0, 20.0), 3: "W", 4: (9.0, 8.0, 20.0), 29: "2010:06:07", 7: (10.0, 11.0, 12.0)}


@pytest.mark.parametrize(
    ("tags", "detail", "gps", "at", "source"),
    [
        ({}, {0x9003: "2023:01:01 00:30:00", 0x9011: "+09:00", 0x9291: "25"}, {}, "2023-01-01T00:30:00.25+09:00",
         "exif"),
        ({}, {0x9003: "2022:12:31 20:00:00", 0x9011: "-10:00"}, {}, "2022-12-31T20:00:00-10:00", "exif"),
        ({0x132: "2024:01:05 10:00:00"}, {0x9003: "2023:07:10 12:00:00", 0x9010: "+01:00"}, {}, "2023-07-10T12:00:00",
         "exif"),
        ({0x132: "2011:05:06 07:08:09"}, {0x9003: "0000:00:00 00:00:00"}, {}, "2011-05-06T07:08:09", "modified"),
        ({0x132: "2011:05:06 07:08:09"}, {0x9004: "2010:01:02 03:04:05"}, {}, "2010-01-02T03:04:05", "digitized"),
        ({}, {}, GPS, "2010-06-07T11:11:12+01:00", "gps"),
        ({}, {}, {29: "2010:06:07"}, "2010-06-07", "gps"),
        ({}, {0x9003: "2010:06:07 12:11:12"}, GPS, "2010-06-07T12:11:12+02:00", "exif"),
        ({0x132: "2015:01:01 10:00:00"}, {0x9003: "2016:02:29 24:10:00"}, GPS, "2010-06-07T11:11:12+01:00", "gps"),
        ({}, {0x9003: "1970:01:01 00:00:00"}, {}, "2025-11-24", "file"),
    ],
)  # fmt: skip
def test_exif_and_its_satellites(
    tmp_path: Path, tags: dict[int, Any], detail: dict[int, Any], gps: dict[int, Any], at: str, source: str
) -> None:
    for name in ("a.jpg", "a.webp", "a.png", "a.avif"):
        made = exif(tags, detail, gps).tobytes()  # Pillow takes one without tags of its own for empty
        path = draw_image(tmp_path / name, exif=None)
        with Image.open(path) as picture:
            picture.load()
            picture.save(path, exif=made)
        found = taken(path)
        assert (found[0][: len(at)], found[1]) == (at, source), name


@pytest.mark.parametrize(
    ("packet", "at", "source"),
    [
        (xmp(original="1968-05-12T10:00:00"), "1968-05-12T10:00:00", "xmp"),
        (xmp(created="1968", digitized="2015-02-03T04:05:06"), "1968", "xmp"),
        (xmp(created="1968-05"), "1968-05", "xmp"),
        (xmp(digitized="2015-02-03T04:05:06+01:00"), "2015-02-03T04:05:06+01:00", "digitized"),
        (xmp(original="1970-01-01T00:00:00", created="1985-06-07"), "1985-06-07", "xmp"),
    ],
)
def test_xmp_inside_and_beside(tmp_path: Path, packet: bytes, at: str, source: str) -> None:
    assert taken(draw_image(tmp_path / "inside.jpg", xmp=packet)) == (at, source)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
    assert taken(draw_image(tmp_path / "inside.png", pnginfo=chunks)) == (at, source)
    for name, sidecar in (
        ("a.jpg", "a.jpg.xmp"),
        ("b.jpg", "b.xmp"),
        ("C.JPG", "C.XMP"),
        ("E.JPG", "E.JPG.XMP"),
        ("f.jpg", "f.jpg.XMP"),
        ("g.jpg", "g.Xmp"),
        ("H.JPG", "H.xmp"),
        ("d.mp4", "d.mp4.xmp"),
    ):
        path = tmp_path / name
        draw_video(path, 1, 5, size=(64, 48)) if name == "d.mp4" else draw_image(path, format="JPEG")
        (tmp_path / sidecar).write_bytes(packet)
        assert taken(path) == (at, "sidecar" if source == "xmp" else source), name


@pytest.mark.parametrize("tags", [{}, {"com.apple.quicktime.creationdate": "2019-02-03T04:05:06+0100"}])
@pytest.mark.parametrize(
    ("text", "at"),
    [
        (b"2018-12-31T19:30:00-0500", "2018-12-31T19:30:00-05:00"),
        (b"2018-12-31", "2018-12-31"),
        (b"nonsense", None),
        (b"", None),
    ],
)
def test_quicktimes_user_data_hold_a_date(tmp_path: Path, tags: dict[str, str], text: bytes, at: str | None) -> None:
    path = draw_video(
        tmp_path / "a.mov", 1, 5, size=(64, 48), metadata={"title": "x", **tags},
        options={"movflags": "use_metadata_tags"} if tags else {},
    )  # fmt: skip
    data = bytearray(path.read_bytes())
    entry = (8 + len(text)).to_bytes(4, "big") + b"date" + text
    udta = (8 + len(entry)).to_bytes(4, "big") + b"udta" + entry
    moov = data.find(b"moov") - 4  # the last box of the file
    assert moov + int.from_bytes(data[moov : moov + 4], "big") == len(data)
    known = data.rfind(b"udta") - 4
    if known > moov and known + int.from_bytes(data[known : known + 4], "big") == len(data):
        data[known : known + 4] = (len(data) - known + len(entry)).to_bytes(4, "big")
        udta = entry
    data[moov : moov + 4] = (len(data) - moov + len(udta)).to_bytes(4, "big")
    path.write_bytes(data + udta)
    found = taken(path)
    expected = "2019-02-03T04:05:06+01:00" if tags else at
    assert found == (expected, "film") if expected else found[1] == "file"


def test_a_sidecar_of_the_whole_name_leads_and_case_tells_files_apart(tmp_path: Path) -> None:
    path = draw_image(tmp_path / "a.jpg")
    (tmp_path / "a.XMP").write_bytes(xmp(original="1968-05-12T10:00:00"))
    assert taken(path)[0].startswith("1968")
    (tmp_path / "a.jpg.XMP").write_bytes(xmp(original="1969-05-12T10:00:00"))
    assert taken(path)[0].startswith("1969")
    (tmp_path / "a.jpg.xmp").write_bytes(xmp(original="1970-05-12T10:00:00"))
    assert taken(path)[0].startswith("1970")
    other = draw_image(tmp_path / "Other.jpg")
    (tmp_path / "other.xmp").write_bytes(xmp(original="1968-05-12T10:00:00"))
    same_file = (tmp_path / "OTHER.XMP").exists()
    assert taken(other)[0].startswith("1968") == same_file


def test_a_sidecar_tells_place_and_camera(tmp_path: Path) -> None:
    path = draw_image(tmp_path / "slide.jpg")
    (tmp_path / "slide.jpg.xmp").write_bytes(xmp(lat="48,51.5N", lon="2,21,6E", make="Leica", model="Leica M3"))
    best = facts(path).best
    assert (best.camera, best.lat, best.lon) == ("Leica M3", pytest.approx(48.858333), pytest.approx(2.351667))
    (tmp_path / "slide.jpg.xmp").write_bytes(xmp(lat="-33.5", lon="151,12.6E"))
    best = facts(path).best
    assert (best.lat, best.lon) == (-33.5, pytest.approx(151.21))
    for lat, lon in (("95,0N", "2,0E"), ("0,0N", "0,0E"), ("north", "east"), ("48,51.5N", "")):
        (tmp_path / "slide.jpg.xmp").write_bytes(xmp(lat=lat, lon=lon))
        assert facts(path).best.lat is None


def test_iptc_and_png_text(tmp_path: Path) -> None:
    path = add_iptc(draw_image(tmp_path / "a.jpg"), iptc_records((55, "19990704"), (60, "120000+0200")))
    assert taken(path) == ("1999-07-04T12:00:00+02:00", "iptc")
    path = add_iptc(draw_image(tmp_path / "b.jpg"), iptc_records((62, "20150203")))
    assert taken(path) == ("2015-02-03", "digitized")
    for key, text, at in (
        ("Creation Time", "2014-03-02T11:12:13", "2014-03-02T11:12:13"),
        ("Creation Time", "Sun, 02 Mar 2014 11:12:13 +0100", "2014-03-02T11:12:13+01:00"),
        ("exif:DateTimeOriginal", "2014:03:02 11:12:13", "2014-03-02T11:12:13"),
    ):
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text("date:create", "2020-01-01T00:00:05+00:00")  # by ImageMagick: the file's
        chunks.add_text(key, text)
        assert taken(draw_image(tmp_path / "a.png", pnginfo=chunks)) == (at, "png")


FILMS = [
    ({"creation_time": "2022-12-31T15:30:00Z"}, "2022-12-31T15:30:00+00:00", "clock"),
    ({"creation_time": "2022-12-31T15:30:00Z", "location": "+35.6800+139.7600/"}, "2023-01-01T00:30:00+09:00", "clock"),
    (
        {"com.apple.quicktime.creationdate": "2012-03-04T05:06:07+0900", "creation_time": "2022-12-31T15:30:00Z"},
        "2012-03-04T05:06:07+09:00",
        "film",
    ),
    ({"date": "2012-03-04"}, "2012-03-04", "film"),
    ({"date": "1999", "creation_time": "2022-12-31T15:30:00Z"}, "2022-12-31T15:30:00+00:00", "clock"),
]


@pytest.mark.parametrize(("tags", "at", "source"), FILMS)
def test_films(tmp_path: Path, tags: dict[str, str], at: str, source: str) -> None:
    path = draw_video(tmp_path / "a.mp4", 1, 5, size=(64, 48), metadata=tags, options={"movflags": "use_metadata_tags"})
    assert taken(path) == (at, source)


@pytest.mark.parametrize(
    ("tags", "at", "source"),
    [
        ({"DATE_RECORDED": "2010-05-06 07:08:09"}, "2010-05-06T07:08:09", "film"),
        ({"DATE_DIGITIZED": "1999-08-07"}, "1999-08-07", "digitized"),
        ({"DATE_DIGITIZED": "1999-08-07", "DATE_RECORDED": "1968"}, "1999-08-07", "digitized"),
        ({"DATE_DIGITIZED": "soon", "creation_time": "2022-12-31T15:30:00Z"}, "2022-12-31T15:30:00+00:00", "clock"),
    ],
)
def test_dates_of_matroska(tmp_path: Path, tags: dict[str, str], at: str, source: str) -> None:
    assert taken(draw_video(tmp_path / "a.mkv", 1, 5, size=(64, 48), metadata=tags)) == (at, source)


def test_quicktimes_own_keys_as_exiftool_writes_and_reads_them(tmp_path: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path = draw_video(tmp_path / "a.mp4", 1, 5, size=(64, 48), metadata={"creation_time": "2023-07-01T03:30:00Z"})
    for tag, date in (("Keys:CreationDate", "2012:03:04 05:06:07+09:00"), ("UserData:DateTimeOriginal", "")):
        if date:
            subprocess.run(["exiftool", "-q", "-overwrite_original", f"-{tag}={date}", str(path)], check=True)
    told = subprocess.run(["exiftool", "-s3", "-CreationDate", str(path)], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "2012:03:04 05:06:07+09:00"
    assert taken(path) == ("2012-03-04T05:06:07+09:00", "film")


def mdpm(zone: int, digits: str) -> bytes:
    """An H.264 message with a camcorder's date."""
    entries = bytes([0x18, zone]) + bytes.fromhex(digits[:6]) + bytes([0x19]) + bytes.fromhex(digits[6:14])
    payload = bytes.fromhex("17ee8c60f84d11d98cd60800200c9a66") + b"MDPM" + b"\x02" + entries
    return b"\0\0\0\1\x06\x05" + bytes([len(payload)]) + payload + b"\x80"


def avchd(source: Path, path: Path, message: bytes, options: dict[str, str] | None = None) -> Path:
    """A transport stream of a film's pictures, each after a message."""
    with av.open(str(source)) as film, av.open(str(path), "w", format="mpegts", options=options or {}) as made:
        stream = made.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.dts is None:
                continue
            # The muxer makes start codes of lengths; one more unit goes before the picture.
            new = av.Packet((len(message) - 4).to_bytes(4, "big") + message[4:] + bytes(packet))
            new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
            new.is_keyframe, new.stream = packet.is_keyframe, stream
            made.mux(new)
    return path


@pytest.mark.parametrize(
    ("zone", "digits", "at"),
    [
        (0x92, "20120304050607", "2012-03-04T05:06:07+09:00"),
        (0xB0, "20120304050607", "2012-03-04T05:06:07-08:00"),
        (0x8B, "20120304050607", "2012-03-04T05:06:07+05:30"),
        (0xFF, "20120304050607", "2012-03-04T05:06:07"),
        (0x80, "00000000000000", None),
        (0x80, "ffffffffffffff", None),
    ],
)
def test_camcorders_write_the_date_among_the_pictures(tmp_path: Path, zone: int, digits: str, at: str | None) -> None:
    source, path = draw_video(tmp_path / "a.mp4", 2, 5, size=(64, 48)), tmp_path / "a.mts"
    for options in ({}, {"mpegts_m2ts_mode": "1"}):
        avchd(source, path, mdpm(zone, digits), options)
        assert recorded(path) == (Taken(at, "camcorder") if at else None)
        if at and zone != 0xFF and shutil.which("exiftool"):
            asked = ["exiftool", "-s3", "-DateTimeOriginal", str(path)]
            told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
            assert told == at.replace("-", ":", 2).replace("T", " ")
        assert taken(path)[1] == ("camcorder" if at else "file")
    assert recorded(source) is None and recorded(tmp_path / "none.mts") is None


EXPORTED = [
    ("scan0042.jpg", "scan0042.jpg.supplemental-metadata.json"),
    ("scan0042.jpg", "scan0042.jpg.json"),
    ("scan0042.jpg", "scan0042.jpg.supplemental-meta.json"),
    ("scan0042.jpg", "scan0042.jpg.s.json"),
    ("scan0042.jpg", "scan0042.jpg..json"),
    ("Peanut Balls.jpg", "Peanut Balls.supplemental-metadata.json"),
    ("Peanut Balls.jpg", "Peanut Balls.json"),
    ("beach-edited.jpg", "beach.jpg.supplemental-metadata.json"),
    ("strand-bearbeitet.jpg", "strand.jpg.json"),
    ("part-szerkesztve.jpg", "part.jpg.supplemental-metadata.json"),
    ("strand-har redigerats.jpg", "strand.jpg.json"),
    ("ακτή-επεξεργασμένο(1).jpg", "ακτή.jpg.supplemental-metadata(1).json"),
    ("beach-แก้ไขแล้ว.jpg", "beach.jpg.supplemental-metadata.json"),
    ("PXL_20210508_091011123.MP", "PXL_20210508_091011123.MP.jpg.supplemental-metad.json"),
    ("PXL_20210508_091011123.MP.jpg", "PXL_20210508_091011123.MP.jpg.supplemental-metad.json"),
    ("IMG_1.jpg", "IMG_1.HEIC.supplemental-metadata.json"),
    ("IMG_1.MP4", "IMG_1.HEIC.supplemental-metadata.json"),
    ("IMG_1-edited.jpg", "IMG_1.HEIC.supplemental-metadata.json"),
    ("duplicate(1).jpg", "duplicate.jpg.supplemental-metadata(1).json"),
    ("duplicate(12).jpg", "duplicate.jpg(12).json"),
    ("duplicate-edited(1).jpg", "duplicate.jpg.supplemental-metadata(1).json"),
    ("titled (2).jpg", "titled (2).jpg.supplemental-metadata.json"),
    ("a_rather_long_picture_name_of_our_holidays_2009.jpg", "a_rather_long_picture_name_of_our_holidays_200.json"),
    ("a_rather_long_picture_name_of_our_holidays.jpg", "a_rather_long_picture_name_of_our_holidays.jpg.json"),
    ("a_rather_long_picture_name_of_our_hols_09.jpg", "a_rather_long_picture_name_of_our_hols_09.jpg..json"),
    ("123456789123456789123456789123456789_DSCN0095.JPG", "123456789123456789123456789123456789_DSCN0095.J.json"),
    ("a_rather_long_picture_name_of_our_holidays_-ed.jpg", "a_rather_long_picture_name_of_our_holidays_.jpg.json"),
    ("Übung.jpg", "U\u0308bung.jpg.json"),
]


@pytest.mark.parametrize(("name", "beside"), EXPORTED)
def test_an_export_tells_of_its_files_whatever_it_calls_them(tmp_path: Path, name: str, beside: str) -> None:
    path = (
        draw_video(tmp_path / "film.mp4", 1, 5, size=(64, 48)).rename(tmp_path / name)
        if name.endswith(("MP4", "MP"))
        else draw_image(tmp_path / name, format="JPEG")
    )
    note(tmp_path / beside, title=name, description="cookies", people=[{"name": "Anna"}])
    note(tmp_path / "other.jpg.supplemental-metadata.json", 1_000_000_000, description="something else")
    found = facts(path)
    assert found.best.taken == Taken("2010-06-08T13:26:40+01:00", "export") and found.words == "cookies\nAnna"
    assert (found.best.lat, found.best.lon) == (38.7223, -9.1393)


def test_of_many_copies_each_has_its_own_note(tmp_path: Path) -> None:
    long = "a_rather_long_picture_name_of_our_holidays_200"
    for n, (name, beside) in enumerate(
        (
            ("a.jpg", "a.jpg.supplemental-metadata.json"),
            ("a(1).jpg", "a.jpg.supplemental-metadata(1).json"),
            ("a(2).jpg", "a.jpg.supplemental-metadata(2).json"),
            ("a.png", "a.png.supplemental-metadata.json"),
            (f"{long}1.jpg", f"{long}.json"),
            (f"{long}2.jpg", f"{long}(1).json"),
            (f"b_{long}.jpg", f"b_{long[:-2]}.json"),
            (f"b_{long}(1).jpg", f"b_{long[:-2]}(1).json"),
            ("a-edited.jpg", "a-edited.jpg.json"),
        )
    ):
        draw_image(tmp_path / name)
        note(tmp_path / beside, title=name.replace("(1)", "").replace("(2)", ""), description=f"words {n}")
    names = ("a.jpg", "a(1).jpg", "a(2).jpg", "a.png", f"{long}1.jpg")
    assert [facts(tmp_path / name).words for name in names] == [f"words {n}" for n in range(5)]
    others = (f"b_{long}.jpg", f"b_{long}(1).jpg", "a-edited.jpg")
    assert [facts(tmp_path / name).words for name in others] == ["words 6", "words 7", "words 8"]


def test_words_of_an_export_lose_the_escapes_of_html(tmp_path: Path) -> None:
    path = draw_image(tmp_path / "a.jpg")
    people = [{"name": "Anna &amp; Bo"}]
    note(tmp_path / "a.jpg.json", description="Granny&#39;s house &lt;3", people=people)
    assert facts(path).words == "Granny's house <3\nAnna & Bo" and facts(path).best.people == ("Anna & Bo",)


def test_another_programs_json_is_no_export(tmp_path: Path) -> None:
    path = draw_image(tmp_path / "a.jpg")
    (tmp_path / "a.json").write_text('{"description": "labels of a detector"}')
    assert facts(path).words == ""
    (tmp_path / "b.jpg.json").write_text('{"description": "settings of a generator"}')
    assert facts(draw_image(tmp_path / "b-upscaled.jpg")).words == ""
    for text in ('{"photoTakenTime": {"timestamp": "soon"}}', '{"photoTakenTime": 3, "geoData": []}', "[1]", "{", "\0"):
        (tmp_path / "a.jpg.json").write_text(text)
        assert facts(path).best.taken == facts_of_name(path, MTIME * 10**9, NOTHING).best.taken, text
    note(tmp_path / "a.jpg.json", 0, geoData={"latitude": 0.0, "longitude": 0.0}, geoDataExif=LISBON)
    best = facts(path).best
    assert best.taken is not None and best.taken.source == "file", "the zero of the clock is no date"
    assert best.lat == 38.7223, "the null island is no place"


def test_the_order_of_trust_among_files_names_and_bytes(tmp_path: Path) -> None:
    def draw(**tags: Any) -> Path:
        return draw_image(tmp_path / "IMG-20200517-WA0004.jpg", **tags)

    path = draw()
    os.utime(path, (MTIME, MTIME))
    assert taken(path) == ("2020-05-17", "name")
    path = draw(exif={"taken": "2011:05:06 07:08:09"})
    assert taken(path)[1] == "exif"
    path = draw(xmp=xmp(digitized="2015-02-03"))
    assert taken(path) == ("2015-02-03", "digitized")
    note(tmp_path / f"{path.name}.json")
    assert taken(path) == ("2010-06-08T13:26:40+01:00", "export")
    (tmp_path / f"{path.name}.xmp").write_bytes(xmp(original="1968-05-12"))
    assert taken(path) == ("1968-05-12", "sidecar")
    draw(xmp=xmp(original="1967-01-02"))
    assert taken(path) == ("1967-01-02", "xmp")


def test_a_pdfs_date_is_its_own(tmp_path: Path) -> None:
    path = draw_pdf(tmp_path / "Invoice 2021-05-06.pdf", ["x"], metadata={"creationDate": "D:20200102030405+09'00'"})
    assert taken(path) == ("2020-01-02T03:04:05+09:00", "pdf")
    note(tmp_path / "Invoice 2021-05-06.json")
    assert facts(path).words == ""


def test_a_pixels_name_is_in_utc(tmp_path: Path) -> None:
    path = draw_image(tmp_path / "PXL_20221231_153000123.jpg", exif={"gps": (35.68, 139.76)})
    assert taken(path) == ("2023-01-01T00:30:00.123+09:00", "name")


def test_a_broken_file_has_its_name_and_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "2017-06-05 04.03.02.jpg").write_bytes(b"no picture")
    (tmp_path / "b.mp4").write_bytes(b"no film")
    (tmp_path / "c.pdf").write_bytes(b"no paper")
    note(tmp_path / "b.mp4.json")
    paths = sorted(tmp_path.glob("*.[jmp][pd]*[g4f]"))
    copies = [Copy(path, kind_of(path) or "image", MTIME * 10**9, None) for path in paths]
    sources = [found.best.taken.source for found in read_copies(copies) if found and found.best.taken]
    assert sources == ["name", "export", "file"]
    assert read_copies([Copy(tmp_path / "away.jpg", "image", 0, None)]) == [None], "it may be on a drive that is away"


def test_what_is_known_of_the_bytes_is_not_read_again(tmp_path: Path) -> None:
    known = Metadata(Taken("2001-02-03", "exif"), "Leica M3", 48.0, 2.0)
    path = draw_image(tmp_path / "a.jpg", exif={"taken": "2011:05:06 07:08:09"})
    assert facts_of(Copy(path, "image", 0, known)).best == known


def test_people_are_those_in_the_file_and_beside_it_each_once(tmp_path: Path) -> None:
    def named(*people: str) -> bytes:
        return (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><ext:PersonInImage><rdf:Bag>'
            f"{''.join(f'<rdf:li>{name}</rdf:li>' for name in people)}"
            "</rdf:Bag></ext:PersonInImage></rdf:Description></rdf:RDF></x:xmpmeta>"
        ).encode()

    path = draw_image(tmp_path / "a.jpg", xmp=named("Bob  Ray", "Anna", "…"))
    assert facts(path).inside.people == ("Bob Ray", "Anna")
    path.with_name("a.jpg.xmp").write_bytes(named("Carla"))
    note(tmp_path / "a.jpg.json", people=[{"name": "anna"}, {"name": "Jürgen\nK."}, {"name": 3}, "Eve"])
    found = facts(path)
    assert found.inside.people == ("Bob Ray", "Anna") and found.best.people == ("Bob Ray", "Anna", "Carla", "Jürgen K.")


def test_as_exiftool_reads_them(tmp_path: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    for n, (tag, field) in enumerate((("DateTimeOriginal", "EXIF"), ("CreateDate", "EXIF"), ("ModifyDate", "EXIF"))):
        path = draw_image(tmp_path / f"{n}.jpg")
        date = f"201{n}:03:04 05:06:07"
        subprocess.run(["exiftool", "-q", "-overwrite_original", f"-{field}:{tag}={date}", str(path)], check=True)
        told = subprocess.run(["exiftool", "-s3", f"-{tag}", str(path)], capture_output=True, text=True, check=True)
        assert taken(path)[0] == told.stdout.strip().replace(":", "-", 2).replace(" ", "T")
    path = draw_image(tmp_path / "place.jpg")
    subprocess.run(
        ["exiftool", "-q", "-overwrite_original", "-XMP:DateTimeOriginal=2014:03:02 11:12:13+01:00",
         "-XMP:GPSLatitude=48.8583", "-XMP:GPSLongitude=-2.35", "-XMP:Model=M3", str(path)],
        check=True,
    )  # fmt: skip
    best = facts(path).best
    assert best.taken == Taken("2014-03-02T11:12:13+01:00", "xmp") and best.camera == "M3"
    assert (best.lat, best.lon) == (pytest.approx(48.8583, abs=1e-4), pytest.approx(-2.35, abs=1e-4))
