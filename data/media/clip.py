"""Clips of videos as MP4 files: `cut` one, `join` several into a reel.

Built around two ways to cut. Copying keeps the encoded frames: it is instant and lossless, but starts at a
keyframe. Re-encoding starts at the exact frame. Both include the sound, and open the source for reading only. They
run in a `data.media.sandbox.Sandbox`, which lets them write one file; `replacing` gives that file its name when it is
complete. Knows nothing of moments or rankings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from data.media.container import sound_track
from data.media.frame_stream import VideoStream, open_clock, open_video
from data.media.kinds import MediaError

SOUND_RATE = 48_000
# A copy may begin this much early; encoders set a keyframe every ten seconds at least, except in a still image.
LONGEST_LEAD_S = 20.0
_CLOCK = Fraction(1, 30_000)  # the finest time base that MPEG-4 part 2 allows too
_BT709 = 1  # the number of the matrix, the primaries and the transfer
# Codecs that an MP4 can hold and browsers play.
_COPIED_VIDEO = ("h264", "hevc", "av1", "libdav1d", "mpeg4", "vp9", "libvpx-vp9")
_COPIED_SOUND = ("aac", "mp3", "mp3float", "ac3", "opus", "libopus")


@dataclass(frozen=True)
class Cut:
    """The range [start_s, end_s) of a video, in seconds."""

    path: Path
    start_s: float
    end_s: float


def cut(path: Path, start_s: float, end_s: float, out: Path, reencode: bool = False) -> tuple[float, float]:
    """Writes [start_s, end_s) of a video to `out`, an MP4, which is incomplete after an error. Returns the range of
    the source that it really spans.

    A copy starts at the keyframe at or before `start_s` and is lossless. The clip is re-encoded with `reencode`,
    and if an MP4 cannot hold the codec or the keyframe is more than `LONGEST_LEAD_S` earlier. Raises `MediaError`.
    """
    _require_span(start_s, end_s)
    if not reencode and not _is_recording(path):
        with open_video(path) as video:
            sound = sound_track(video.container)
            if video.codec in _COPIED_VIDEO and (sound is None or _is_copied(sound)):
                with _faults_of_files():
                    if span := _copy(video, sound, start_s, end_s, out):
                        return span
    ((_, length),) = join([Cut(path, start_s, end_s)], out, max_side=None)
    return start_s, start_s + length


def join(clips: Sequence[Cut], out: Path, max_side: int | None = 1280) -> list[tuple[float, float]]:
    """Writes ranges of videos one after the other to `out`, an MP4 (H.264, AAC), which is incomplete after an error.

    The reel has the shape of the first clip; the others are fitted into it with black borders. Missing sound is
    silence. Recordings alone give a file without a video stream; they cannot be joined with videos. Returns the
    range of each clip in the result, in seconds, for an edit list. Raises `MediaError`.
    """
    if not clips:
        raise ValueError("a reel needs at least one clip")
    for clip in clips:
        _require_span(clip.start_s, clip.end_s)
    with _faults_of_files():
        if all(_is_recording(clip.path) for clip in clips):
            return _encode_recordings(clips, out)
        return _encode(clips, out, max_side)


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Yields a temporary path beside `out`, which replaces `out` on success and is removed otherwise."""
    target = out.with_name(f".{out.stem}.{os.getpid()}.part.mp4")
    try:
        yield target
        target.replace(out)
    finally:
        target.unlink(missing_ok=True)


def _is_copied(sound: Any) -> bool:
    """Whether an MP4 can hold this sound track unchanged. The rate is unknown for a track that begins far behind
    the video (a badly interleaved transport stream)."""
    return sound.codec_context.name in _COPIED_SOUND and bool(sound.codec_context.sample_rate)


def _is_recording(path: Path) -> bool:
    """Whether the file has sound and no video stream."""
    try:
        with open_video(path):
            return False
    except MediaError as error:
        if error.cause != "nothing to see":
            raise
    with open_clock(path) as clock:
        return sound_track(clock.container) is not None


