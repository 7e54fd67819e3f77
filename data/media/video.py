"""Videos to frames: `probe`, `sample_frames` and `scene_cuts`, over two decoders.

Built around one idea: decode as little as possible and still return the right frame. For each requested second
the time stamps of packets (cheap to read) select the frame, and only its group of pictures is decoded, without
unreferenced frames. This is exact for variable frame rates and several times faster than decoding everything.
PyAV (FFmpeg) does this; decord, if installed, does the dense reads of constant frame rates that it is faster at.

Knows nothing of windows or chunks, only of seconds.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data.media.avchd import recorded
from data.media.captions import caption_of_tags
from data.media.container import open_container, picture_stream, sound_track
from data.media.dates import Taken, taken
from data.media.frame_stream import VideoStream, open_clock, open_video
from data.media.kinds import MediaError
from data.media.metadata import NOTHING, Metadata, video_metadata
from data.media.screen import is_plain
from data.media.subtitles import text_tracks
from data.media.xmp import VideoText, text_of_video

Engine = Literal["auto", "pyav", "decord"]


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video, checked against its packets.

    `duration_s` ends with the last frame or sound in the file; `width` and `height` are as displayed (rotated,
    square pixels); `rotation` is clockwise in degrees and already applied to them; `has_sound` and `has_subtitles`
    are true for tracks that can be decoded here, subtitles to text; `caption` is the text of its tags, one per
    line.
    """

    duration_s: float
    width: int
    height: int
    fps: float
    codec: str
    rotation: int
    metadata: Metadata = NOTHING
    truncated: bool = False
    has_sound: bool = False
    has_subtitles: bool = False
    caption: str = ""


def probe(path: Path) -> VideoInfo:
    """Returns the properties of a video. Raises `MediaError`."""
    with open_video(path) as video:
        video.look()
        duration, truncated = video.duration()
        text = text_of_video(path)
        recorded_at = _recorded(path, video.container, text)
        meta = video_metadata(video.container.metadata, video.stream.metadata, recorded=recorded_at, packet=text.packet)
        width, height = video.shown_size()
        return VideoInfo(
            duration_s=duration,
            width=width,
            height=height,
            fps=video.fps,
            codec=video.codec,
            rotation=video.rotation,
            metadata=meta,
            truncated=truncated,
            has_sound=sound_track(video.container) is not None,
            has_subtitles=bool(text_tracks(video.container)),
            caption=caption_of_tags(video.container.metadata, text.packet),
        )


def tag_metadata(path: Path) -> Metadata:
    """Returns the metadata in the tags of a video or a recording, without decoding. Raises `MediaError`."""
    with open_container(path, sound=True) as container:
        stream = picture_stream(container) or sound_track(container)
        tags = stream.metadata if stream is not None else {}
        text = text_of_video(path)
        recorded_at = _recorded(path, container, text)
        return video_metadata(container.metadata, tags, recorded=recorded_at, packet=text.packet)


def _recorded(path: Path, container: Any, text: VideoText) -> Taken | None:
    """The date that is not among the container's tags: of an AVCHD camcorder, or QuickTime's "date"."""
    return recorded(path) if container.format.name == "mpegts" else taken(text.date, "film")


def probe_sound(path: Path) -> VideoInfo:
    """Returns the properties of a recording without a video stream; its size is 0 x 0. Raises `MediaError`."""
    with open_clock(path) as clock:
        track = sound_track(clock.container)
        if track is None:
            raise MediaError("there is no picture in the file, and no sound", "nothing to see")
        meta = video_metadata(clock.container.metadata, track.metadata)
        duration, truncated = clock.duration()
        return VideoInfo(
            duration_s=duration,
            width=0,
            height=0,
            fps=0.0,
            codec=track.codec_context.name,
            rotation=0,
            metadata=meta,
            truncated=truncated,
            has_sound=True,
            caption=caption_of_tags({**track.metadata, **clock.container.metadata}),
        )


