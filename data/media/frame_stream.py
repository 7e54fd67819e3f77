"""An open video, from a second to a decoded frame with as little decoding as possible (PyAV, FFmpeg).

Built around a buffer of demuxed packets, since reading packets is cheap and decoding them is not: the packet
on screen at a second is found by its time stamp, the decoder starts at the keyframe it depends on (sought by
the container's index) and leaves out the frames that nothing refers to. Exact under variable frame rates.

Knows nothing of windows, counts or thumbnails, and turns every complaint of FFmpeg into a `MediaError`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.media.container import open_container, picture_stream, sound_track
from data.media.kinds import MediaError
from data.media.screen import Screen, clockwise, orientation
from data.media.stream_clock import StreamClock

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_FRAME_PIXELS = 8192 * 8192
# The last frame of a file that was cut off is taken to be on screen this long beyond its own time.
LONGEST_STILL_S = 5.0
# dav1d takes its setting when it is opened, so a frame skipped once is skipped for good.
_NO_SKIPPING = ("libdav1d", "av1", "libaom-av1")
# A group of pictures longer than this is decoded as it is read, so that memory stays flat.
MAX_BUFFERED = 2000


@contextmanager
def open_video(path: Path, threads: int = 1) -> Iterator[VideoStream]:
    """The file as a `VideoStream`; every error of FFmpeg inside becomes a `MediaError`."""
    with open_container(path) as container:
        yield VideoStream(path, container, threads)


@contextmanager
def open_clock(path: Path) -> Iterator[StreamClock]:
    """The file by its picture, or by its sound where it has none: for who reads sound or words."""
    with open_container(path, sound=True) as container:
        stream = picture_stream(container)
        if stream is None or stream.codec_context is None:
            stream = sound_track(container) or stream
        if stream is None:
            raise MediaError("there is neither a picture nor sound in the file", "nothing to see")
        yield StreamClock(path, container, stream)


class VideoStream(StreamClock):
    """An open video: its stream, its clock, and the road from a second to a frame."""

    def __init__(self, path: Path, container: InputContainer, threads: int) -> None:
        stream = picture_stream(container)
        if stream is None:
            sound = bool(container.streams.audio)
            what = "this is a sound file; there is no picture in it" if sound else "there is no picture in the file"
            raise MediaError(what, "nothing to see")
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
        self.buffer: list[Any] = []  # packets demuxed since a keyframe that we may have to start from
        # buffer[: fed] has been given to the decoder since its last flush; None: it must start at a keyframe.
        self.fed: int | None = None
        self.given: set[int] = set()  # time stamps of the packets fed since then
        self.recent: list[tuple[int, Any]] = []  # the last frames that came out, with their time stamps
        self.ended = False  # whether `source` has no more packets

    # Size and length

    def shown_size(self, max_side: int | None = None) -> tuple[int, int]:
        """Width and height upright with square pixels; before `look` the rotation is unknown."""
        width, height = self.screen.size(self.width, self.height, max_side)
        return (height, width) if self.rotation % 180 else (width, height)

    def rgb(self, frame: Any, max_side: int | None) -> np.ndarray:
        """A decoded frame as uint8 RGB [H, W, 3], as a player shows it (`Screen.rgb`)."""
        return self.screen.rgb(frame, max_side)

    def look(self) -> Any:
        """The first frame that decodes, within the first 300 packets; from then on size and rotation are
        known. Raises `MediaError` if there is none: then it is no video."""
        import av

        for count, packet in enumerate(self.container.demux(self.stream)):
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
        """(second, RGB) for each of the ascending seconds at which something can be decoded."""
        array: np.ndarray | None = None
        shown: Any = None
        for second in seconds:
            near = self._snapped(float(second), tolerance_s)
            found = self.frame_at(near, lone=near != second)
            if found is None:
                continue
            if found[1] is not shown or array is None:
                shown, array = found[1], self.rgb(found[1], max_side)
            yield found[0], array

    def frame_at(self, second: float, lone: bool = False) -> tuple[float, Any] | None:
        """The (second, frame) on screen at `second`; None where nothing can be decoded.

        Asked in ascending order it seldom decodes a frame twice. `lone` says that the frames right after it
        will not be asked for: the decoder is emptied at once instead of fed until it lets go of the frame.
        """
        self._read_to(second)
        wanted = self._shown_at(second)
        if wanted is None or self._is_past_the_end(second, wanted):
            return None
        stamp = self.buffer[wanted].pts
        for recent_stamp, frame in self.recent:
            if recent_stamp == stamp:
                return self.second(stamp), frame
        on_its_way = stamp in self.given and (not self.recent or self.recent[-1][0] < stamp)
        start = self._start_for(wanted)
        if self.fed is not None and start <= self.fed and (wanted >= self.fed or on_its_way):
            found = self._decode_to(wanted, stamp, lone)
            if found is not None and found[0] == self.second(stamp):
                return found
        # The decoder is past it, or was allowed to leave it out.
        if not self.buffer[start].is_keyframe:
            self.buffer = []
            self._read_to(second)
            wanted = self._shown_at(second)
            if wanted is None:
                return None
            start = self._start_for(wanted)
        self._restart(start)
        return self._decode_to(wanted, self.buffer[wanted].pts, lone)

    def steady(self) -> bool:
        """True when the container's index lists frames that all last equally long."""
        if any(entry.is_discard for entry in self.index):
            return False  # an edit list leaves some out, and frames are not numbered by it
        stamps = [entry.timestamp for entry in self.index]
        steps = {later - earlier for earlier, later in itertools.pairwise(stamps)}
        return len(stamps) > 1 and max(steps) - min(steps) <= 1 and abs(min(steps) * self.base * self.fps - 1) < 0.01

    def _is_past_the_end(self, second: float, wanted: int) -> bool:
        """True where what was shown has been cut off. The last frame of a whole file is shown to the end of
        its sound, or for as long as it is held."""
        stamp = self.buffer[wanted].pts
        if second <= self.second(stamp) + LONGEST_STILL_S:
            return False
        if any(packet.pts > stamp for packet in self.buffer):
            return False
        more = next(self.source, None)
        if more is not None:
            self.buffer.append(more)
            return False
        return second >= self.duration()[0]

    def frames_between(self, start: float, end: float) -> Iterator[tuple[float, Any]]:
        """Every (second, frame) with start <= second < end, in order, the first at `start` if it is on screen
        then; damaged ones are left out."""
        import av

        self._seek(start)
        context = self.stream.codec_context
        context.flush_buffers()
        context.skip_frame = "DEFAULT"
        half = min(0.5 / self.fps, 0.1) if self.fps else 0.01
        held: Any = None  # the frame on screen before `start`
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
                    held = frame
                    continue
                if held is not None and second > start + half:
                    yield start, held
                held = None
                if second >= end - 1e-6:
                    return
                yield max(second, start), frame
        if held is not None and start < self.duration()[0]:
            yield start, held

    def _snapped(self, second: float, tolerance_s: float) -> float:
        if tolerance_s <= 0:
            return second
        keys = (self.keyframe_near(second, backward) for backward in (True, False))
        close = [(abs(key - second), key) for key in keys if key is not None and abs(key - second) <= tolerance_s]
        return max(0.0, min(close)[1]) if close else second

    def _read_to(self, second: float) -> None:
        """Demux until every packet that may be on screen at `second` is in the buffer."""
        if self.buffer and second < self.second(self.buffer[0].pts):
            self.buffer, self.ended = [], False  # backwards: what was read has been let go
        newest = self.second(self.buffer[-1].dts) if self.buffer else -math.inf
        if newest > second or (self.ended and self.buffer):
            return
        key = self.keyframe_near(second)
        # Without an index, reading on is cheaper than a seek over less than a few groups of pictures.
        worth_it = second - newest > 10.0 if key is None else key > newest + 0.5
        if worth_it or not self.buffer:
            # An index that ends where reading ended knows nothing of what comes after.
            self._seek(key if key is not None and key > second - 60 else second)
        for packet in self.source:
            if packet.is_keyframe and packet.pts <= self.zero + second / self.base:
                self._forget_before_last_keyframe()
            self.buffer.append(packet)
            if self.second(packet.dts) > second:
                return
            if len(self.buffer) > MAX_BUFFERED:
                self._decode_ahead()

    def _seek(self, second: float) -> None:
        """Go on reading from the keyframe at or before `second`."""
        self.source = self._to_the_end(self.packets_from(second, self.stream))
        self.buffer, self.fed, self.ended = [], None, False

    def _to_the_end(self, packets: Iterator[Any]) -> Iterator[Any]:
        yield from packets
        self.ended = True

    def _forget_before_last_keyframe(self) -> None:
        """Keep one group of pictures back: frames just before a keyframe may come after it in the file."""
        keys = [i for i, packet in enumerate(self.buffer) if packet.is_keyframe]
        if keys and keys[-1] > 0:
            self._forget(keys[-1])

    def _forget(self, count: int) -> None:
        del self.buffer[:count]
        if self.fed is not None:
            self.fed = self.fed - count if self.fed >= count else None

    def _decode_ahead(self) -> None:
        """Feed all but the last packets of an endless group of pictures and let them go."""
        if self.fed is None:
            self._restart(self._start_for(len(self.buffer) - 1))
        while (self.fed or 0) < len(self.buffer) - 64:
            self._feed(self.buffer[self.fed or 0], skip=True)
        self._forget(self.fed or 0)

    def _shown_at(self, second: float) -> int | None:
        """Place in the buffer of the packet with the latest time stamp not after `second`."""
        if not self.buffer:
            return None
        limit = self.zero + (second + 1e-4) / self.base
        stamps = [packet.pts for packet in self.buffer]
        shown = max((stamp for stamp in stamps if stamp <= limit), default=None)
        # Before the first frame players show the first one.
        return stamps.index(min(stamps) if shown is None else shown)

    def _start_for(self, wanted: int) -> int:
        """Place of the keyframe that the wanted packet depends on."""
        stamp = self.buffer[wanted].pts
        keys = [i for i in range(wanted + 1) if self.buffer[i].is_keyframe and self.buffer[i].pts <= stamp]
        return keys[-1] if keys else 0

    def _restart(self, start: int) -> None:
        self.stream.codec_context.flush_buffers()
        self.fed = start
        self.given.clear()
        self.recent.clear()

    def _feed(self, packet: Any | None, skip: bool) -> list[tuple[int, Any]]:
        """Give the decoder one packet (None: drain it); the frames that come out, with their time stamps."""
        import av

        context = self.stream.codec_context
        if packet is not None:
            skip = skip and self.codec not in _NO_SKIPPING
            context.skip_frame = "NONREF" if skip else "DEFAULT"
            self.given.add(packet.pts)
            self.fed = (self.fed or 0) + 1
        try:
            frames = context.decode(packet)
        except (av.InvalidDataError, av.EOFError):
            return []
        stamped = [(f.pts if f.pts is not None else f.dts, f) for f in frames]
        out = [(stamp, frame) for stamp, frame in stamped if stamp is not None]
        self.recent = (self.recent + out)[-3:]
        return out

    def _decode_to(self, wanted: int, stamp: int, lone: bool) -> tuple[float, Any] | None:
        """Feed up to the wanted packet, and on until its frame comes out of the decoder's reordering."""
        assert self.fed is not None
        best: tuple[float, Any] | None = None
        while True:
            if self.fed >= len(self.buffer):
                more = next(self.source, None)
                if more is not None:
                    self.buffer.append(more)
            # No decoder holds back more than 32 frames.
            past = self.fed > wanted + (0 if lone else 64)
            drain = past or self.fed >= len(self.buffer)
            packet = None if drain else self.buffer[self.fed]
            for frame_stamp, frame in self._feed(packet, skip=self.fed < wanted):
                if frame_stamp <= stamp or best is None:
                    best = (self.second(frame_stamp), frame)
                if frame_stamp >= stamp:
                    if drain:
                        self.fed = None
                        self.stream.codec_context.flush_buffers()
                    return best
            if drain:
                self.fed = None
                self.stream.codec_context.flush_buffers()
                return best
