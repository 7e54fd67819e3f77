"""Edit lists of a reel: the source and the place of each clip, for people and for editing programs.

Built around two formats of the same rows: CSV in seconds, and an EDL (CMX 3600), from which video editors cut
the reel again. It knows nothing of how clips are chosen or joined.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.span import Span
from indexer.features.csv_rows import as_text

EVENTS = 999
"""The number of an event in an EDL has three digits."""


@dataclass(frozen=True)
class ReelClip:
    """A span of the video at `path`; it begins at second `at_s` of the reel."""

    path: str
    span: Span
    at_s: float
    score: float


def write_csv(clips: Sequence[ReelClip], path: Path) -> None:
    """One line a clip: its file, its span there, and its place in the reel."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "start_s", "end_s", "at_s", "score"))
        writer.writerows((as_text(clip.path), *clip.span.seconds, clip.at_s, clip.score) for clip in clips)


def write_edl(clips: Sequence[ReelClip], path: Path, fps: float) -> None:
    """Write a CMX 3600 EDL at the reel's frame rate, one clip an event, picture and sound together.

    An EDL has one frame rate: the timecodes of a video of another rate are its seconds at this rate. Editors
    find the files by the names in the comments, as the format's own reel name holds eight characters.
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
    """`hh:mm:ss:ff` without drop frames: at 29.97 frames a second, a second of timecode has 30."""
    a_second = max(1, round(fps))
    seconds, frame = divmod(frames, a_second)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frame:02}"


def _line(text: str) -> str:
    """A name as one line."""
    return " ".join(text.splitlines())
