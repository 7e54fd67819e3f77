"""What a name promises and what a content is."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.media.kinds import HEAD_BYTES, kind_of, sniff
from tests.media import draw_image, draw_pdf, draw_video


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
