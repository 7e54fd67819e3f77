"""The clock of an open media file: second 0, packets on one time line, seeks, and how long it lasts.

Built around one rule for all who read packets (pictures, sound, subtitles, clips): they ask here, and get
time stamps on one line, although a recording that was joined end to end starts its clock anew at each join.
Second 0 is where players start: at the earliest stream. Knows nothing of decoding pictures.
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

from data.media.container import is_cut_off, open_container, sound_track
from data.media.kinds import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_DURATION_S = 7 * 86400.0
# A header alone is believed so far beyond the last packet: the last slide of a Matroska film.
LONGEST_HELD_S = 12 * 3600.0
# Containers that programs and people join with `cat`, and in which a seek lands anywhere, also after the
# keyframe that is needed: it gets a longer and longer run-up.
_JOINED = ("mpegts", "mpeg")
_RUN_UPS_S = (0.0, 3.0, 15.0, 120.0)


class StreamClock:
    """An open file by one of its streams: the picture, or the sound where there is none."""

    def __init__(self, path: Path, container: InputContainer, stream: Any) -> None:
        self.path, self.container, self.stream = path, container, stream
        self.base = float(stream.time_base) if stream.time_base else 1 / 90000
        first = stream.start_time or 0
        self.zero = first  # the time stamp at second 0
        if container.start_time is not None and container.start_time >= 0:
            self.zero = min(first, round(container.start_time / 1_000_000 / self.base))
        # A program stream's index calls every packet a keyframe and ends where reading ended.
        self.index: Sequence[Any] = () if container.format.name == "mpeg" else stream.index_entries
        # The index holds decoding times; a keyframe is shown later by the encoder's reordering delay. Entries
        # that an edit list leaves out come before the first that is shown.
        entry = next((e for e in itertools.islice(self.index, 2000) if not e.is_discard), None)
        self.index_shift = first - entry.timestamp if entry is not None else 0
        stat = path.stat()
        self.joins = (
            _joins(path, stream.index, stat.st_size, stat.st_mtime_ns) if container.format.name in _JOINED else None
        )
        if self.joins is not None:
            self.zero = round(self.joins.zero_s / self.base)
        self._position = 0  # the byte that was sought
        self._lasts: tuple[float, bool] | None = None

    def second(self, stamp: int) -> float:
        return (stamp - self.zero) * self.base

    def duration(self) -> tuple[float, bool]:
        """Seconds to the end of the last picture or sound, and whether the header promised more.

        Demuxes the last second. A picture that is held to the end of the sound, or for as long as its packet
        or an unbroken Matroska header says, lasts so long.
        """
        if self._lasts is None:
            self._lasts = self._measured()
        return self._lasts

    def _measured(self) -> tuple[float, bool]:
        if self.joins is not None:
            return self.joins.duration_s, False
        claimed, track = self._claimed()
        end = self._end_of_packets(claimed, track)
        short = 0 < end < claimed - max(1.0, 0.02 * claimed)
        held = short and "matroska" in self.container.format.name and not is_cut_off(self.path)
        if held:
            claimed = min(claimed, end + LONGEST_HELD_S)
        elif short or end > claimed + 1.0:
            claimed = end
        if claimed > MAX_DURATION_S:
            days = f"{claimed / 86400:,.0f} days"
            raise MediaError(f"it claims to last {days}; its clock is damaged", "damaged")
        return max(claimed, 0.04), short and not held

    def _tracks(self) -> list[Any]:
        """The picture and the sound that are played."""
        sound = sound_track(self.container)
        return [self.stream] if sound is None or sound.index == self.stream.index else [self.stream, sound]

    def _claimed(self) -> tuple[float, Any]:
        """The end that the header promises, and the track that lasts so long."""
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
                place = round((start + self.zero * self.base) / float(track.time_base or self.base))
                self.container.seek(place, stream=track)
                for packet in self.container.demux(*self._tracks()):
                    stamp = packet.pts if packet.pts is not None else packet.dts
                    if stamp is not None and packet.size:
                        ends = float((stamp + (packet.duration or 0)) * packet.time_base)
                        end = max(end, ends - self.zero * self.base)
            except av.FFmpegError:
                pass  # the end of what can be read
            if end > 0:
                return end
        return 0.0

    def keyframe_near(self, second: float, backward: bool = True) -> float | None:
        """The second of the keyframe at or before (else at or after) `second`, by an index; None without
        one."""
        if self.joins is not None:
            return self.joins.keyframe_near(second, backward)
        if not len(self.index):
            return None
        stamp = self.zero + round(second / self.base) - self.index_shift
        at = self.stream.index_entries.search_timestamp(stamp, backward=backward, any_frame=False)
        return self.second(self.index[at].timestamp + self.index_shift) if at >= 0 else None

    def seek(self, second: float) -> None:
        """Go on reading at about `second`; transport streams may land behind it."""
        import av

        if self.joins is not None:
            self._position = self.joins.position(second)
            self.container.seek(self._position, unsupported_byte_offset=True)
        else:
            place = self.zero + round(second / self.base)
            try:
                self.container.seek(place, stream=self.stream, backward=True)
            except av.FFmpegError:  # before the first entry of an index that grows as it is read
                self.container.seek(0, unsupported_byte_offset=True)

    def packets(self, *tracks: Any) -> Iterator[Any]:
        """Packets of `tracks` that carry data and a time, on one time line, to the end of what can be
        read."""
        import av

        position = self._position  # of packets that do not tell theirs
        try:
            for packet in self.container.demux(*tracks):
                if packet.size == 0 or (packet.pts is None and packet.dts is None):
                    continue
                if packet.pts is None:
                    packet.pts = packet.dts
                elif packet.dts is None:  # unknown order: assume frames that come up to a second early
                    packet.dts = packet.pts - round(1 / packet.time_base)
                if self.joins is not None:
                    position = position if packet.pos is None else packet.pos
                    ticks = round(self.joins.shift(position) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                yield packet
        except (av.InvalidDataError, av.EOFError, av.OSError):
            return

    def packets_from(self, second: float, *tracks: Any) -> Iterator[Any]:
        """Packets of `tracks`, among them this stream, from a keyframe at or before `second` on.

        It is the last such keyframe where the container has an index; without one, up to two minutes earlier,
        or the beginning. Where no keyframe is marked, what comes.
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
        """The first sound track from `start` to about `end`: float32 [2, n] at `rate`; gaps become
        silence."""
        import av

        track = sound_track(self.container)
        if track is None:
            return
        zero = self.zero * self.base
        self.seek(start)
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
        at = start  # the second up to which sound has been given
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
                    ahead = round((begin - at) * rate)
                    if ahead > rate // 50:
                        yield np.zeros((2, min(ahead, rate * 10)), dtype=np.float32)
                        at += ahead / rate
                    elif ahead < 0 and at == start:
                        samples = samples[:, -ahead:]
                    begin += block.samples / rate
                    if samples.shape[1]:
                        at += samples.shape[1] / rate
                        yield samples


