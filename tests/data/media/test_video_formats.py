"""The table of film formats in docs/media.md: each filled cell is a test, with FFmpeg's programs as referee.

A cell that is filled there and fails here, or holds here and is empty there, fails.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.media.dates import Taken
from data.media.video import probe, sample_frames
from data.reader import outline
from tests.data.media.test_screen import GREEN, MATRICES, coloured, with_matrix
from tests.data.test_copies import avchd, mdpm
from tests.media import add_sound, add_subtitles, draw_video, picture, rewrap, time_of

COLUMNS = ("decodes", "orientation", "colour", "date", "place", "text")
# Name in the table: suffix, encoder, encoder of subtitles.
FORMATS: dict[str, tuple[str, str, str | None]] = {
    "MP4, H.264": ("mp4", "libx264", "mov_text"),
    "MP4, HEVC": ("mp4", "libx265", "mov_text"),
    "MP4, AV1": ("mp4", "libsvtav1", "mov_text"),
    "MOV, H.264": ("mov", "libx264", "mov_text"),
    "MOV, motion JPEG": ("mov", "mjpeg", "mov_text"),
    "3GP": ("3gp", "libx264", "mov_text"),
    "Matroska": ("mkv", "libx264", "srt"),
    "WebM, VP8": ("webm", "libvpx", "webvtt"),
    "WebM, VP9": ("webm", "libvpx-vp9", "webvtt"),
    "AVI": ("avi", "mpeg4", None),
    "MPEG-TS, AVCHD": ("mts", "libx264", None),
    "MPEG-PS, DVD": ("vob", "mpeg2video", None),
    "FLV": ("flv", "libx264", None),
    "WMV": ("wmv", "wmv2", None),
    "MXF": ("mxf", "mpeg2video", None),
}
FPS = 25
PLACE, DAY = "+48.8577+002.2950/", "2022-03-04T05:06:07.000000Z"
REFEREE = shutil.which("ffprobe") is not None and shutil.which("ffmpeg") is not None


def film(folder: Path, name: str, **how: Any) -> Path:
    suffix, codec, _ = FORMATS[name]
    how = {"seconds": 4, "fps": FPS, "codec": codec, "gop": 12, **how}
    if codec in ("mpeg2video", "wmv2"):  # encoders that take no other clock than the frames'
        return rewrap(draw_video(folder / "part.avi", **how), folder / f"a.{suffix}", how.get("metadata"))
    return draw_video(folder / f"a.{suffix}", **how)


def ffprobe(path: Path) -> dict[str, Any]:
    """What ffprobe says: the format, and the stream of the picture."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    picture_ = next(s for s in found["streams"] if s["codec_type"] == "video")
    return {"format": found["format"], "picture": picture_}


def decodes(folder: Path, name: str) -> bool:
    path = film(folder, name)
    info = probe(path)
    frames, times = sample_frames(path, 0, 4, 8)
    assert [time_of(f) for f in frames] == pytest.approx(times, abs=0.1)
    if REFEREE:
        said = ffprobe(path)
        assert info.duration_s == pytest.approx(float(said["format"]["duration"]), abs=0.2)
        assert (info.width, info.height) == (said["picture"]["width"], said["picture"]["height"])
        theirs = by_ffmpeg(path, 2.0)
        assert np.abs(theirs - sample_frames(path, 2.0, 2.02, 1)[0][0].astype(int)).mean() < 4
    return info.duration_s == pytest.approx(4, abs=0.3)  # a program stream ends with the last stamp it has


def by_ffmpeg(path: Path, second: float) -> np.ndarray:
    """The frame that FFmpeg shows at a second, counted from the first frame."""
    number = round(second * FPS)
    target = path.with_suffix(".png")
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(path), "-vf", f"select=eq(n\\,{number})"]
    subprocess.run([*command, "-vsync", "0", "-frames:v", "1", str(target)], check=True)
    return np.asarray(Image.open(target).convert("RGB")).astype(int)


def orientation(folder: Path, name: str) -> bool:
    def still(_: float) -> Image.Image:
        return picture("Ly", (160, 120), seed=4)

    path = film(folder, name, frame=still)
    stored = sample_frames(path, 0, 1, 1)[0][0]
    if b"tkhd" not in path.read_bytes():
        return False  # the container has no matrix
    for matrix in ("turned 90", "mirrored"):
        with_matrix(path, MATRICES[matrix])
        shown = sample_frames(path, 0, 1, 1)[0][0]
        turned = np.rot90(stored, -1) if matrix == "turned 90" else stored[:, ::-1]
        assert (shown == turned).all()
        if REFEREE:
            assert np.abs(by_ffmpeg(path, 0.0) - shown.astype(int)).mean() < 7  # chroma is scaled before it turns
    return True