def _require_span(start_s: float, end_s: float) -> None:
    if not 0 <= start_s < end_s:
        raise ValueError(f"there is nothing between {start_s} and {end_s} s")


@contextmanager
def _faults_of_files() -> Iterator[None]:
    """FFmpeg's errors as `MediaError`."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise MediaError(f"the clip could not be written ({error.strerror or error})", "damaged") from error


def _copy(
    video: VideoStream, sound: Any | None, start_s: float, end_s: float, target: Path
) -> tuple[float, float] | None:
    """Copies packets from the last keyframe at or before `start_s` on, with time stamps from zero. Returns the
    range that it spans; None if no frame can be copied there."""
    import av

    streams = [video.stream] if sound is None else [video.stream, sound]
    zero_s = video.zero * video.base
    first: float | None = None  # the second of the keyframe
    last = 0.0
    finished: set[int] = set()
    pending: list[Any] = []  # packets until the first keyframe is certain
    with av.open(os.fspath(target), "w", options={"movflags": "+faststart"}) as out:
        places = {stream.index: out.add_stream_from_template(stream) for stream in streams}

        def second_of(packet: Any) -> float:
            return float(packet.pts * packet.time_base) - zero_s

        def put(packet: Any) -> None:
            nonlocal last
            assert first is not None
            if packet.stream_index == video.stream.index:
                ends = second_of(packet) + float((packet.duration or 0) * packet.time_base)
                last = max(last, ends)
            shift = round((first + zero_s) / float(packet.time_base))
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = places[packet.stream_index]
            out.mux(packet)

        def put_pending() -> None:
            for packet in pending:
                if second_of(packet) >= (first or 0.0):  # earlier packets depend on frames before the keyframe
                    put(packet)
            pending.clear()

        passed = False  # whether `start_s` has been reached
        for packet in video.packets_from(start_s, *streams):
            decoded_at = float(packet.dts * packet.time_base) - zero_s
            if decoded_at >= end_s:
                finished.add(packet.stream_index)
                if len(finished) == len(streams):
                    break
            if packet.stream_index in finished:
                continue
            if packet.stream_index == video.stream.index and not passed:
                passed = first is not None and decoded_at > start_s
                if packet.is_keyframe and (first is None or second_of(packet) <= start_s + 1e-6):
                    first = second_of(packet)
                    pending = [p for p in pending if second_of(p) >= first]
            if not passed:
                pending.append(packet)
                continue
            put_pending()
            if second_of(packet) >= (first or 0.0):
                put(packet)
        put_pending()
    if first is None or last <= start_s or first < start_s - LONGEST_LEAD_S:
        return None
    return first, last


def _encode(clips: Sequence[Cut], target: Path, max_side: int | None) -> list[tuple[float, float]]:
    import av

    spans: list[tuple[float, float]] = []
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    begin = 0.0
    with av.open(os.fspath(target), "w", options={"movflags": "+faststart"}) as out:
        picture: Any = None
        voice: Any = None
        canvas = (0, 0)
        with_sound = any(_has_sound(clip.path) for clip in clips)
        for clip in clips:
            end = begin
            shot: Any = None
            with open_video(clip.path) as video:
                frame_s = 1 / (video.fps or 25)
                for second, frame in video.frames_between(clip.start_s, clip.end_s):
                    rgb = video.rgb(frame, max_side)
                    if picture is None:
                        canvas = (rgb.shape[1] // 2 * 2 or 2, rgb.shape[0] // 2 * 2 or 2)
                        picture = out.add_stream(codec, rate=Fraction(video.fps or 25).limit_denominator(1001))
                        picture.width, picture.height, picture.pix_fmt = (*canvas, "yuv420p")
                        picture.codec_context.time_base = _CLOCK
                        picture.codec_context.colorspace = _BT709
                        picture.codec_context.color_primaries = _BT709
                        picture.codec_context.color_trc = _BT709
                        if codec == "libx264":
                            picture.options = {"preset": "veryfast", "crf": "20"}
                        if with_sound:
                            voice = out.add_stream("aac", rate=SOUND_RATE, layout="stereo")
                    at = begin + max(0.0, second - clip.start_s)
                    shot = _shot(_fitted(rgb, canvas))
                    shot.pts = round(at / _CLOCK)
                    out.mux(picture.encode(shot))
                    end = min(at + frame_s, begin + clip.end_s - clip.start_s)
                if shot is not None:  # the last frame stays on screen to the end
                    full_end = begin + min(clip.end_s, video.duration()[0]) - clip.start_s
                    if full_end > end + 0.5 * frame_s:
                        end = full_end
                        shot.pts = round(max(end - frame_s, at + 0.001) / _CLOCK)
                        out.mux(picture.encode(shot))
            if end == begin:
                raise MediaError("there is nothing to cut there; the video ends before", "damaged")
            if voice is not None:
                _encode_sound(out, voice, clip, begin, end - begin)
            spans.append((begin, end))
            begin = end
        out.mux(picture.encode())
        if voice is not None:
            out.mux(voice.encode())
    return spans


def _shot(rgb: np.ndarray) -> Any:
    """The frame for an encoder, in BT.709, which the file declares."""
    import av

    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    shot = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=1, threads=1)
    shot.time_base = _CLOCK
    return shot


def _fitted(rgb: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """The frame on a black canvas (width, height), as large as it fits."""
    from PIL import Image

    width, height = canvas
    if rgb.shape[:2] == (height, width):
        return rgb
    if abs(rgb.shape[1] - width) <= 1 and abs(rgb.shape[0] - height) <= 1:
        return np.ascontiguousarray(rgb[:height, :width])
    image = Image.fromarray(rgb)
    scale = min(width / image.width, height / image.height)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    framed = Image.new("RGB", canvas)
    framed.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return np.asarray(framed)


def _encode_recordings(clips: Sequence[Cut], target: Path) -> list[tuple[float, float]]:
    import av

    spans: list[tuple[float, float]] = []
    begin = 0.0
    with av.open(os.fspath(target), "w", options={"movflags": "+faststart"}) as out:
        voice = out.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        for clip in clips:
            with open_clock(clip.path) as clock:
                length = min(clip.end_s, clock.duration()[0]) - clip.start_s
            if length <= 0:
                raise MediaError("there is nothing to cut there; the recording ends before", "damaged")
            _encode_sound(out, voice, clip, begin, length)
            spans.append((begin, begin + length))
            begin += length
        out.mux(voice.encode())
    return spans


def _has_sound(path: Path) -> bool:
    with open_video(path) as video:
        return bool(video.container.streams.audio)


def _encode_sound(out: Any, voice: Any, clip: Cut, begin: float, length: float) -> None:
    """Encodes exactly `length` seconds of the clip's sound, cut off or padded with silence."""
    import av

    remaining = round((begin + length) * SOUND_RATE) - round(begin * SOUND_RATE)
    at = round(begin * SOUND_RATE)

    def put(samples: np.ndarray) -> None:
        nonlocal remaining, at
        samples = samples[:, :remaining]
        if samples.shape[1]:
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
            block.sample_rate, block.pts, block.time_base = SOUND_RATE, at, Fraction(1, SOUND_RATE)
            out.mux(voice.encode(block))
            remaining -= samples.shape[1]
            at += samples.shape[1]

    with open_clock(clip.path) as clock:
        for samples in clock.sound_between(clip.start_s, clip.start_s + length, SOUND_RATE):
            if remaining <= 0:
                break
            put(samples)
    while remaining > 0:
        put(np.zeros((2, min(remaining, SOUND_RATE)), dtype=np.float32))