# Recordings that were joined end to end


@dataclass
class _Piece:
    """A part of a file with one clock: where it begins in bytes, its last decoding time by stream, and the
    first and last time of each stream, in seconds."""

    position: int
    latest: dict[int, float] = field(default_factory=dict)
    starts: dict[int, float] = field(default_factory=dict)
    ends: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Joins:
    """Where each part begins in bytes, the seconds to add to its stamps, and the keyframes of one stream
    (second, byte)."""

    positions: tuple[int, ...]
    shifts: tuple[float, ...]
    keys: tuple[tuple[float, int], ...]
    zero_s: float
    duration_s: float

    def shift(self, position: int) -> float:
        return self.shifts[bisect.bisect_right(self.positions, position) - 1]

    def position(self, second: float) -> int:
        """The byte of the last keyframe at or before `second`."""
        at = bisect.bisect_right(self.keys, second + 1e-3, key=lambda key: key[0])
        return self.keys[at - 1][1] if at else 0

    def keyframe_near(self, second: float, backward: bool) -> float | None:
        at = bisect.bisect_right(self.keys, second, key=lambda key: key[0]) - (1 if backward else 0)
        return self.keys[at][0] if 0 <= at < len(self.keys) else None


_SAMPLES = 24
_ALWAYS_READ = 1 << 20  # bytes: smaller files are demuxed whole, in 7 ms


@lru_cache(maxsize=16)
def _joins(path: Path, stream_index: int, size: int, mtime_ns: int) -> Joins | None:
    """The joins of a transport or program stream; None for a recording with one clock.

    The clock is sampled at two dozen places (3 ms); only where it does not run on from one to the next is
    the whole file demuxed.
    """
    try:
        with open_container(path, sound=True) as container:
            stream = container.streams[stream_index]
            if size > _ALWAYS_READ and _runs_on(container, stream, size):
                return None
            container.seek(0, unsupported_byte_offset=True)
            return _joined(container, stream)
    except MediaError:
        return None  # whoever reads it next says what is wrong


