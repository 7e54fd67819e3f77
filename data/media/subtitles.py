"""The words that are shown with a film: `words_of` it, from the file beside it or from the track inside.

Built around FFmpeg's readers, which turn every format of subtitles in text (SubRip, WebVTT, ASS and SSA, the
MP4's own) into ASS, in a container as in a file of its own; from there on there is one way to plain lines.
Pictures of letters (PGS, VobSub) are left alone. Knows nothing of chunks, and nothing of what is said but not
shown.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.media.container import read_only
from data.media.frame_stream import open_video
from data.media.kinds import MediaError, kind_of, sniff
from data.media.stream_clock import MAX_DURATION_S
from data.media.text import decoded, one_line, read_beside

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.subtitles.stream import SubtitleStream

    from model.inputs import Cue

log = logging.getLogger(__name__)

READERS = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}  # FFmpeg's names
MAX_BYTES = 16 << 20  # of a file of its own; the words of a film are 0.1 MB
MAX_CUES = 50_000
MAX_LETTERS = 2_000  # of one cue
# Longer than this no line is shown; what claims to be has a damaged end, or none.
LONGEST_CUE_S = 600.0
UNSAID_END_S = 5.0
_DEFAULT, _FORCED = 0x1, 0x40  # AV_DISPOSITION_DEFAULT, …_FORCED: only what is foreign in the film
_TEXT_SUB = 0x20000  # AV_CODEC_PROP_TEXT_SUB

# (from, to, the lines shown): what a reader hands to `_in_order`.
_Shown = tuple[float, float, list[str]]


def words_of(path: Path, duration_s: float = math.inf, inside: bool = True) -> tuple[Cue, ...]:
    """The words of a video in order of time: those of a file beside it, else of a track inside, else none.

    Files and tracks with only the foreign passages come last. Cues from `duration_s` on are left out;
    `inside=False` is for one who knows that there is no track. What cannot be read is passed over.
    """
    near = beside(path)
    foreign = [file for file in near if _is_forced(path, file)]
    whole = [file for file in near if file not in foreign]
    for source in (*whole, *((path,) if inside else ()), *foreign):
        try:
            found = read_subtitles(source)
        except MediaError as error:
            log.info("no subtitles from %s: %s", source, error)
            continue
        if kept := _within(found, duration_s):
            return kept
    return ()


def read_subtitles(path: Path) -> list[Cue]:
    """The cues of a subtitle file, or of the best track of text inside a video, in order of their start.

    A cue's text is plain: no markup, one line. What a rolling caption shows again is told once. Empty where
    there are none, and for a flight recorder's numbers. Raises `MediaError`.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is not None:
        return _in_order(_of_file(path, reader))
    for choice in range(2):  # a first track may be empty; a long film is not read more than twice for it
        with open_video(path) as video:
            tracks = text_tracks(video.container)
            if choice >= len(tracks):
                break
            read_only(video.container, tracks[choice])
            if cues := _in_order(_of_track(video.container, tracks[choice], video.zero * video.base)):
                return cues
    return []


def beside(path: Path) -> list[Path]:
    """The subtitle files that belong to a video, the best first.

    film.srt, then film.de.srt and the like by name; film.en.forced.srt last. A file whose name begins with
    that of a longer-named video belongs to that one.
    """
    try:
        names = [entry.name for entry in os.scandir(path.parent)]
    except OSError:
        return []
    stem = path.stem
    near = [name for name in names if name.startswith(f"{stem}.") and _ending(name) in READERS]
    if not near:
        return []
    longer = [n[: -len(_ending(n))] for n in names if n.startswith(f"{stem}.") and kind_of(n) == "video"]
    own = [
        path.with_name(name)
        for name in near
        if not any(name.startswith(f"{other}.") for other in longer if len(other) > len(stem))
    ]
    return sorted(own, key=lambda file: (_is_forced(path, file), file.stem != stem, file.name))


def text_tracks(container: InputContainer) -> list[SubtitleStream]:
    """Tracks of words, the best first: the default one, else the first; those with only foreign passages
    last."""
    tracks = [
        track
        for track in container.streams.subtitles
        if track.codec_context is not None and int(track.codec_context.codec.properties) & _TEXT_SUB
    ]

    def order(track: SubtitleStream) -> tuple[bool, bool]:
        flags = int(track.disposition)
        return bool(flags & _FORCED), not flags & _DEFAULT

    return sorted(tracks, key=order)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 – no Path per file of a folder


def _is_forced(video: Path, file: Path) -> bool:
    return "forced" in file.stem[len(video.stem) :].lower().split(".")


