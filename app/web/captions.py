"""Cues as text, as subtitles (WebVTT, SubRip) and as JSON. Knows neither where they come from nor who reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from model.inputs import Cue


def clock(seconds: float) -> str:
    """`83` -> `1:23`, `3723` -> `1:02:03`."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def as_vtt(cues: Sequence[Cue]) -> str:
    """WebVTT (W3C), for `<track>` and players."""
    lines = [f"{_clock(c.start_s, '.')} --> {_clock(c.end_s, '.')}\n{_escaped(c.text)}\n" for c in cues]
    return "\n".join(["WEBVTT\n", *lines])


def as_srt(cues: Sequence[Cue]) -> str:
    """SubRip, for players and editors."""
    return "\n".join(
        f"{n}\n{_clock(c.start_s, ',')} --> {_clock(c.end_s, ',')}\n{_flat(c.text)}\n" for n, c in enumerate(cues, 1)
    )


def as_text(cues: Sequence[Cue]) -> str:
    """One line a cue, with its minute and second."""
    return "".join(f"{clock(c.start_s):>8}  {_flat(c.text)}\n" for c in cues)


FORMATS: dict[str, Callable[[Sequence[Cue]], str]] = {"text": as_text, "srt": as_srt, "vtt": as_vtt}


def as_json(cues: Sequence[Cue]) -> list[dict[str, Any]]:
    return [{"start_s": round(c.start_s, 3), "end_s": round(c.end_s, 3), "text": c.text} for c in cues]


def _clock(seconds: float, point: str) -> str:
    whole = round(max(0.0, seconds) * 1000)
    minutes, ms = divmod(whole, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{ms // 1000:02d}{point}{ms % 1000:03d}"


def _flat(text: str) -> str:
    """The text on one line: an empty line would end the cue."""
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return _flat(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
