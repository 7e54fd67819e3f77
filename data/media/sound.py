"""The sound of a video between two seconds: `read_sound`, one channel at the rate that speech models take.

Built around the time stamps: every stretch of unbroken packets is put where its stamp says, so that sample
k is second `start_s` + k / 16,000 however late the sound starts, pauses or drifts against the picture. The
clock is the picture's (`data.media.frame_stream`). Damaged packets leave silence. Knows nothing of words.
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
# Decoders start this much early: their first packets lean on those before (AAC, Opus, MP3's reservoir).
RUN_UP_S = 0.5
# Transport streams land anywhere near the place that is sought, and an index may miss its first entries.
_RUN_UPS_S = (RUN_UP_S, 3.0, 15.0)
# Stamps may be this far off the count of samples before they count: Matroska rounds them to milliseconds,
# and browsers' recordings jitter by more.
JITTER_S = 0.02


def read_sound(path: Path, start_s: float = 0.0, end_s: float | None = None) -> np.ndarray:
    """The sound of a video from `start_s` to `end_s`: float32 [n] in [-1, 1], mono, 16,000 samples a second.

    Sample k is second `start_s` + k / 16,000; where there is no sound before or between, there is silence.
    The array ends with the sound: it is shorter than asked for where the track ends, and empty past that and
    for a video without sound (`VideoInfo.has_sound`). At most an hour at a time; without an end, the next
    hour. Channels are mixed as FFmpeg and Whisper's reader mix them. Raises `MediaError`.
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
    """Decoded frames, each with its second, on the line from `start_s` to `end_s`."""
    import av

    line = np.zeros(round((end_s - start_s) * RATE), dtype=np.float32)
    written = at = 0
    expected = 0.0
    resampler: Any = None
    format_before: tuple[int, str, str] | None = None

    def put(frame: Any | None) -> None:
        nonlocal at, written
        for block in resampler.resample(frame):
            if block is None:  # nothing was held back
                continue
            samples = block.to_ndarray()[0].astype(np.float32) / 32768
            first, last = max(0, -at), min(len(samples), len(line) - at)
            if first < last:
                line[at + first : at + last] = samples[first:last]
                written = max(written, at + last)
            at += len(samples)

    for second, frame in frames:
        # A little beyond the end, or the filter's last samples would lean on nothing.
        if second >= end_s + 0.05:
            written = len(line)  # it goes on later: what lies between is silence
            break
        if resampler is None or format_before != _format(frame) or abs(second - expected) > JITTER_S:
            if resampler is not None:
                put(None)
            # 16 bits: only for whole numbers does FFmpeg keep a mix of channels within bounds.
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            format_before, at, expected = _format(frame), round((second - start_s) * RATE), second
        expected += frame.samples / (frame.sample_rate or RATE)
        frame.pts = None  # the resampler would make its own of them
        try:
            put(frame)
        except (ValueError, av.FFmpegError):  # channels that no one can mix
            resampler = None
    if resampler is not None:
        put(None)
    return line[:written]


def _format(frame: Any) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _packets_from(video: StreamClock, track: AudioStream, start_s: float, from_s: float) -> tuple[Iterator[Any], bool]:
    """The track's packets from about `from_s` to the end, and whether they begin early enough for
    `start_s`."""
    import av

    if from_s > 0:
        try:  # by the picture's index: Matroska has none for sound
            video.seek(from_s)
        except av.FFmpegError:
            from_s = 0.0  # nothing can be sought in it: it is read from its beginning
    read_only(video.container, track)  # not before: transport streams are sought by what is read
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
    """Every (second, frame) from shortly before `start_s` on; damaged packets are left out."""
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
    """The second at which a packet's sound ends; None when it does not say."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    if not packet.size or stamp is None or not track.time_base:
        return None
    return float((stamp + (packet.duration or 0)) * track.time_base) - video.zero * video.base
