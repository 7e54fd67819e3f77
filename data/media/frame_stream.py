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

from data.media.container import open_container
from data.media.kinds import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_DURATION_S = 7 * 86400.0
MAX_FRAME_PIXELS = 8192 * 8192
# The last frame of a file is taken to be on screen this long beyond its own time.
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


class VideoStream:
    """An open video: its stream, its clock, and the road from a second to a frame."""

    def __init__(self, path: Path, container: InputContainer, threads: int) -> None:
        self.path = path
        self.container = container
        attached = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the cover of an album, not a video
        shown = [s for s in container.streams.video if not int(s.disposition) & attached]
        if not shown:
            sound = bool(container.streams.audio)
            what = "this is a sound file; there is no picture in it" if sound else "there is no picture in the file"
            raise MediaError(what, "nothing to see")
        self.stream = stream = shown[0]
        if stream.codec_context is None:
            raise MediaError("its format has no decoder here; convert it to MP4 (H.264)", "unsupported")
        self.codec: str = stream.codec_context.name
        self.width, self.height = stream.codec_context.width, stream.codec_context.height
        if self.width * self.height > MAX_FRAME_PIXELS:
            size = f"{self.width:,} x {self.height:,}"
            raise MediaError(f"its frames of {size} pixels are larger than Sightline opens", "too large")
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "SLICE" if threads == 1 else "AUTO"
        self.base = float(stream.time_base) if stream.time_base else 1 / 90000
        rate = stream.guessed_rate or stream.average_rate or stream.base_rate
        self.fps = float(rate) if rate else 0.0
        first = stream.start_time or 0
        self.zero = first  # the time stamp at second 0: players start the clock with the earliest stream
        if container.start_time is not None and container.start_time >= 0:
            self.zero = min(first, round(container.start_time / 1_000_000 / self.base))
        self.index = stream.index_entries
        # The index holds decoding times; a keyframe is shown later by the encoder's reordering delay.
        self.index_shift = first - self.index[0].timestamp if len(self.index) else 0
        self.rotation = 0
        self.source: Iterator[Any] = iter(())
        self.buffer: list[Any] = []  # packets demuxed since a keyframe that we may have to start from
        # buffer[: fed] has been given to the decoder since its last flush; None: it must start at a keyframe.
        self.fed: int | None = None
        self.given: set[int] = set()  # time stamps of the packets fed since then
        self.recent: list[tuple[int, Any]] = []  # the last frames that came out, with their time stamps

    # Clock and size

    def second(self, stamp: int) -> float:
        return (stamp - self.zero) * self.base

    def shown_size(self, max_side: int | None = None) -> tuple[int, int]:
        """Width and height upright with square pixels; before `first_frame` the rotation is unknown."""
        width, height = self._scaled(self.width, self.height, max_side)
        return (height, width) if self.rotation % 180 else (width, height)

    def _scaled(self, width: int, height: int, max_side: int | None) -> tuple[int, int]:
        aspect = self.stream.sample_aspect_ratio
        wide = width * float(aspect) if aspect and 0.2 < float(aspect) < 5 else float(width)
        scale = min(1.0, max_side / max(wide, height)) if max_side else 1.0
        return max(1, round(wide * scale)), max(1, round(height * scale))

    def rgb(self, frame: Any, max_side: int | None) -> np.ndarray:
        """A decoded frame as uint8 RGB [H, W, 3], upright, scaled while its colours are converted."""
        width, height = self._scaled(frame.width, frame.height, max_side)
        array = frame.to_ndarray(format="rgb24", width=width, height=height)
        turns = frame.rotation // 90  # PyAV: counterclockwise degrees
        return np.ascontiguousarray(np.rot90(array, turns)) if turns % 4 else array

    def true_duration(self) -> tuple[float, bool]:
        """Seconds to the end of the last frame that is in the file, and whether the header promised more.

        Decodes the first frame that decodes (a video without one is no video) and demuxes the last second.
        """
        frame = self.first_frame()
        self.rotation = -frame.rotation % 360
        self.width, self.height = frame.width or self.width, frame.height or self.height
        stream, container = self.stream, self.container
        claimed = float(stream.duration * self.base) if stream.duration else 0.0
        if container.duration:
            claimed = max(claimed, container.duration / 1_000_000)
        end = self._end_of_packets(claimed)
        truncated = 0 < end < claimed - max(1.0, 0.02 * claimed)
        if truncated or end > claimed + 1.0:
            claimed = end
        if claimed > MAX_DURATION_S:
            raise MediaError(f"it claims to last {claimed / 86400:,.0f} days; its clock is damaged", "damaged")
        return max(claimed, 0.04), truncated

    def _end_of_packets(self, claimed: float) -> float:
        import av

        for start in ([max(0.0, claimed - 1.0)] if claimed > 2 else []) + [0.0]:
            end = 0.0
            try:
                self.container.seek(self.zero + int(start / self.base), stream=self.stream)
                for packet in self.container.demux(self.stream):
                    stamp = packet.pts if packet.pts is not None else packet.dts
                    if stamp is not None and packet.size:
                        end = max(end, self.second(stamp + (packet.duration or 0)))
            except av.FFmpegError:
                pass  # the end of what can be read
            if end > 0:
                return end
        return 0.0

    def first_frame(self) -> Any:
        """The first frame that can be decoded, within the first 300 packets."""
        import av

        for count, packet in enumerate(self.container.demux(self.stream)):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                frames = []
            if frames:
                return frames[0]
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
        if wanted is None or (second > self.second(self.buffer[wanted].pts) + LONGEST_STILL_S and self._at_end()):
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
        stamps = [self.index[i].timestamp for i in range(len(self.index))]
        steps = {later - earlier for earlier, later in itertools.pairwise(stamps)}
        return len(stamps) > 1 and max(steps) - min(steps) <= 1 and abs(min(steps) * self.base * self.fps - 1) < 0.01

    def _at_end(self) -> bool:
        """True when there is nothing more to read: what comes after has been cut off."""
        more = next(self.source, None)
        if more is not None:
            self.buffer.append(more)
        return more is None

    def frames_between(self, start: float, end: float) -> Iterator[tuple[float, Any]]:
        """Every (second, frame) with start <= second < end, in order; damaged ones are left out."""
        import av

        self._seek(start)
        context = self.stream.codec_context
        context.flush_buffers()
        context.skip_frame = "DEFAULT"
        half = 0.5 / self.fps if self.fps else 0.01
        for packet in itertools.chain(self.source, (None,)):
            try:
                frames = context.decode(packet)
            except (av.InvalidDataError, av.EOFError):
                continue
            for frame in frames:
                if frame.pts is None:
                    continue
                second = self.second(frame.pts)
                if second >= end - 1e-6:
                    return
                if second >= start - half:
                    yield max(second, start), frame

    def sound_between(self, start: float, end: float, rate: int) -> Iterator[np.ndarray]:
        """The first sound track from `start` to about `end`: float32 [2, n] at `rate`; gaps become
        silence."""
        import av

        track = next(iter(self.container.streams.audio), None)
        if track is None or track.codec_context is None:
            return
        base = float(track.time_base or 1)
        zero = self.zero * self.base
        self.container.seek(round((start + zero) / base), stream=track, backward=True)
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
        at = start  # the second up to which sound has been given
        for packet in self.container.demux(track):
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

    def keyframe_near(self, second: float, backward: bool = True) -> float | None:
        """The second of the keyframe at or before (else at or after) `second`, by the container's index."""
        if not len(self.index):
            return None
        stamp = self.zero + round(second / self.base) - self.index_shift
        at = self.index.search_timestamp(stamp, backward=backward, any_frame=False)
        return self.second(self.index[at].timestamp + self.index_shift) if at >= 0 else None

    def _snapped(self, second: float, tolerance_s: float) -> float:
        if tolerance_s <= 0:
            return second
        keys = (self.keyframe_near(second, backward) for backward in (True, False))
        close = [(abs(key - second), key) for key in keys if key is not None and abs(key - second) <= tolerance_s]
        return max(0.0, min(close)[1]) if close else second

    def _read_to(self, second: float) -> None:
        """Demux until every packet that may be on screen at `second` is in the buffer."""
        if self.buffer and second < self.second(self.buffer[0].pts):
            self.buffer = []  # backwards: what was read has been let go
        newest = self.second(self.buffer[-1].dts) if self.buffer else -math.inf
        if newest > second:
            return
        key = self.keyframe_near(second)
        # Without an index, reading on is cheaper than a seek over less than a few groups of pictures.
        worth_it = second - newest > 10.0 if key is None else key > newest + 0.5
        if worth_it or not self.buffer:
            self._seek(second if key is None else key)
        for packet in self.source:
            if packet.is_keyframe and packet.pts <= self.zero + second / self.base:
                self._forget_before_last_keyframe()
            self.buffer.append(packet)
            if self.second(packet.dts) > second:
                return
            if len(self.buffer) > MAX_BUFFERED:
                self._decode_ahead()

    def _seek(self, second: float) -> None:
        """Go on reading from the keyframe at or before `second`.

        Transport streams land anywhere, also after the keyframe that is needed: they get a longer run-up.
        """
        wanted = self.zero + round(second / self.base)
        for run_up in (0.0, 3.0, 15.0, second + 10.0):
            self.container.seek(wanted - round(run_up / self.base), stream=self.stream, backward=True)
            self.source = self._packets()
            first = next((packet for packet in self.source if packet.is_keyframe), None)
            if first is not None and first.pts <= wanted + 1:
                break
        if first is None:  # no keyframe is marked: take what comes
            self.container.seek(wanted - round(run_up / self.base), stream=self.stream, backward=True)
            self.source = self._packets()
        else:
            self.source = itertools.chain((first,), self.source)
        self.buffer, self.fed = [], None

    def _packets(self) -> Iterator[Any]:
        """Packets that carry data and a time, to the end of what can be read."""
        import av

        try:
            for packet in self.container.demux(self.stream):
                if packet.size == 0 or (packet.pts is None and packet.dts is None):
                    continue
                if packet.pts is None:
                    packet.pts = packet.dts
                elif packet.dts is None:  # unknown order: assume frames that come up to a second early
                    packet.dts = packet.pts - round(1 / self.base)
                yield packet
        except (av.InvalidDataError, av.EOFError, av.OSError):
            return

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
