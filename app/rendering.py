"""What the page shows of a file, made in the sandbox's child processes: page images, text layers, clips.

Built around plain functions of a path, picklable in and out, so that `data.media.sandbox` can run them
where a crash costs one answer. Knows nothing of the web; imports no web library (a child starts fast).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WEB_SIDE = 2048
"""Longest side in pixels of an image made for the viewer when the browser cannot show the original."""


def page_webp(path: Path, page: int, width: int) -> bytes:
    """WebP of page `page` (from 1), its longest side at most `width` pixels."""
    from data.media.pdf import page_image

    return _webp(page_image(path, page, max_side=width))


def page_layer(path: Path, page: int, words: Sequence[str]) -> dict[str, Any]:
    """The words of a page with their boxes, and the boxes of those asked for, relative to the page (0..1)."""
    from data.media.pdf import find_words, page_count, page_words

    return {
        "page": page,
        "pages": page_count(path),
        "words": [[*(round(v, 5) for v in row[:4]), row[4]] for row in page_words(path, page)],
        "marks": [[round(v, 5) for v in box] for box in find_words(path, page, words)] if words else [],
    }


def image_webp(path: Path, max_side: int = WEB_SIDE) -> bytes:
    """WebP of an image that a browser cannot show itself (HEIC, TIFF)."""
    from data.media.image import read_image

    return _webp(read_image(path, max_side=max_side))


def _webp(array: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "WEBP", quality=86, method=2)
    return buffer.getvalue()


def cut_clip(path: Path, start_s: float, end_s: float, target: Path, exact: bool) -> tuple[float, float]:
    """Write [start_s, end_s) of a video to `target` as MP4; the seconds that it really spans.

    A stream copy begins at the keyframe at or before `start_s` (no quality lost, no time spent);
    `exact` decodes and encodes again as H.264/AAC and begins at the second.
    """
    import av

    with av.open(str(path)) as source, av.open(str(target), "w", format="mp4") as out:
        if exact:
            return _encode(source, out, start_s, end_s)
        return _copy(source, out, start_s, end_s)


def _copy(source: Any, out: Any, start_s: float, end_s: float) -> tuple[float, float]:
    video = source.streams.video[0]
    audio = source.streams.audio[0] if source.streams.audio else None
    chosen = [s for s in (video, audio) if s is not None]
    targets = {s.index: out.add_stream_from_template(s) for s in chosen}
    source.seek(int(start_s / video.time_base) + (video.start_time or 0), stream=video, backward=True)
    first: float | None = None
    last = start_s
    for packet in source.demux(chosen):
        if packet.dts is None:
            continue
        base = packet.stream.start_time or 0
        at = float((packet.pts if packet.pts is not None else packet.dts) - base) * float(packet.time_base)
        if packet.stream.index == video.index:
            if first is None:
                if not packet.is_keyframe:
                    continue
                first = at
            if at >= end_s and packet.is_keyframe:
                break
            if float(packet.dts - base) * float(packet.time_base) >= end_s:
                break
            last = max(last, at + float((packet.duration or 0) * packet.time_base))
        elif first is None or at < first or at >= end_s:
            continue
        shift = base + round((first or 0.0) / float(packet.time_base))
        packet.dts -= shift
        if packet.pts is not None:
            packet.pts -= shift
        packet.stream = targets[packet.stream.index]
        out.mux(packet)
    if first is None:
        raise ValueError(f"no frames between {start_s:.1f} s and {end_s:.1f} s")
    return first, last


def _encode(source: Any, out: Any, start_s: float, end_s: float) -> tuple[float, float]:
    from fractions import Fraction

    import av

    video = source.streams.video[0]
    audio = source.streams.audio[0] if source.streams.audio else None
    rate = video.average_rate or Fraction(25)
    target = out.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
    target.width, target.height = video.width // 2 * 2, video.height // 2 * 2
    target.pix_fmt = "yuv420p"
    target.time_base = Fraction(1, 90000)
    sound = out.add_stream("aac", rate=audio.rate) if audio else None
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=audio.rate) if audio else None
    source.seek(int(start_s / video.time_base) + (video.start_time or 0), stream=video, backward=True)
    chosen = [s for s in (video, audio) if s is not None]
    last, heard, done = start_s, 0, set()
    for packet in source.demux(chosen):
        for frame in packet.decode():
            at = float(frame.pts - (packet.stream.start_time or 0)) * float(packet.stream.time_base)
            if at >= end_s:
                done.add(packet.stream.index)
            if not start_s <= at < end_s:
                continue
            if packet.stream.index == video.index:
                frame = frame.reformat(target.width, target.height, "yuv420p")
                frame.pts, frame.time_base = round((at - start_s) * 90000), target.time_base
                frame.pict_type = 0
                last = at
                out.mux(target.encode(frame))
            elif resampler is not None and sound is not None:
                for part in resampler.resample(frame):
                    part.pts, part.time_base = heard, Fraction(1, part.sample_rate)
                    heard += part.samples
                    out.mux(sound.encode(part))
        if video.index in done:
            break
    out.mux(target.encode(None))
    if sound is not None:
        out.mux(sound.encode(None))
    return start_s, last
