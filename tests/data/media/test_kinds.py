"""What a name promises and what a content is."""

from __future__ import annotations

import errno
from pathlib import Path

import av
import numpy as np
import pytest

from data.media.kinds import HEAD_BYTES, SOUNDS, from_os_error, kind_by_content, kind_of, sniff
from data.media.video import sample_frames
from data.reader import outline
from tests.media import draw_image, draw_pdf, draw_video, sound_file, time_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image"),
        ("A.JPEG", "image"),
        ("b/c.d/e.HEIC", "image"),
        ("x.mov", "video"),
        ("x.MTS", "video"),
        ("x.pdf", "pdf"),
        ("x.txt", None),
        ("component.ts", None),
        ("jpg", None),
        (".jpg", None),
        ("x.svg", None),
    ],
)
def test_a_name_promises_a_kind(name: str, kind: str | None) -> None:
    assert kind_of(Path(name)) == kind


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.bmp", "a.tiff", "a.heic", "a.avif"])
def test_images_are_known_by_their_first_bytes(tmp_path: Path, name: str) -> None:
    assert sniff(draw_image(tmp_path / name).read_bytes()[:HEAD_BYTES]) == "image"


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.mts", "libx264"),
        ("a.flv", "libx264"),
        ("a.3gp", "libx264"),
    ],
)
def test_videos_are_known_by_their_first_bytes(tmp_path: Path, name: str, codec: str) -> None:
    path = draw_video(tmp_path / name, 1, 10, codec=codec)
    assert sniff(path.read_bytes()[:HEAD_BYTES]) == "video"


def test_pdfs_and_foreign_files_are_known(tmp_path: Path) -> None:
    assert sniff(draw_pdf(tmp_path / "a.pdf").read_bytes()[:HEAD_BYTES]) == "pdf"
    assert sniff(b"junk before\n%PDF-1.7\n") == "pdf"
    assert sniff(b"PK\x03\x04rest") == "a ZIP archive"
    assert sniff("Grüße aus Köln\n".encode() * 400) == "text"
    assert sniff(b"<!DOCTYPE html><html>") == "a web page"
    assert sniff(bytes(range(256))) is None
    assert sniff(b"") is None
    assert sniff(b"Man" + b"\xff\xfe\xfd" * 50) is None


RECORDERS = {
    ".m2t": "mpegts",
    ".tp": "mpegts",
    ".trp": "mpegts",
    ".tod": "mpegts",
    ".vro": "vob",
    ".m2p": "vob",
    ".mpe": "mpeg",
    ".insv": "mp4",
    ".lrv": "mp4",
    ".360": "mp4",
    ".mp4v": "mp4",
    ".3gpp": "3gp",
    ".divx": "avi",
    ".mk3d": "matroska",
}
UNSURE = {"tv.ts": "mpegts", "MOV001.MOD": "vob", "PXL_1.MP": "mp4"}


def named(path: Path, form: str) -> Path:
    """A film of 2 s in the container that FFmpeg calls `form`, under any name."""
    codec = {"vob": "mpeg2video", "mpeg": "mpeg1video", "avi": "mpeg4"}.get(form, "libx264")
    part = draw_video(path.parent / "part.avi", 2, 25, codec=codec)
    with av.open(str(part)) as old, av.open(str(path), "w", format=form) as out:
        stream = out.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.stream = packet.dts, stream
                out.mux(packet)
    part.unlink()
    return path


@pytest.mark.slow
@pytest.mark.parametrize("suffix", RECORDERS)
def test_films_of_camcorders_and_recorders_are_looked_at(tmp_path: Path, suffix: str) -> None:
    path = named(tmp_path / f"clip{suffix.upper()}", RECORDERS[suffix])
    assert kind_of(path) == "video" and sniff(path.read_bytes()[:HEAD_BYTES]) == "video"
    assert outline(path, "video").duration_s == pytest.approx(2, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", UNSURE)
def test_a_name_with_two_meanings_is_a_video_only_by_its_content(tmp_path: Path, name: str) -> None:
    path = named(tmp_path / name, UNSURE[name])
    assert kind_of(path) is None and kind_by_content(path) == "video"
    assert outline(path, "video").duration_s == pytest.approx(2, abs=0.1)
    for other in (
        b"export class Graph {}\n" * 300,
        b"module sightline\n\ngo 1.22\n",
        b"G" * HEAD_BYTES,
        b"an old song".ljust(20, b"\0") + bytes(1060) + b"M.K." + bytes(4000),
        b"beginfig(1);\n" * 400,
        b"",
    ):
        path.write_bytes(other)
        assert kind_by_content(path) is None
    path.unlink()
    assert kind_by_content(path) is None
    assert kind_by_content(named(tmp_path / "a.txt", "mp4")) is None, "other names are not looked into"


def test_a_video_elementary_stream_of_a_capture_card(tmp_path: Path) -> None:
    path = tmp_path / "cap.m2v"
    part = draw_video(tmp_path / "part.avi", 4, 25, codec="mpeg2video")
    with av.open(str(part)) as old:
        path.write_bytes(b"".join(bytes(packet) for packet in old.demux(video=0)))
    assert kind_of(path) == "video"
    assert outline(path, "video").duration_s == pytest.approx(4, abs=0.1)
    frames, times = sample_frames(path, 0, 4, 4)
    assert [time_of(f) for f in frames] == pytest.approx(times, abs=0.15)


def test_a_transport_stream_that_begins_within_a_packet(tmp_path: Path) -> None:
    data = named(tmp_path / "a.ts", "mpegts").read_bytes()
    (tmp_path / "a.ts").write_bytes(data[100:])
    assert kind_by_content(tmp_path / "a.ts") == "video"


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".flac", ".wav", ".ogg", ".opus", ".aac", ".aiff", ".ac3"])
def test_sound_files_are_known_by_name_and_by_their_first_bytes(tmp_path: Path, suffix: str) -> None:
    path = sound_file(tmp_path / f"a{suffix}", np.zeros((1, 16_000), dtype=np.float32))
    assert suffix in SOUNDS and kind_of(path) is None
    assert sniff(path.read_bytes()[:HEAD_BYTES]) == "a sound file"


def test_text_with_a_byte_order_mark_is_no_sound() -> None:
    assert sniff("Lied\n".encode("utf-16") * 100) is None
    assert sniff(b"caffeine is a drug\n" * 50) == "text"


def test_an_offset_outside_of_a_file_is_damage_and_not_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    with (tmp_path / "a.bin").open("rb") as file, pytest.raises(OSError) as refused:
        file.seek(-1)
    assert from_os_error(refused.value).cause == "damaged"
    assert from_os_error(OSError(errno.EIO, "Input/output error")).cause == "disk"