def colour(folder: Path, name: str) -> bool:
    """HD that does not say its matrix is BT.709, as players take it."""
    suffix, codec, _ = FORMATS[name]
    if codec not in ("libx264", "libx265"):
        path = film(folder, name, size=(1280, 720), frame=lambda _: Image.new("RGB", (1280, 720), GREEN))
        shown = sample_frames(path, 0, 0.1, 1)[0][0].reshape(-1, 3).mean(axis=0)
        if codec in ("mjpeg", "libvpx"):  # JPEG and VP8 are BT.601 by their own rule
            return bool(np.abs(shown - GREEN).max() < 5)
        # PyAV encodes RGB as BT.601 and says nothing: the same numbers, read as BT.709.
        return bool(np.abs(shown - read_as_bt709(GREEN)).max() < 7)
    path = coloured(folder / f"a.{suffix}", GREEN, (1280, 720), codec)
    return bool(np.abs(sample_frames(path, 0, 0.1, 1)[0][0].reshape(-1, 3) - GREEN).max() < 4)


def read_as_bt709(rgb: tuple[int, int, int]) -> np.ndarray:
    red, green, blue = rgb
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    cb, cr = (blue - luma) / 1.772, (red - luma) / 1.402
    return np.clip((luma + 1.5748 * cr, luma - 0.1873 * cb - 0.4681 * cr, luma + 1.8556 * cb), 0, 255)


def date(folder: Path, name: str) -> bool:
    """By the container's clock; AVI has a day alone, and AVCHD the date among its pictures."""
    if name == "AVI":
        taken = outline(film(folder, name, metadata={"date": DAY[:10]}), "video").metadata.taken
        return taken == Taken(DAY[:10], "film")
    if name == "MPEG-TS, AVCHD":
        source = draw_video(folder / "part.mp4", 2, 5, size=(64, 48))
        path = avchd(source, folder / "a.mts", mdpm(0x82, "20220304050607"))
        return outline(path, "video").metadata.taken == Taken("2022-03-04T05:06:07+01:00", "camcorder")
    taken = outline(film(folder, name, metadata={"creation_time": DAY}), "video").metadata.taken
    return taken is not None and datetime.fromisoformat(taken.at) == datetime.fromisoformat(DAY)


def place(folder: Path, name: str) -> bool:
    found = outline(film(folder, name, metadata={"location": PLACE}), "video").metadata
    return (found.lat, found.lon) == (48.8577, 2.295)


def text(folder: Path, name: str) -> bool:
    """Subtitles inside, as words with their seconds."""
    subtitles = FORMATS[name][2]
    if subtitles is None:
        return False
    path = film(folder, name, seconds=6)
    if name.startswith("WebM"):
        add_sound(path, (0.0, np.zeros((1, 48_000), dtype=np.float32)), codec="libopus")
    add_subtitles(path, (1.0, 2.5, "a lighthouse"), codec=subtitles)
    ((second, words),) = [(cue.start_s, cue.text) for cue in outline(path, "video").cues]
    return words == "a lighthouse" and second == pytest.approx(1.0, abs=0.1)


CHECKS: dict[str, Callable[[Path, str], bool]] = {
    "decodes": decodes,
    "orientation": orientation,
    "colour": colour,
    "date": date,
    "place": place,
    "text": text,
}


def table() -> dict[str, list[str]]:
    """The rows of the table in docs/media.md: name -> the cells of `COLUMNS`."""
    page = (Path(__file__).parents[3] / "docs" / "media.md").read_text()
    section = page.split("## Videos, format by format", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in section.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) == len(COLUMNS) + 1 and row[0] in FORMATS}


def test_the_table_has_every_format() -> None:
    assert list(table()) == list(FORMATS)
    assert all(re.fullmatch("yes|–", cell) for row in table().values() for cell in row)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_cell_says_what_is_so(tmp_path: Path, name: str, column: str) -> None:
    told = table()[name][COLUMNS.index(column)]
    assert CHECKS[column](tmp_path, name) == (told == "yes")
