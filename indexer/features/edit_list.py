"""Edit lists of a reel: which stretch of which film lies where in it, for people and for editing programs.

Built around two forms of the same rows: CSV in seconds, and an EDL (CMX 3600), which video editors import to
cut the reel again from the originals. It knows nothing of how pieces were chosen or joined.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

EVENTS = 999
"""An event's number in an EDL has three digits."""


@dataclass(frozen=True)
class Piece:
    """A stretch [start_s, end_s) of the film at `path`; `at_s` is where it begins in the reel."""

    path: str
    start_s: float
    end_s: float
    at_s: float
    score: float


def write_csv(pieces: Sequence[Piece], path: Path) -> None:
    """Columns: path, start_s, end_s, at_s, score."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Piece)])
        writer.writerows(astuple(piece) for piece in pieces)


def write_edl(pieces: Sequence[Piece], path: Path, fps: float) -> None:
    """A CMX 3600 EDL at the reel's frames a second, one cut an event, picture and sound together.

    An EDL knows one frame rate: the timecodes of a film of another rate are its seconds, counted at this one.
    Names longer than a reel's eight characters stand in the comments that editors match by.
    """
    lines = [f"TITLE: {_line(path.stem)}", "FCM: NON-DROP FRAME", ""]
    at = 0
    for number, piece in enumerate(pieces[:EVENTS], 1):
        begin = round(piece.start_s * fps)
        length = max(1, round((piece.at_s + piece.end_s - piece.start_s) * fps) - at)
        spans = (begin, begin + length, at, at + length)
        codes = " ".join(timecode(frames, fps) for frames in spans)
        lines.append(f"{number:03}  AX       B     C        {codes}")
        lines.append(f"* FROM CLIP NAME: {_line(Path(piece.path).name)}")
        lines.append(f"* SOURCE FILE: {_line(piece.path)}")
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