def _runs_on(container: InputContainer, stream: Any, size: int) -> bool:
    """Whether the clock increases over the file, without a leap."""
    found: list[tuple[int, float]] = []
    # Uneven steps: even ones may meet parts of one length at the same second each.
    for place in sorted(i * 0.6180339887 % 1.0 for i in range(_SAMPLES)):
        container.seek(int(place * size), unsupported_byte_offset=True)
        packet = next((p for p in container.demux(stream) if p.dts is not None), None)
        if packet is not None and packet.pos is not None and (not found or packet.pos > found[-1][0]):
            found.append((packet.pos, float(packet.dts * packet.time_base)))
    steps = [later[1] - earlier[1] for earlier, later in itertools.pairwise(found)]
    return len(steps) < 2 or (min(steps) > 0 and max(steps) < 10.0 + 8 * statistics.median(steps))


def _joined(container: InputContainer, stream: Any) -> Joins | None:
    """Every packet's clock, in the order of the file: where it goes back, another recording begins.

    A leap forward of more than 10 s is one where all streams make it, since a picture may stand still; of a
    picture alone, one of more than an hour (FFmpeg adds 26 hours to clocks that go back far).
    """
    pieces = [_Piece(0)]
    keys: list[tuple[int, int, float]] = []  # (byte, piece, second)
    tracks = [s for s in container.streams if s.type in ("video", "audio")]
    leap_s = 10.0 if len(tracks) > 1 else 3600.0
    for position, track, begin, shown, length, is_key in _by_position(container, tracks):
        piece = pieces[-1]
        latest = piece.latest.get(track)
        newest = max(piece.latest.values(), default=begin)
        if (latest is not None and begin < latest - 0.5) or begin > newest + leap_s:
            piece = _Piece(position)
            pieces.append(piece)
        piece.latest[track] = begin
        piece.starts[track] = min(shown, piece.starts.get(track, shown))
        piece.ends[track] = max(shown + length, piece.ends.get(track, shown))
        if is_key and track == stream.index:
            keys.append((position, len(pieces) - 1, shown))
    if len(pieces) < 2:
        return None
    shifts, end = [0.0], _of_piece(pieces[0].ends, stream, max)
    for piece in pieces[1:]:
        shifts.append(end - _of_piece(piece.starts, stream, min))
        end = shifts[-1] + _of_piece(piece.ends, stream, max)
    zero = min(pieces[0].starts.values())
    last = max(max(piece.ends.values()) + shift for piece, shift in zip(pieces, shifts, strict=True))
    if last - zero > MAX_DURATION_S:
        return None
    return Joins(
        tuple(piece.position for piece in pieces),
        tuple(shifts),
        tuple(sorted((second + shifts[piece] - zero, position) for position, piece, second in keys)),
        zero,
        last - zero,
    )


def _of_piece(times: dict[int, float], stream: Any, pick: Any) -> float:
    return times[stream.index] if stream.index in times else float(pick(times.values()))


def _by_position(container: InputContainer, tracks: list[Any]) -> Iterator[tuple[int, int, float, float, float, bool]]:
    """(byte, stream, decoding second, second, length, keyframe) of every packet, in the order of the file.

    A demuxer hands a packet out when the next one begins, so that two streams come a little out of order.
    """
    import av

    waiting: list[tuple[int, int, tuple[int, int, float, float, float, bool]]] = []
    positions: dict[int, int] = {}  # by stream, for packets that do not tell theirs
    rates = {s.index: s.guessed_rate for s in tracks if s.type == "video"}
    try:
        for number, packet in enumerate(container.demux(tracks)):
            stamp = packet.dts if packet.dts is not None else packet.pts
            if not packet.size or stamp is None:
                continue
            position = packet.pos if packet.pos is not None else positions.get(packet.stream_index, 0)
            positions[packet.stream_index] = position
            base = float(packet.time_base)
            shown = (packet.pts if packet.pts is not None else stamp) * base
            length = (packet.duration or 0) * base or float(1 / (rates.get(packet.stream_index) or 1000))
            row = (position, packet.stream_index, stamp * base, shown, length, packet.is_keyframe)
            heapq.heappush(waiting, (position, number, row))
            if len(waiting) > 256:
                yield heapq.heappop(waiting)[2]
    except av.FFmpegError:
        pass  # the end of what can be read
    while waiting:
        yield heapq.heappop(waiting)[2]
