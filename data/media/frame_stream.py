"""An open video: the frame at a second, with as little decoding as possible (PyAV, FFmpeg).

Built around a buffer of demuxed packets, since reading packets is cheap and decoding is not: the time stamp
selects the packet on screen at a second, and the decoder starts at its keyframe (by the container's index) and
skips unreferenced frames. Exact for variable frame rates.

Knows nothing of windows, counts or thumbnails. Every error of FFmpeg becomes a `MediaError`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.media.container import open_container, packets_of, picture_stream, sound_track
from data.media.kinds import MediaError
from data.media.screen import Screen, clockwise, orientation
from data.media.stream_clock import StreamClock

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_FRAME_PIXELS = 8192 * 8192
# The last frame of a truncated file is assumed to stay on screen this long.
LONGEST_STILL_S = 5.0
# dav1d reads the skip setting only when it is opened.
_NO_SKIPPING = ("libdav1d", "av1", "libaom-av1")
# A group of pictures with more packets is decoded while it is read, which bounds the memory.
MAX_BUFFERED = 2000


@contextmanager
def open_video(path: Path, threads: int = 1) -> Iterator[VideoStream]:
    """Opens a file as a `VideoStream`; every error of FFmpeg in the block becomes a `MediaError`."""
    with open_container(path) as container:
        yield VideoStream(path, container, threads)


@contextmanager
def open_clock(path: Path) -> Iterator[StreamClock]:
    """Opens a file by its video stream, or by its sound without one, to read sound or subtitles. Raises
    `MediaError`."""
    with open_container(path, sound=True) as container:
        stream = picture_stream(container)
        if stream is None or stream.codec_context is None:
            stream = sound_track(container) or stream
        if stream is None:
            raise MediaError("there is neither a picture nor sound in the file", "nothing to see")
        yield StreamClock(path, container, stream)


class VideoStream(StreamClock):
    """An open video: its stream, its clock, and the frame at a second."""

    def __init__(self, path: Path, container: InputContainer, threads: int) -> None:
        stream = picture_stream(container)
        if stream is None:
            sound = bool(container.streams.audio)
            reason = "this is a sound file; there is no picture in it" if sound else "there is no picture in the file"
            raise MediaError(reason, "nothing to see")
        if stream.codec_context is None:
            raise MediaError("its format has no decoder here; convert it to MP4 (H.264)", "unsupported")
        self.codec: str = stream.codec_context.name
        self.width, self.height = stream.codec_context.width, stream.codec_context.height
        if self.width * self.height > MAX_FRAME_PIXELS:
            size = f"{self.width:,} x {self.height:,}"
            raise MediaError(f"its frames of {size} pixels are larger than Sightline opens", "too large")
        super().__init__(path, container, stream)
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "SLICE" if threads == 1 else "AUTO"
        rate = stream.guessed_rate or stream.average_rate or stream.base_rate
        self.fps = float(rate) if rate else 0.0
        self.screen = Screen(stream)
        self.rotation = 0
        self.source: Iterator[Any] = iter(())
        self.buffer: list[Any] = []  # packets demuxed since a keyframe at which decoding may start
        # buffer[:fed_count] has been fed to the decoder since its last flush; None: it must start at a keyframe.
        self.fed_count: int | None = None
        self.fed_stamps: set[int] = set()  # time stamps of the packets fed since then
        self.recent: list[tuple[int, Any]] = []  # the last decoded frames with their time stamps
        self.source_ended = False  # whether `source` has no more packets

    # Size and length

    def shown_size(self, max_side: int | None = None) -> tuple[int, int]:
        """Returns width and height, upright with square pixels; correct after `look`, which reads the rotation."""
        width, height = self.screen.size(self.width, self.height, max_side)
        return (height, width) if self.rotation % 180 else (width, height)

    def rgb(self, frame: Any, max_side: int | None) -> np.ndarray:
        """Returns a decoded frame as uint8 RGB [H, W, 3], as players display it (`Screen.rgb`)."""
        return self.screen.rgb(frame, max_side)

    def look(self) -> Any:
        """Returns the first frame that decodes and sets size and rotation. Raises `MediaError` if none of the first
        300 packets decodes."""
        import av

        for count, packet in enumerate(packets_of(self.container, self.stream)):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                frames = []
            if frames:
                frame = frames[0]
                self.rotation = clockwise(*orientation(frame))
                self.width, self.height = frame.width or self.width, frame.height or self.height
                return frame
            if count > 300:
                break
        raise MediaError("the video is damaged; no picture in it can be decoded", "damaged")

    # From seconds to frames

    def frames_at(
        self, seconds: Sequence[float] | np.ndarray, max_side: int | None, tolerance_s: float = 0.0
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Yields (second, RGB) for each of the ascending `seconds` with a frame that can be decoded."""
        array: np.ndarray | None = None
        frame: Any = None
        for second in seconds:
            target = self._snapped(float(second), tolerance_s)
            hit = self.frame_at(target, lone=target != second)
            if hit is None:
                continue
            if hit[1] is not frame or array is None:
                frame, array = hit[1], self.rgb(hit[1], max_side)
            yield hit[0], array

    def frame_at(self, second: float, lone: bool = False) -> tuple[float, Any] | None:
        """Returns the (second, frame) on screen at `second`; None if no frame can be decoded.

        Calls in ascending order seldom decode a frame twice. `lone`: the caller skips the following frames, so
        the decoder is drained at once instead of fed until it outputs the frame.
        """
        self._read_to(second)
        index = self._index_at(second)
        if index is None or self._is_past_end(second, index):
            return None
        stamp = self.buffer[index].pts
        for recent_stamp, frame in self.recent:
            if recent_stamp == stamp:
                return self.second(stamp), frame
        is_pending = stamp in self.fed_stamps and (not self.recent or self.recent[-1][0] < stamp)
        start = self._start_for(index)
        if self.fed_count is not None and start <= self.fed_count and (index >= self.fed_count or is_pending):
            result = self._decode_to(index, stamp, lone)
            if result is not None and result[0] == self.second(stamp):
                return result
        # The decoder has passed or skipped the frame.
        if not self.buffer[start].is_keyframe:
            self.buffer = []
            self._read_to(second)
            index = self._index_at(second)
            if index is None:
                return None
            start = self._start_for(index)
        self._restart(start)
        return self._decode_to(index, self.buffer[index].pts, lone)

    def steady(self) -> bool:
        """Whether the container's index lists frames of equal duration."""
        if any(entry.is_discard for entry in self.index):
            return False  # an edit list discards frames, so frame numbers are unknown
        stamps = [entry.timestamp for entry in self.index]
        steps = {later - earlier for earlier, later in itertools.pairwise(stamps)}
        return len(stamps) > 1 and max(steps) - min(steps) <= 1 and abs(min(steps) * self.base * self.fps - 1) < 0.01

    def _is_past_end(self, second: float, index: int) -> bool:
        """Whether `second` is after the end. The last frame of a complete file stays on screen to the end of the
        sound, or for as long as its packet says."""
        stamp = self.buffer[index].pts
        if second <= self.second(stamp) + LONGEST_STILL_S:
            return False
        if any(packet.pts > stamp for packet in self.buffer):
            return False
        next_packet = next(self.source, None)
        if next_packet is not None:
            self.buffer.append(next_packet)
            return False
        if self._duration is None:
            self.fed_count = None  # measuring seeks, which empties the decoder
        return second >= self.duration()[0]

    def frames_between(self, start: float, end: float) -> Iterator[tuple[float, Any]]:
        """Yields every (second, frame) with start <= second < end, first the frame on screen at `start`. Damaged
        frames are left out."""
        import av

        self._seek(start)
        context = self.stream.codec_context
        context.flush_buffers()
        context.skip_frame = "DEFAULT"
        half = min(0.5 / self.fps, 0.1) if self.fps else 0.01
        frame_before: Any = None  # the frame on screen before `start`
        for packet in itertools.chain(self.source, (None,)):
            try:
                frames = context.decode(packet)
            except (av.InvalidDataError, av.EOFError):
                continue
            for frame in frames:
                if frame.pts is None:
                    continue
                second = self.second(frame.pts)
                if second < start - half:
                    frame_before = frame
                    continue
                if frame_before is not None and second > start + half:
                    yield start, frame_before
                frame_before = None
                if second >= end - 1e-6:
                    return
                yield max(second, start), frame
        if frame_before is not None and start < self.duration()[0]:
            yield start, frame_before

    def _snapped(self, second: float, tolerance_s: float) -> float:
        if tolerance_s <= 0:
            return second
        keys = (self.keyframe_near(second, backward) for backward in (True, False))
        close = [(abs(key - second), key) for key in keys if key is not None and abs(key - second) <= tolerance_s]
        return max(0.0, min(close)[1]) if close else second

    def _read_to(self, second: float) -> None:
        """Demuxes until the buffer holds every packet that may be on screen at `second`."""
        if self.buffer and second < self.second(self.buffer[0].pts):
            self.buffer, self.source_ended = [], False  # backwards: earlier packets are no longer buffered
        newest = self.second(self.buffer[-1].dts) if self.buffer else -math.inf
        if newest > second or (self.source_ended and self.buffer):
            return
        key = self.keyframe_near(second)
        # Without an index, reading on is cheaper than a seek over a few groups of pictures.
        should_seek = second - newest > 10.0 if key is None else key > newest + 0.5
        if should_seek or not self.buffer:
            # An index that grows while reading has no later keyframes.
            self._seek(key if key is not None and key > second - 60 else second)
        for packet in self.source:
            if packet.is_keyframe and packet.pts <= self.zero + second / self.base:
                self._drop_before_last_keyframe()
            self.buffer.append(packet)
            if self.second(packet.dts) > second:
                return
            if len(self.buffer) > MAX_BUFFERED:
                self._decode_ahead()

    def _seek(self, second: float) -> None:
        """Reads on from the keyframe at or before `second`."""
        self.source = self._until_end(self.packets_from(second, self.stream))
        self.buffer, self.fed_count, self.source_ended = [], None, False

    def _until_end(self, packets: Iterator[Any]) -> Iterator[Any]:
        yield from packets
        self.source_ended = True

    def _drop_before_last_keyframe(self) -> None:
        """Drops all but the last group of pictures: frames before a keyframe may follow it in the file."""
        keys = [i for i, packet in enumerate(self.buffer) if packet.is_keyframe]
        if keys and keys[-1] > 0:
            self._drop_packets(keys[-1])

    def _drop_packets(self, count: int) -> None:
        del self.buffer[:count]
        if self.fed_count is not None:
            self.fed_count = self.fed_count - count if self.fed_count >= count else None

    def _decode_ahead(self) -> None:
        """Decodes and drops all but the last packets of an overlong group of pictures."""
        if self.fed_count is None:
            self._restart(self._start_for(len(self.buffer) - 1))
        while (self.fed_count or 0) < len(self.buffer) - 64:
            self._feed(self.buffer[self.fed_count or 0], skip=True)
        self._drop_packets(self.fed_count or 0)

    def _index_at(self, second: float) -> int | None:
        """Buffer index of the packet with the latest time stamp not after `second`; None for an empty buffer."""
        if not self.buffer:
            return None
        limit = self.zero + (second + 1e-4) / self.base
        stamps = [packet.pts for packet in self.buffer]
        latest = max((stamp for stamp in stamps if stamp <= limit), default=None)
        # Before the first frame, players display the first frame.
        return stamps.index(min(stamps) if latest is None else latest)

    def _start_for(self, index: int) -> int:
        """Buffer index of the keyframe that the packet at `index` depends on."""
        stamp = self.buffer[index].pts
        keys = [i for i in range(index + 1) if self.buffer[i].is_keyframe and self.buffer[i].pts <= stamp]
        return keys[-1] if keys else 0

    def _restart(self, start: int) -> None:
        self.stream.codec_context.flush_buffers()
        self.fed_count = start
        self.fed_stamps.clear()
        self.recent.clear()

    def _feed(self, packet: Any | None, skip: bool) -> list[tuple[int, Any]]:
        """Feeds one packet to the decoder (None drains it). Returns its output as (time stamp, frame)."""
        import av

        context = self.stream.codec_context
        if packet is not None:
            skip = skip and self.codec not in _NO_SKIPPING
            context.skip_frame = "NONREF" if skip else "DEFAULT"
            self.fed_stamps.add(packet.pts)
            self.fed_count = (self.fed_count or 0) + 1
        try:
            frames = context.decode(packet)
        except (av.InvalidDataError, av.EOFError):
            return []
        stamped = [(f.pts if f.pts is not None else f.dts, f) for f in frames]
        out = [(stamp, frame) for stamp, frame in stamped if stamp is not None]
        self.recent = (self.recent + out)[-3:]
        return out

    def _decode_to(self, index: int, stamp: int, lone: bool) -> tuple[float, Any] | None:
        """Feeds packets up to `index`, then on until the decoder outputs the frame."""
        assert self.fed_count is not None
        best: tuple[float, Any] | None = None
        while True:
            if self.fed_count >= len(self.buffer):
                next_packet = next(self.source, None)
                if next_packet is not None:
                    self.buffer.append(next_packet)
            # No decoder delays its output by more than 32 frames.
            is_overdue = self.fed_count > index + (0 if lone else 64)
            drain = is_overdue or self.fed_count >= len(self.buffer)
            packet = None if drain else self.buffer[self.fed_count]
            for frame_stamp, frame in self._feed(packet, skip=self.fed_count < index):
                if frame_stamp <= stamp or best is None:
                    best = (self.second(frame_stamp), frame)
                if frame_stamp >= stamp:
                    if drain:
                        self.fed_count = None
                        self.stream.codec_context.flush_buffers()
                    return best
            if drain:
                self.fed_count = None
                self.stream.codec_context.flush_buffers()
                return best
