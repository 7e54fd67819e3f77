"""Videos to frames: `probe`, `sample_frames` and `scene_cuts`, in front of two decoders.

Built around one idea: decode as little as possible and still return the right frame. Packets are read (which
is cheap), the packet shown at each asked second is found by its time stamp, and only its group of pictures is
decoded, from the keyframe on and without the frames that nothing refers to. That is exact under variable
frame rates, and several times faster than decoding through. PyAV (FFmpeg) does this; decord, where it is
installed, takes the dense reads on constant frame rates that it is faster at.

Knows nothing of windows or chunks: it is asked for seconds. Knows no tone mapping for HDR.
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
from data.media.dates import Taken
from data.media.frame_stream import VideoStream, open_clock, open_video
from data.media.kinds import MediaError
from data.media.metadata import NOTHING, Metadata, video_metadata
from data.media.screen import is_plain
from data.media.subtitles import text_tracks

Engine = Literal["auto", "pyav", "decord"]


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself, checked against what is really in the file.

    `duration_s` ends with the last picture or sound that is there; `width` and `height` are as shown (turned,
    square pixels); `rotation` is clockwise in degrees, already accounted for; `has_sound` and `has_subtitles` are
    true for tracks that can be decoded here, the latter into words; `caption` is what its tags say, a line each.
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
    """Open a video and look at its ends. Raises `MediaError` with a plain reason."""
    with open_video(path) as video:
        video.look()
        duration, truncated = video.duration()
        meta = video_metadata(
            video.container.metadata, video.stream.metadata, recorded=_recorded(path, video.container)
        )
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
            caption=caption_of_tags(video.container.metadata),
        )


def stated(path: Path) -> Metadata:
    """Returns what the tags of a film or a recording state, without a look at its pictures. Raises `MediaError`."""
    with open_container(path, sound=True) as container:
        stream = picture_stream(container) or sound_track(container)
        tags = stream.metadata if stream is not None else {}
        return video_metadata(container.metadata, tags, recorded=_recorded(path, container))


def _recorded(path: Path, container: Any) -> Taken | None:
    return recorded(path) if container.format.name == "mpegts" else None


def probe_sound(path: Path) -> VideoInfo:
    """The same of a recording without a picture; its size is 0 x 0. Raises `MediaError`."""
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
    """Frames spread evenly over [start_s, end_s): those on screen in the middle of `count` equal parts.

    Returns uint8 RGB [T, H, W, 3], upright, the longest side at most `max_side`, and float64 [T], the second
    at which each begins to be shown; 1 <= T <= count, in order, no frame twice. A keyframe within
    `tolerance_s` of the asked second is taken in its place, which is several times cheaper. Raises
    `MediaError` when the range holds no frame that can be decoded.
    """
    seconds = _even(start_s, end_s, count)
    with open_video(path, threads) as opened:
        if engine == "decord" or (engine == "auto" and _decord_is_better(opened, seconds, tolerance_s)):
            found = _decord_frames(path, opened, seconds, max_side, threads)
        else:
            found = opened.frames_at(seconds, max_side, tolerance_s)
        return _stacked(found, start_s, end_s)


def sample_open(
    opened: VideoStream, start_s: float, end_s: float, count: int, max_side: int | None, *, tolerance_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """`sample_frames` of a video that stays open, for one window after another."""
    seconds = _even(start_s, end_s, count)
    return _stacked(opened.frames_at(seconds, max_side, tolerance_s), start_s, end_s)


def _even(start_s: float, end_s: float, count: int) -> np.ndarray:
    if not (count >= 1 and end_s > start_s >= 0):
        raise ValueError(f"cannot take {count} frames of [{start_s}, {end_s})")
    return start_s + (np.arange(count) + 0.5) * (end_s - start_s) / count


def _stacked(found: Iterator[tuple[float, np.ndarray]], start_s: float, end_s: float) -> tuple[np.ndarray, np.ndarray]:
    frames: list[np.ndarray] = []
    times: list[float] = []
    for time_s, frame in found:
        if times and (time_s <= times[-1] or frame.shape != frames[0].shape):
            continue
        times.append(time_s)
        frames.append(frame)
    if not frames:
        raise MediaError(f"nothing between {_clock(start_s)} and {_clock(end_s)} can be decoded", "damaged")
    return np.stack(frames), np.asarray(times, dtype=np.float64)


def scene_cuts(path: Path, around: Sequence[float], within_s: float = 3.0, budget_pixels: float = 2e9) -> list[float]:
    """Seconds at which the picture changes at once, at most one near each of `around`, ascending.

    Cheap: keyframes near the second are compared by a histogram of their luminance (encoders put keyframes at
    cuts), and only where two neighbours differ are the frames between them looked at. `budget_pixels` bounds
    the work of very long or large videos by a count, not a clock, so that the same file always gives the same
    cuts: about 20 s of one core.
    """
    found: list[float] = []
    with open_video(path) as video:
        pixels = max(1, video.width * video.height)
        for second in around:
            if budget_pixels <= 0:
                break
            try:
                cut, looked_at = _cut_near(video, second, within_s)
            except MediaError:  # damaged there; the window's own frames will tell
                continue
            budget_pixels -= looked_at * pixels
            if cut is not None and (not found or cut > found[-1]):
                found.append(cut)
    return found


CUT_DISTANCE = 0.35  # share of the pixels that change their place in the histogram


def _cut_near(video: VideoStream, second: float, within_s: float) -> tuple[float | None, int]:
    """The strongest cut within reach of `second`, or None; and how many frames were decoded to say so."""
    looks = _keyframes_around(video, second, within_s)
    if len(looks) < 2:
        return None, 0
    looked = 2
    ends = [_look(video, key) for key in (looks[0], looks[-1])]
    if _distance(ends[0][1], ends[1][1]) < CUT_DISTANCE:
        return None, looked  # the same scene before and after
    inner = [_look(video, key) for key in looks[1:-1]]
    looked += len(inner)
    pairs = [(_distance(a[1], b[1]), a, b) for a, b in itertools.pairwise([ends[0], *inner, ends[1]])]
    best = max(pairs, key=lambda pair: pair[0])
    if best[0] < CUT_DISTANCE:
        return None, looked
    # The change lies between two looks: halve the span until one frame is left.
    (low, before), (high, after) = best[1], best[2]
    step = max(1.5 / (video.fps or 25.0), 1 / 60)
    while high - low > step:
        middle = video.frame_at((low + high) / 2)
        looked += 8
        if middle is None or not low < middle[0] < high:
            break
        histogram = _luminance(middle[1])
        early, late = _distance(before, histogram), _distance(histogram, after)
        if max(early, late) < CUT_DISTANCE:
            return None, looked  # a pan or a fade: there is no one moment
        if early < late:
            low, before = middle[0], histogram
        else:
            high, after = middle[0], histogram
    # A slow fade has no one moment at which the picture changes.
    sudden = _distance(before, after) >= CUT_DISTANCE and abs(high - second) <= within_s
    return (high if sudden else None), looked


def _keyframes_around(video: VideoStream, second: float, within_s: float) -> list[float]:
    """Seconds of the keyframes within reach, of the one before and of the one after; empty without an
    index."""
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
    found = video.frame_at(max(0.0, second), lone=True)
    if found is None:
        raise MediaError("the video is damaged; no picture in it can be decoded", "damaged")
    return found[0], _luminance(found[1])


def _luminance(frame: Any) -> np.ndarray:
    """Shares of 17 shades in each quarter of the picture, from its grey plane: float64 [4, 17].

    A pixel counts for the two shades nearest to it, so that a slow fade moves a little of it at a time.
    """
    grey = frame.to_ndarray(format="gray8", width=64, height=64)
    quarters = (grey[:32, :32], grey[:32, 32:], grey[32:, :32], grey[32:, 32:])
    return np.stack([_SHADES.T @ np.bincount(q.ravel(), minlength=256) / q.size for q in quarters])


_SHADES = np.clip(1 - np.abs(np.arange(256)[:, None] / 16 - np.arange(17)), 0, 1)  # [256, 17], rows sum to 1


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Half the L1 distance of the histograms: 0 for the same picture, 1 when no pixel keeps its shade."""
    return float(np.abs(a - b).sum() / 2 / len(a))


# decord


def _decord_frames(
    path: Path, video: VideoStream, seconds: Sequence[float] | np.ndarray, max_side: int | None, threads: int
) -> Iterator[tuple[float, np.ndarray]]:
    """The same frames by decord's frame numbers: right only where every frame lasts equally long."""
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
    """True for reads of every frame of a plain H.264 MP4 with a constant frame rate.

    There decord takes 0.75 of PyAV's CPU time; for windows of 8 frames it takes 1.6 times as much, for 150
    frames of 30 s about the same (720p, `python -m tests.bench.media`).
    """
    if tolerance_s > 0 or len(seconds) < 100 or video.codec != "h264" or not video.fps:
        return False
    stride = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
    plain = video.zero == 0 and (video.stream.sample_aspect_ratio or 1) == 1
    if stride * video.fps > 1.25 or not plain or "mp4" not in video.container.format.name:
        return False
    # decord knows no mirrors, no edit lists and no colours but those of BT.601.
    if not video.steady() or importlib.util.find_spec("decord") is None:
        return False
    return is_plain(video.look())


def _clock(second: float) -> str:
    return f"{int(second) // 60}:{int(second) % 60:02d}"
