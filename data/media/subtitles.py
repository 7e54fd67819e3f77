"""The subtitles of a video as cues: `words_of`, from the file beside it or from the track inside.

Built around FFmpeg's readers, which convert every text format (SubRip, WebVTT, ASS and SSA, MP4's own), in a
container or in a file, to ASS; one path leads from there to plain lines. Image subtitles (PGS, VobSub) are
ignored. Knows nothing of chunks and of speech.
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

from data.media.container import packets_of, read_only
from data.media.frame_stream import open_video
from data.media.kinds import HEAD_BYTES, MediaError, kind_of, sniff
from data.media.stream_clock import MAX_DURATION_S
from data.media.text import decode_text, one_line, read_beside
from model.inputs import Cue

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.subtitles.stream import SubtitleStream

log = logging.getLogger(__name__)

READERS = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}  # FFmpeg's names
MAX_BYTES = 16 << 20  # of a subtitle file; the subtitles of a feature film take 0.1 MB
MAX_CUES = 50_000
MAX_LETTERS = 2_000  # per cue
# A longer cue has a damaged end, or none.
LONGEST_CUE_S = 600.0
DEFAULT_CUE_S = 5.0
_DEFAULT, _FORCED = 0x1, 0x40  # AV_DISPOSITION_DEFAULT, …_FORCED: foreign passages only
_TEXT_SUB = 0x20000  # AV_CODEC_PROP_TEXT_SUB

# (start, end, lines) in seconds: what a reader returns.
_Event = tuple[float, float, list[str]]


def words_of(path: Path, duration_s: float = math.inf, inside: bool = True) -> tuple[Cue, ...]:
    """Returns the cues of a video by start: from a file beside it, else from a track inside, else none.

    Forced subtitles (foreign passages only) come last. Cues after `duration_s` are left out; `inside=False` skips
    the tracks. Unreadable sources are skipped.
    """
    files = beside(path)
    foreign = [file for file in files if _is_forced(path, file)]
    full = [file for file in files if file not in foreign]
    for source in (*full, *((path,) if inside else ()), *foreign):
        try:
            cues = read_subtitles(source)
        except MediaError as error:
            log.info("no subtitles from %s: %s", source, error)
            continue
        if clipped := _within(cues, duration_s):
            return clipped
    return ()


def read_subtitles(path: Path) -> list[Cue]:
    """Returns the cues of a subtitle file, or of the best text track inside a video, by start.

    A cue's text is one plain line without markup. Lines that a rolling caption repeats occur once. Empty for no
    subtitles and for the telemetry of drones and action cameras. Raises `MediaError`.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is not None:
        return _in_order(_of_file(path, reader))
    for choice in range(2):  # the first track may be empty; a long video is read at most twice
        with open_video(path) as video:
            tracks = text_tracks(video.container)
            if choice >= len(tracks):
                break
            read_only(video.container, tracks[choice])
            if cues := _in_order(_of_track(video.container, tracks[choice], video.zero * video.base)):
                return cues
    return []


def beside(path: Path) -> list[Path]:
    """Returns the subtitle files of a video, the best first.

    film.srt, then film.de.srt and the like by name; film.en.forced.srt last. A file whose name begins with the
    longer name of another video belongs to that video.
    """
    try:
        names = [entry.name for entry in os.scandir(path.parent)]
    except OSError:
        return []
    stem = path.stem
    names_beside = [name for name in names if name.startswith(f"{stem}.") and _ending(name) in READERS]
    if not names_beside:
        return []
    longer_stems = [n[: -len(_ending(n))] for n in names if n.startswith(f"{stem}.") and kind_of(n) == "video"]
    files = [
        path.with_name(name)
        for name in names_beside
        if not any(name.startswith(f"{longer_stem}.") for longer_stem in longer_stems if len(longer_stem) > len(stem))
    ]
    return sorted(files, key=lambda file: (_is_forced(path, file), file.stem != stem, file.name))


def text_tracks(container: InputContainer) -> list[SubtitleStream]:
    """Returns the text tracks, the best first: the default track, else the first; forced tracks last."""
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


def _of_file(path: Path, reader: str) -> Iterator[_Event]:
    import av

    data = read_beside(path, MAX_BYTES)
    if sniff(data[:HEAD_BYTES]) not in (None, "text"):
        raise MediaError("this is not a subtitle file, although its name says so", "wrong kind")
    # FFmpeg reads only UTF-8, and ends a line at a NUL.
    text = decode_text(data).replace("\x00", "").encode("utf-8", "replace")
    av.logging.set_level(None)
    try:
        with av.open(io.BytesIO(text), "r", format=reader) as container:
            for track in container.streams.subtitles:
                yield from _of_track(container, track, 0.0)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError("the subtitle file is damaged", "damaged") from error