def _of_file(path: Path, reader: str) -> Iterator[_Shown]:
    import av

    data = read_beside(path, MAX_BYTES)
    if sniff(data[:4096]) not in (None, "text"):
        raise MediaError("this is not a subtitle file, although its name says so", "wrong kind")
    # FFmpeg reads UTF-8 alone, and ends a line at a NUL.
    text = decoded(data).replace("\x00", "").encode("utf-8", "replace")
    av.logging.set_level(None)
    try:
        with av.open(io.BytesIO(text), "r", format=reader) as container:
            for track in container.streams.subtitles:
                yield from _of_track(container, track, 0.0)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError("the subtitle file is damaged", "damaged") from error


def _of_track(container: InputContainer, track: SubtitleStream, zero_s: float) -> Iterator[_Shown]:
    import av

    left = MAX_BYTES
    base = float(track.time_base or 1 / 1000)
    for packet in _to_the_end(container.demux(track)):
        if not packet.size or packet.pts is None:
            continue
        try:
            shown = track.decode(packet)
        except (av.FFmpegError, ValueError):  # a damaged line, or not UTF-8
            continue
        lines = [line for rect in shown for line in _plain(getattr(rect, "ass", b""))]
        start = packet.pts * base - zero_s
        left -= packet.size
        if lines:
            yield start, start + (packet.duration or 0) * base, lines
        if left < 0:
            return


def _to_the_end(packets: Iterator[Any]) -> Iterator[Any]:
    import av

    try:
        yield from packets
    except (av.InvalidDataError, av.EOFError, av.OSError):
        return


# Compiled when first needed, as `re` keeps them: importing this must cost little.
_DRAWING = r"(?s)\{[^}]*\\p[1-9][^}]*\}.*?(?:\{[^}]*\\p0[^}]*\}|$)"
_CODES = r"\{[^{}]*\}"
_TAGS = r"(?i)</?(?:i|b|u|s|c|v|br|font|span|lang|ruby|rt)\b[^<>]*>"
_BRACE = "\ufdd0"  # a character that no text has


def _plain(ass: bytes) -> list[str]:
    """The lines of one event of ASS ("order,layer,style,…,text") as a reader sees them."""
    import html

    *_, text = ass[: 8 * MAX_LETTERS].decode("utf-8", "replace").split(",", 8)
    text = text.replace("\\{{}", _BRACE)  # FFmpeg's way to write a brace that is one
    text = re.sub(_CODES, "", re.sub(_DRAWING, "", text)).replace(_BRACE, "{")
    text = re.sub(_TAGS, "", html.unescape(text.replace("\\n", " ").replace("\\h", " ").replace("\\N", "\n")))
    lines = (one_line(line, MAX_LETTERS) for line in text.split("\n"))
    return [line for line in lines if any(c.isalnum() for c in line)]


def _in_order(found: Iterable[_Shown]) -> list[Cue]:
    """Cues by their start, each with an end, nothing told twice that stays on screen while more is added."""
    from model.inputs import Cue

    shown = sorted(_some(found), key=lambda one: one[:2])
    if _is_telemetry([" ".join(lines) for _, _, lines in shown]):
        return []
    cues: list[Cue] = []
    before: list[str] = []
    for at, (start, end, lines) in enumerate(shown):
        if not start < end <= start + LONGEST_CUE_S:
            later = (other[0] for other in shown[at + 1 : at + 50] if other[0] > start)
            end = min(next(later, math.inf), start + UNSAID_END_S)
        start, end = max(0.0, start), max(0.0, end)
        again = _overlap(before, lines) if cues and start <= cues[-1].end_s + 0.5 else 0
        before = lines
        if again == len(lines):
            last = cues[-1]
            cues[-1] = Cue(last.start_s, max(last.end_s, end), last.text)
        else:
            cues.append(Cue(start, end, " ".join(lines[again:])[:MAX_LETTERS]))
    return cues


def _some(found: Iterable[_Shown]) -> Iterator[_Shown]:
    """As many as a film may have, of the time that a film may last."""
    count = 0
    for one in found:
        if -LONGEST_CUE_S < one[0] < MAX_DURATION_S:
            yield one
            count += 1
        if count >= MAX_CUES:
            return


def _overlap(before: Sequence[str], lines: Sequence[str]) -> int:
    """How many of the first lines were the last ones before."""
    for count in range(min(len(before), len(lines)), 0, -1):
        if before[-count:] == lines[:count]:
            return count
    return 0


# Drones and action cameras write their instruments into a subtitle track, up to sixty times a second.
_INSTRUMENTS = r"(?i)\b(?:iso|shutter|fnum|framecnt|srtcnt|difftime|gps|home|barometer|latitude)\b ?[:(=]"


def _is_telemetry(texts: Sequence[str]) -> bool:
    return bool(texts) and sum(re.search(_INSTRUMENTS, text) is not None for text in texts) > len(texts) / 2


def _within(cues: Sequence[Cue], duration_s: float) -> tuple[Cue, ...]:
    from model.inputs import Cue

    return tuple(Cue(cue.start_s, min(cue.end_s, duration_s), cue.text) for cue in cues if cue.start_s < duration_s)
