"""The sound of a video between two seconds: `read_sound`, mono at the sample rate of speech models.

Built around time stamps: every run of continuous packets is placed by its time stamp, so that sample k is second
`start_s` + k / 16,000 even if the sound starts late, pauses or drifts. The clock is that of the video stream
(`data.media.stream_clock`). Damaged packets become silence. Knows nothing of words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.media.container import read_only, sound_track
from data.media.frame_stream import open_clock
from data.media.stream_clock import StreamClock

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

RATE = 16_000
LONGEST_S = 3600.0  # an hour of samples is 230 MB
# Decoding starts this much early: packets depend on earlier ones (AAC, Opus, MP3's reservoir).
RUN_UP_S = 0.5
# Seeks in transport streams are inexact, and an index may lack its first entries.
_RUN_UPS_S = (RUN_UP_S, 3.0, 15.0)
# A smaller difference between a time stamp and the count of samples is ignored: Matroska rounds time stamps to
# milliseconds, and recordings of browsers jitter by more.
JITTER_S = 0.02


def read_sound(path: Path, start_s: float = 0.0, end_s: float | None = None) -> np.ndarray:
    """Returns the sound from `start_s` to `end_s`: float32 [n] in [-1, 1], mono, 16,000 samples per second.

    Sample k is second `start_s` + k / 16,000; gaps before and within the sound are silence. The array ends with
    the track, and is empty after it and for a video without sound (`VideoInfo.has_sound`). At most an hour, which
    is the default. Channels are mixed as by FFmpeg and Whisper. Raises `MediaError`.
    """
    end_s = start_s + LONGEST_S if end_s is None else end_s
    if not (0 <= start_s < end_s <= start_s + LONGEST_S):
        raise ValueError(f"cannot read the sound of [{start_s}, {end_s})")
    for run_up in _RUN_UPS_S:
        with open_clock(path) as video:
            track = sound_track(video.container)
            if track is None:
                break
            packets, early = _packets_from(video, track, start_s, start_s - run_up)
            if early or run_up == _RUN_UPS_S[-1]:
                return _place_frames(_frames(video, track, packets, start_s), start_s, end_s)
    return np.zeros(0, dtype=np.float32)


def _place_frames(frames: Iterator[tuple[float, Any]], start_s: float, end_s: float) -> np.ndarray:
    """Resamples (second, frame) pairs onto the time line from `start_s` to `end_s`."""
    import av

    line = np.zeros(round((end_s - start_s) * RATE), dtype=np.float32)
    written = at = 0
    expected = 0.0
    resampler: Any = None
    format_before: tuple[int, str, str] | None = None

    def put(frame: Any | None) -> None:
        nonlocal at, written
        for block in resampler.resample(frame):
            if block is None:  # nothing to flush
                continue
            samples = block.to_ndarray()[0].astype(np.float32) / 32768
            first, last = max(0, -at), min(len(samples), len(line) - at)
            if first < last:
                line[at + first : at + last] = samples[first:last]
                written = max(written, at + last)
            at += len(samples)

    for second, frame in frames:
        # Reads a little beyond the end, for the resampler's last samples.
        if second >= end_s + 0.05:
            written = len(line)  # sound continues later, with silence until then
            break
        if resampler is None or format_before != _format(frame) or abs(second - expected) > JITTER_S:
            if resampler is not None:
                put(None)
            # 16 bits: FFmpeg limits a mix of channels only for integers.
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            format_before, at, expected = _format(frame), round((second - start_s) * RATE), second
        expected += frame.samples / (frame.sample_rate or RATE)
        frame.pts = None  # the resampler must not use time stamps
        try:
            put(frame)
        except (ValueError, av.FFmpegError):  # channels that cannot be mixed
            resampler = None
    if resampler is not None:
        put(None)
    return line[:written]


def _format(frame: Any) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _packets_from(video: StreamClock, track: AudioStream, start_s: float, from_s: float) -> tuple[Iterator[Any], bool]:
    """The track's packets from about `from_s` to the end, and whether they begin before `start_s`."""
    import av

    if from_s > 0:
        try:  # by the video stream's index: Matroska has none for sound
            video.seek(from_s)
        except av.FFmpegError:
            from_s = 0.0  # the file is not seekable: read it from the beginning
    read_only(video.container, track)  # after the seek: a seek in a transport stream uses the streams that are read
    packets = video.packets(track)
    if from_s <= 0:
        return packets, True
    first = next(packets, None)
    if first is None:
        return packets, False
    ends = _end_of(first, video, track)
    return itertools.chain((first,), packets), ends is not None and ends <= start_s


def _frames(
    video: StreamClock, track: AudioStream, packets: Iterator[Any], start_s: float
) -> Iterator[tuple[float, Any]]:
    """Decodes every (second, frame) from shortly before `start_s` on, without damaged packets."""
    import av

    second = 0.0
    for packet in packets:
        ends = _end_of(packet, video, track)
        if ends is not None and ends < start_s - RUN_UP_S:
            continue
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        for frame in frames:
            if frame.pts is not None and frame.time_base:
                second = frame.pts * float(frame.time_base) - video.zero * video.base
            yield second, frame
            second += frame.samples / (frame.sample_rate or RATE)


def _end_of(packet: Any, video: StreamClock, track: AudioStream) -> float | None:
    """The second at which a packet's sound ends; None without a time stamp."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    if not packet.size or stamp is None or not track.time_base:
        return None
    return float((stamp + (packet.duration or 0)) * track.time_base) - video.zero * video.base
