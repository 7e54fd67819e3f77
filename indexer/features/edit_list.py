"""Edit lists of a reel: which stretch of which video lies where in it, for people and for editing programs.

Built around two forms of the same rows: CSV in seconds, and an EDL (CMX 3600), which video editors import to
cut the reel again from the originals. It knows nothing of how clips were chosen or joined.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.span import Span
from indexer.features.csv_rows import as_text

EVENTS = 999
"""An event's number in an EDL has three digits."""


@dataclass(frozen=True)
class ReelClip:
    """A stretch of the video at `path`; `at_s` is where it begins in the reel."""

    path: str
    span: Span
    at_s: float
    score: float


def write_csv(clips: Sequence[ReelClip], path: Path) -> None:
    """One line a clip: its file, its stretch there, and its place in the reel."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "start_s", "end_s", "at_s", "score"))
        writer.writerows((as_text(clip.path), *clip.span.seconds, clip.at_s, clip.score) for clip in clips)


def write_edl(clips: Sequence[ReelClip], path: Path, fps: float) -> None:
    """A CMX 3600 EDL at the reel's frames a second, one cut an event, picture and sound together.

    An EDL knows one frame rate: the timecodes of a video of another rate are its seconds at this one. Names
    longer than a reel's eight characters stand in the comments that editors match by.
    """
    lines = [f"TITLE: {_line(path.stem)}", "FCM: NON-DROP FRAME", ""]
    at = 0
    for number, clip in enumerate(clips[:EVENTS], 1):
        start_s, end_s = clip.span.seconds
        begin = round(start_s * fps)
        length = max(1, round((clip.at_s + end_s - start_s) * fps) - at)
        bounds = (begin, begin + length, at, at + length)
        codes = " ".join(timecode(frames, fps) for frames in bounds)
        lines.append(f"{number:03}  AX       B     C        {codes}")
        lines.append(f"* FROM CLIP NAME: {_line(Path(clip.path).name)}")
        lines.append(f"* SOURCE FILE: {_line(clip.path)}")
        lines.append("")
        at += length
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape", newline="\n")


def timecode(frames: int, fps: float) -> str:
    """`hh:mm:ss:ff`, not dropping frames: at 29.97 a second of timecode has 30."""
    a_second = max(1, round(fps))
    seconds, frame = divmod(frames, a_second)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frame:02}"


def _line(text: str) -> str:
    """A name may hold anything but what ends a line here."""
    return " ".join(text.splitlines())