def sample_frames(
    path: Path,
    start_s: float,
    end_s: float,
    count: int = 8,
    max_side: int | None = None,
    *,
    tolerance_s: float = 0.0,
    engine: Engine = "auto",
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples frames evenly over [start_s, end_s): those on screen in the middle of `count` equal parts.

    Returns uint8 RGB [T, H, W, 3], upright, the longest side at most `max_side`, and float64 [T], the second
    at which each frame begins; 1 <= T <= count, in order, no frame twice. A keyframe within `tolerance_s` of a
    second replaces the exact frame, which is several times cheaper. Raises `MediaError` if no frame in the range
    can be decoded.
    """
    seconds = _even(start_s, end_s, count)
    with open_video(path, threads) as video:
        if engine == "decord" or (engine == "auto" and _decord_is_better(video, seconds, tolerance_s)):
            pairs = _decord_frames(path, video, seconds, max_side, threads)
        else:
            pairs = video.frames_at(seconds, max_side, tolerance_s)
        return _stack(pairs, start_s, end_s)


def frame_seconds(path: Path) -> list[float]:
    """Returns the second of each frame in order of display, by the packets, without decoding. Raises `MediaError`."""
    with open_video(path) as video:
        stamps = {packet.pts for packet in video.packets(video.stream) if packet.pts is not None}
        return [video.second(stamp) for stamp in sorted(stamps)]


def frames_at(path: Path, seconds: Sequence[float]) -> np.ndarray:
    """Returns the frames on screen at ascending `seconds`, uint8 RGB [T, H, W, 3], upright; T is less where one cannot
    be decoded. Raises `MediaError` if none can."""
    with open_video(path) as video:
        return _stack(video.frames_at(seconds, None), seconds[0], seconds[-1])[0]


def sample_open(
    video: VideoStream, start_s: float, end_s: float, count: int, max_side: int | None, *, tolerance_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Like `sample_frames` for a video that stays open for many windows."""
    seconds = _even(start_s, end_s, count)
    return _stack(video.frames_at(seconds, max_side, tolerance_s), start_s, end_s)


def _even(start_s: float, end_s: float, count: int) -> np.ndarray:
    if not (count >= 1 and end_s > start_s >= 0):
        raise ValueError(f"cannot take {count} frames of [{start_s}, {end_s})")
    return start_s + (np.arange(count) + 0.5) * (end_s - start_s) / count


def _stack(pairs: Iterator[tuple[float, np.ndarray]], start_s: float, end_s: float) -> tuple[np.ndarray, np.ndarray]:
    frames: list[np.ndarray] = []
    times: list[float] = []
    for time_s, frame in pairs:
        if times and (time_s <= times[-1] or frame.shape != frames[0].shape):
            continue
        times.append(time_s)
        frames.append(frame)
    if not frames:
        raise MediaError(f"nothing between {_clock(start_s)} and {_clock(end_s)} can be decoded", "damaged")
    return np.stack(frames), np.asarray(times, dtype=np.float64)


def scene_cuts(path: Path, around: Sequence[float], within_s: float = 3.0, budget_pixels: float = 2e9) -> list[float]:
    """Returns the seconds of hard cuts, at most one near each of `around`, ascending.

    Cheap: keyframes near a second are compared by their luminance histograms (encoders put keyframes at cuts),
    and frames between two keyframes are decoded only if they differ. `budget_pixels` bounds the work for very
    long or large videos by a count, not a clock, so that a file always gives the same cuts: about 20 s of one
    core.
    """
    result: list[float] = []
    with open_video(path) as video:
        pixels = max(1, video.width * video.height)
        for second in around:
            if budget_pixels <= 0:
                break
            try:
                cut, decoded = _cut_near(video, second, within_s)
            except MediaError:  # damaged there; reading the window reports it
                continue
            budget_pixels -= decoded * pixels
            if cut is not None and (not result or cut > result[-1]):
                result.append(cut)
    return result


CUT_DISTANCE = 0.35  # share of the pixels that change their bin of the histogram


def _cut_near(video: VideoStream, second: float, within_s: float) -> tuple[float | None, int]:
    """The strongest cut within `within_s` of `second`, or None; and the number of decoded frames."""
    keyframes = _keyframes_around(video, second, within_s)
    if len(keyframes) < 2:
        return None, 0
    decoded = 2
    ends = [_look(video, key) for key in (keyframes[0], keyframes[-1])]
    if _distance(ends[0][1], ends[1][1]) < CUT_DISTANCE:
        return None, decoded  # the same scene before and after
    inner = [_look(video, key) for key in keyframes[1:-1]]
    decoded += len(inner)
    pairs = [(_distance(a[1], b[1]), a, b) for a, b in itertools.pairwise([ends[0], *inner, ends[1]])]
    best = max(pairs, key=lambda pair: pair[0])
    if best[0] < CUT_DISTANCE:
        return None, decoded
    # The cut lies between two keyframes: bisect down to one frame.
    (low, before), (high, after) = best[1], best[2]
    step = max(1.5 / (video.fps or 25.0), 1 / 60)
    while high - low > step:
        middle = video.frame_at((low + high) / 2)
        decoded += 8
        if middle is None or not low < middle[0] < high:
            break
        histogram = _luminance(middle[1])
        early, late = _distance(before, histogram), _distance(histogram, after)
        if max(early, late) < CUT_DISTANCE:
            return None, decoded  # a pan or a fade has no single moment
        if early < late:
            low, before = middle[0], histogram
        else:
            high, after = middle[0], histogram
    # A slow fade has no single moment of change.
    sudden = _distance(before, after) >= CUT_DISTANCE and abs(high - second) <= within_s
    return (high if sudden else None), decoded


def _keyframes_around(video: VideoStream, second: float, within_s: float) -> list[float]:
    """Seconds of the keyframes within reach, the one before and the one after; empty without an index."""
    at = video.keyframe_near(second - within_s)
    keys: list[float] = []
    while at is not None and len(keys) < 24:
        keys.append(at)
        if at >= second + within_s:
            break
        following = video.keyframe_near(at + 1e-3 + video.base, backward=False)
        at = following if following is not None and following > at else None
    return keys


def _look(video: VideoStream, second: float) -> tuple[float, np.ndarray]:
    result = video.frame_at(max(0.0, second), lone=True)
    if result is None:
        raise MediaError("the video is damaged; no picture in it can be decoded", "damaged")
    return result[0], _luminance(result[1])


def _luminance(frame: Any) -> np.ndarray:
    """The luminance histogram of each quarter of a frame: float64 [4, 17], rows sum to 1.

    A pixel counts for its two nearest bins, so that a slow fade changes the histogram gradually.
    """
    grey = frame.to_ndarray(format="gray8", width=64, height=64)
    quarters = (grey[:32, :32], grey[:32, 32:], grey[32:, :32], grey[32:, 32:])
    return np.stack([_SHADES.T @ np.bincount(q.ravel(), minlength=256) / q.size for q in quarters])


_SHADES = np.clip(1 - np.abs(np.arange(256)[:, None] / 16 - np.arange(17)), 0, 1)  # [256, 17], rows sum to 1


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Half the L1 distance of the histograms: 0 for equal frames, 1 if no pixel keeps its bin."""
    return float(np.abs(a - b).sum() / 2 / len(a))


# decord


def _decord_frames(
    path: Path, video: VideoStream, seconds: Sequence[float] | np.ndarray, max_side: int | None, threads: int
) -> Iterator[tuple[float, np.ndarray]]:
    """The same frames by decord's frame numbers: correct only for frames of equal duration."""
    import decord

    video.look()
    width, height = video.shown_size(max_side)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=width, height=height, num_threads=threads)
        numbers = np.clip(np.floor(np.asarray(seconds) * video.fps + 1e-4).astype(int), 0, len(reader) - 1)
        for number in numbers:
            yield float(number / video.fps), reader[int(number)].asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise MediaError("the video is damaged; decord could not read it", "damaged") from error


def _decord_is_better(video: VideoStream, seconds: Sequence[float] | np.ndarray, tolerance_s: float) -> bool:
    """Whether every frame of a plain H.264 MP4 with a constant frame rate is read.

    Then decord takes 0.75 of PyAV's CPU time; for windows of 8 frames it takes 1.6 times as much, for 150 frames
    of 30 s about the same (720p, `python -m tests.bench.media`).
    """
    if tolerance_s > 0 or len(seconds) < 100 or video.codec != "h264" or not video.fps:
        return False
    stride = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
    plain = video.zero == 0 and (video.stream.sample_aspect_ratio or 1) == 1
    if stride * video.fps > 1.25 or not plain or "mp4" not in video.container.format.name:
        return False
    # decord supports no mirrored frames, no edit lists and only BT.601 colours.
    if not video.steady() or importlib.util.find_spec("decord") is None:
        return False
    return is_plain(video.look())


def _clock(second: float) -> str:
    return f"{int(second) // 60}:{int(second) % 60:02d}"
