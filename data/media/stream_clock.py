"""The clock of an open media file: second 0, packets on one time line, seeks and the duration.

Built around one rule: every reader of packets (frames, sound, subtitles, clips) takes them from here, with time
stamps on one line, although recordings joined end to end restart their clock at each join. Second 0 is where
players start: at the earliest stream. Knows nothing of decoding frames.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.media.container import is_cut_off, open_container, packets_of, sound_track
from data.media.kinds import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_DURATION_S = 7 * 86400.0
# Longest still image after the last packet that a Matroska header alone may claim: the last slide of a video.
MAX_STILL_S = 12 * 3600.0
# Containers that are joined with `cat`. A seek may land after the required keyframe, so it is repeated with
# longer and longer run-ups.
_JOINED = ("mpegts", "mpeg")
_RUN_UPS_S = (0.0, 3.0, 15.0, 120.0)


class StreamClock:
    """An open file by its video stream, or by its sound track without one."""

    def __init__(self, path: Path, container: InputContainer, stream: Any) -> None:
        self.path, self.container, self.stream = path, container, stream
        self.base = float(stream.time_base) if stream.time_base else 1 / 90000
        first = stream.start_time or 0
        self.zero = first  # the time stamp at second 0
        if container.start_time is not None and container.start_time >= 0:
            self.zero = min(first, round(container.start_time / 1_000_000 / self.base))
        # A program stream's index marks every packet as a keyframe and covers only packets read so far.
        self.index: Sequence[Any] = () if container.format.name == "mpeg" else stream.index_entries
        # The index holds decoding times; a keyframe is displayed later by the encoder's reordering delay. Entries
        # that an edit list discards come before the first displayed entry.
        entry = next((e for e in itertools.islice(self.index, 2000) if not e.is_discard), None)
        self.index_shift = first - entry.timestamp if entry is not None else 0
        stat = path.stat()
        self.joins = (
            _cached_joins(path, stream.index, stat.st_size, stat.st_mtime_ns)
            if container.format.name in _JOINED
            else None
        )
        if self.joins is not None:
            self.zero = round(self.joins.zero_s / self.base)
        self._position = 0  # byte of the last seek
        self._duration: tuple[float, bool] | None = None

    def second(self, stamp: int) -> float:
        return (stamp - self.zero) * self.base

    def duration(self) -> tuple[float, bool]:
        """Returns the seconds to the end of the last frame or sound, and whether the header claims more.

        Demuxes the last second. A last frame may stay on screen to the end of the sound, or for as long as its
        packet or an intact Matroska header says. Raises `MediaError` for more than `MAX_DURATION_S`.
        """
        if self._duration is None:
            self._duration = self._measured()
        return self._duration

    def _measured(self) -> tuple[float, bool]:
        if self.joins is not None:
            return self.joins.duration_s, False
        claimed, track = self._claimed()
        end = self._end_of_packets(claimed, track)
        begin = float(self.zero * self.base)
        if begin > 1.0 and abs(begin + end - claimed) < 1.0:
            claimed = end  # the header names the last time stamp, of a clock that does not begin at 0
        short = 0 < end < claimed - max(1.0, 0.02 * claimed)
        still = short and "matroska" in self.container.format.name and not is_cut_off(self.path)
        if still:
            claimed = min(claimed, end + MAX_STILL_S)
        elif short or end > claimed + 1.0:
            claimed = end
        if claimed > MAX_DURATION_S:
            days = f"{claimed / 86400:,.0f} days"
            raise MediaError(f"it claims to last {days}; its clock is damaged", "damaged")
        return max(claimed, 0.04), short and not still

    def _tracks(self) -> list[Any]:
        """The video stream and the sound track that players play."""
        sound = sound_track(self.container)
        return [self.stream] if sound is None or sound.index == self.stream.index else [self.stream, sound]

    def _claimed(self) -> tuple[float, Any]:
        """The end in seconds that the header claims, and the track that ends then."""
        ends: list[tuple[float, Any]] = []
        for track in self._tracks():
            if not track.duration or not track.time_base:
                continue
            stamp = track.duration + (track.start_time or 0)
            ends.append((float(stamp * track.time_base) - self.zero * self.base, track))
        if len(ends) < len(self._tracks()) and self.container.duration:
            ends.append((self.container.duration / 1_000_000, self.stream))
        return max(ends, key=lambda end: end[0], default=(0.0, self.stream))

    def _end_of_packets(self, claimed: float, track: Any) -> float:
        import av

        for start in ([max(0.0, claimed - 1.0)] if claimed > 2 else []) + [0.0]:
            end = 0.0
            try:
                stamp_sought = round((start + self.zero * self.base) / float(track.time_base or self.base))
                self.container.seek(stamp_sought, stream=track)
                for packet in packets_of(self.container, *self._tracks()):
                    stamp = packet.pts if packet.pts is not None else packet.dts
                    if stamp is not None and packet.size:
                        ends = float((stamp + (packet.duration or 0)) * packet.time_base)
                        end = max(end, ends - self.zero * self.base)
            except av.FFmpegError:
                pass  # the end of the readable packets
            if end > 0:
                return end
        return 0.0

    def keyframe_near(self, second: float, backward: bool = True) -> float | None:
        """Returns the second of the keyframe at or before (else at or after) `second`; None without an index."""
        if self.joins is not None:
            return self.joins.keyframe_near(second, backward)
        if not len(self.index):
            return None
        stamp = self.zero + round(second / self.base) - self.index_shift
        at = self.stream.index_entries.search_timestamp(stamp, backward=backward, any_frame=False)
        return self.second(self.index[at].timestamp + self.index_shift) if at >= 0 else None

    def seek(self, second: float) -> None:
        """Seeks to about `second`; transport streams may land after it."""
        import av

        if self.joins is not None:
            self._position = self.joins.position(second)
            self.container.seek(self._position, unsupported_byte_offset=True)
        else:
            stamp = self.zero + round(second / self.base)
            if self.container.format.name == "asf":  # for a time before 0 FFmpeg ends the file
                stamp = max(0, stamp)
            try:
                self.container.seek(stamp, stream=self.stream, backward=True)
            except av.FFmpegError:  # before the first entry of an index that grows while reading
                self.container.seek(0, unsupported_byte_offset=True)

    def packets(self, *tracks: Any) -> Iterator[Any]:
        """Yields packets of `tracks` with data and a time stamp, on one time line, until reading fails."""
        import av

        position = self._position  # of packets without a position
        try:
            for packet in packets_of(self.container, *tracks):
                if packet.size == 0 or (packet.pts is None and packet.dts is None):
                    continue
                if packet.pts is None:
                    packet.pts = packet.dts
                elif packet.dts is None:  # unknown order: assume that frames are decoded up to a second early
                    packet.dts = packet.pts - round(1 / packet.time_base)
                if self.joins is not None:
                    position = position if packet.pos is None else packet.pos
                    ticks = round(self.joins.shift(position) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                yield packet
        except (av.InvalidDataError, av.EOFError, av.OSError):
            return

    def packets_from(self, second: float, *tracks: Any) -> Iterator[Any]:
        """Returns packets of `tracks`, which include this stream, from a keyframe at or before `second` on.

        With an index it is the last such keyframe; without one it may be up to two minutes earlier, or the
        beginning. If no keyframe is marked, packets start anywhere.
        """
        limit = self.zero + round(second / self.base) + 1
        for run_up in (*_RUN_UPS_S, second + 10.0):
            self.seek(second - run_up)
            source = self.packets(*tracks)
            early: list[Any] = []
            for packet in source:
                early.append(packet)
                if packet.stream_index == self.stream.index and packet.is_keyframe:
                    if packet.pts <= limit:
                        return itertools.chain(early, source)
                    break
        self.seek(second - run_up)
        return self.packets(*tracks)

    def sound_between(self, start: float, end: float, rate: int) -> Iterator[np.ndarray]:
        """Yields the sound track from `start` to about `end`: float32 [2, n] at `rate`; gaps become silence."""
        import av

        track = sound_track(self.container)
        if track is None:
            return
        zero = self.zero * self.base
        self.seek(start)
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
        at = start  # second up to which sound has been yielded
        for packet in self.packets(track):
            try:
                frames = packet.decode()
            except (av.InvalidDataError, av.EOFError):
                continue
            for frame in frames:
                begin = frame.pts * float(frame.time_base or 1) - zero if frame.pts is not None else at
                if begin >= end:
                    return
                frame.pts = None
                for block in resampler.resample(frame):
                    samples = block.to_ndarray()
                    samples_ahead = round((begin - at) * rate)
                    if samples_ahead > rate // 50:
                        yield np.zeros((2, min(samples_ahead, rate * 10)), dtype=np.float32)
                        at += samples_ahead / rate
                    elif samples_ahead < 0 and at == start:
                        samples = samples[:, -samples_ahead:]
                    begin += block.samples / rate
                    if samples.shape[1]:
                        at += samples.shape[1] / rate
                        yield samples


# Recordings joined end to end


@dataclass
class _Part:
    """A part of a file with one clock: its first byte, and by stream the last decoding time, the first and the
    last time, in seconds."""

    position: int
    latest: dict[int, float] = field(default_factory=dict)
    starts: dict[int, float] = field(default_factory=dict)
    ends: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Joins:
    """The first byte of each part, the seconds to add to its stamps, and the keyframes of one stream as
    (second, byte)."""

    positions: tuple[int, ...]
    shifts: tuple[float, ...]
    keys: tuple[tuple[float, int], ...]
    zero_s: float
    duration_s: float

    def shift(self, position: int) -> float:
        return self.shifts[bisect.bisect_right(self.positions, position) - 1]

    def position(self, second: float) -> int:
        """Returns the byte of the last keyframe at or before `second`."""
        at = bisect.bisect_right(self.keys, second + 1e-3, key=lambda key: key[0])
        return self.keys[at - 1][1] if at else 0

    def keyframe_near(self, second: float, backward: bool) -> float | None:
        at = bisect.bisect_right(self.keys, second, key=lambda key: key[0]) - (1 if backward else 0)
        return self.keys[at][0] if 0 <= at < len(self.keys) else None


_SAMPLES = 24
_ALWAYS_READ = 1 << 20  # smaller files (bytes) are demuxed whole, in 7 ms


@lru_cache(maxsize=16)
def _cached_joins(path: Path, stream_index: int, size: int, mtime_ns: int) -> Joins | None:
    """The joins of a transport or program stream; None for a recording with one clock.

    Samples the clock at two dozen positions (3 ms) and demuxes the whole file only if the clock is discontinuous.
    """
    try:
        with open_container(path, sound=True) as container:
            stream = container.streams[stream_index]
            if size > _ALWAYS_READ and _is_continuous(container, stream, size):
                return None
            container.seek(0, unsupported_byte_offset=True)
            return _find_joins(container, stream)
    except MediaError:
        return None  # the next reader reports the fault


def _is_continuous(container: InputContainer, stream: Any, size: int) -> bool:
    """Whether the clock increases over the file without a jump."""
    samples: list[tuple[int, float]] = []
    # Uneven steps: even steps may hit parts of equal length at the same second of each.
    for share in sorted(i * 0.6180339887 % 1.0 for i in range(_SAMPLES)):
        container.seek(int(share * size), unsupported_byte_offset=True)
        packet = next((p for p in packets_of(container, stream) if p.dts is not None), None)
        if packet is not None and packet.pos is not None and (not samples or packet.pos > samples[-1][0]):
            samples.append((packet.pos, float(packet.dts * packet.time_base)))
    steps = [later[1] - earlier[1] for earlier, later in itertools.pairwise(samples)]
    return len(steps) < 2 or (min(steps) > 0 and max(steps) < 10.0 + 8 * statistics.median(steps))


def _find_joins(container: InputContainer, stream: Any) -> Joins | None:
    """Follows the clock of every packet in file order: where it goes back, another recording begins.

    So it does at a jump forward of more than 10 s in all streams, since a frame may stay on screen; without sound,
    of more than an hour (FFmpeg adds 26 hours to clocks that go far back).
    """
    parts = [_Part(0)]
    keys: list[tuple[int, int, float]] = []  # (byte, part, second)
    tracks = [s for s in container.streams if s.type in ("video", "audio")]
    leap_s = 10.0 if len(tracks) > 1 else 3600.0
    for position, track, begin, shown_s, length, is_key in _by_position(container, tracks):
        part = parts[-1]
        latest = part.latest.get(track)
        newest = max(part.latest.values(), default=begin)
        if (latest is not None and begin < latest - 0.5) or begin > newest + leap_s:
            part = _Part(position)
            parts.append(part)
        part.latest[track] = begin
        part.starts[track] = min(shown_s, part.starts.get(track, shown_s))
        part.ends[track] = max(shown_s + length, part.ends.get(track, shown_s))
        if is_key and track == stream.index:
            keys.append((position, len(parts) - 1, shown_s))
    if len(parts) < 2:
        return None
    shifts, end = [0.0], _time_of_part(parts[0].ends, stream, max)
    for part in parts[1:]:
        shifts.append(end - _time_of_part(part.starts, stream, min))
        end = shifts[-1] + _time_of_part(part.ends, stream, max)
    zero = min(parts[0].starts.values())
    last = max(max(part.ends.values()) + shift for part, shift in zip(parts, shifts, strict=True))
    if last - zero > MAX_DURATION_S:
        return None
    return Joins(
        tuple(part.position for part in parts),
        tuple(shifts),
        tuple(sorted((second + shifts[part] - zero, position) for position, part, second in keys)),
        zero,
        last - zero,
    )


def _time_of_part(times: dict[int, float], stream: Any, pick: Any) -> float:
    return times[stream.index] if stream.index in times else float(pick(times.values()))


def _by_position(container: InputContainer, tracks: list[Any]) -> Iterator[tuple[int, int, float, float, float, bool]]:
    """(byte, stream, decoding second, second, duration, is keyframe) of every packet, in file order.

    A demuxer returns a packet when the next one begins, so packets of two streams are slightly out of order.
    """
    import av

    waiting: list[tuple[int, int, tuple[int, int, float, float, float, bool]]] = []
    positions: dict[int, int] = {}  # by stream, for packets without a position
    rates = {s.index: s.guessed_rate for s in tracks if s.type == "video"}
    try:
        for number, packet in enumerate(packets_of(container, *tracks)):
            stamp = packet.dts if packet.dts is not None else packet.pts
            if not packet.size or stamp is None:
                continue
            position = packet.pos if packet.pos is not None else positions.get(packet.stream_index, 0)
            positions[packet.stream_index] = position
            base = float(packet.time_base)
            second = (packet.pts if packet.pts is not None else stamp) * base
            length = (packet.duration or 0) * base or float(1 / (rates.get(packet.stream_index) or 1000))
            row = (position, packet.stream_index, stamp * base, second, length, packet.is_keyframe)
            heapq.heappush(waiting, (position, number, row))
            if len(waiting) > 256:
                yield heapq.heappop(waiting)[2]
    except av.FFmpegError:
        pass  # the end of the readable packets
    while waiting:
        yield heapq.heappop(waiting)[2]