def _of_track(container: InputContainer, track: SubtitleStream, zero_s: float) -> Iterator[_Event]:
    import av

    bytes_left = MAX_BYTES
    base = float(track.time_base or 1 / 1000)
    for packet in _to_the_end(packets_of(container, track)):
        if not packet.size or packet.pts is None:
            continue
        try:
            subtitles = track.decode(packet)
        except (av.FFmpegError, ValueError):  # a damaged line, or not UTF-8
            continue
        lines = [line for rect in subtitles for line in _plain(getattr(rect, "ass", b""))]
        start = packet.pts * base - zero_s
        bytes_left -= packet.size
        if lines:
            yield start, start + (packet.duration or 0) * base, lines
        if bytes_left < 0:
            return


def _to_the_end(packets: Iterator[Any]) -> Iterator[Any]:
    import av

    try:
        yield from packets
    except (av.InvalidDataError, av.EOFError, av.OSError):
        return


# `re` compiles and caches these at first use: importing this module must cost little.
_DRAWING = r"(?s)\{[^}]*\\p[1-9][^}]*\}.*?(?:\{[^}]*\\p0[^}]*\}|$)"
_CODES = r"\{[^{}]*\}"
_TAGS = r"(?i)</?(?:i|b|u|s|c|v|br|font|span|lang|ruby|rt)\b[^<>]*>"
_BRACE = "\ufdd0"  # a character that no text has


def _plain(ass: bytes) -> list[str]:
    """The plain lines of one ASS event ("order,layer,style,…,text")."""
    import html

    *_, text = ass[: 8 * MAX_LETTERS].decode("utf-8", "replace").split(",", 8)
    text = text.replace("\\{{}", _BRACE)  # FFmpeg's escape of a literal brace
    text = re.sub(_CODES, "", re.sub(_DRAWING, "", text)).replace(_BRACE, "{")
    text = re.sub(_TAGS, "", html.unescape(text.replace("\\n", " ").replace("\\h", " ").replace("\\N", "\n")))
    lines = (one_line(line, MAX_LETTERS) for line in text.split("\n"))
    return [line for line in lines if any(c.isalnum() for c in line)]


def _in_order(events: Iterable[_Event]) -> list[Cue]:
    """Cues by start, each with an end; a line that stays on screen while others are added occurs once."""
    ordered = sorted(_limited(events), key=lambda event: event[:2])
    if _is_telemetry([" ".join(lines) for _, _, lines in ordered]):
        return []
    cues: list[Cue] = []
    before: list[str] = []
    for at, (start, end, lines) in enumerate(ordered):
        if not start < end <= start + LONGEST_CUE_S:
            later = (later_event[0] for later_event in ordered[at + 1 : at + 50] if later_event[0] > start)
            end = min(next(later, math.inf), start + DEFAULT_CUE_S)
        start, end = max(0.0, start), max(0.0, end)
        repeated = _overlap(before, lines) if cues and start <= cues[-1].end_s + 0.5 else 0
        before = lines
        if repeated == len(lines):
            last = cues[-1]
            cues[-1] = Cue(last.start_s, max(last.end_s, end), last.text)
        else:
            cues.append(Cue(start, end, " ".join(lines[repeated:])[:MAX_LETTERS]))
    return cues


def _limited(events: Iterable[_Event]) -> Iterator[_Event]:
    """At most `MAX_CUES` events, within `MAX_DURATION_S`."""
    count = 0
    for event in events:
        if -LONGEST_CUE_S < event[0] < MAX_DURATION_S:
            yield event
            count += 1
        if count >= MAX_CUES:
            return


def _overlap(before: Sequence[str], lines: Sequence[str]) -> int:
    """How many of the first lines equal the last lines of `before`."""
    for count in range(min(len(before), len(lines)), 0, -1):
        if before[-count:] == lines[:count]:
            return count
    return 0


# Drones and action cameras write telemetry into a subtitle track, up to sixty times a second.
_INSTRUMENTS = r"(?i)\b(?:iso|shutter|fnum|framecnt|srtcnt|difftime|gps|home|barometer|latitude)\b ?[:(=]"


def _is_telemetry(texts: Sequence[str]) -> bool:
    return bool(texts) and sum(re.search(_INSTRUMENTS, text) is not None for text in texts) > len(texts) / 2


def _within(cues: Sequence[Cue], duration_s: float) -> tuple[Cue, ...]:
    from model.inputs import Cue

    return tuple(Cue(cue.start_s, min(cue.end_s, duration_s), cue.text) for cue in cues if cue.start_s < duration_s)
