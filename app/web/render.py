"""Page images, text layers and clips, made in the sandbox's child processes.

Built around plain functions of a path with plain results, so that `data.media.sandbox` can run them and a
crash costs one answer. Imports no web library, so that a child starts fast.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.media.kinds import Kind

WEB_SIDE = 2048
"""Longest side in pixels of an image made for a browser that cannot show the original."""
STRIP_FRAMES, STRIP_SIZE = 8, (120, 80)
"""Frames of a strip, and the width and height of each in pixels."""
PLAYED_SIDE = 1280
"""Longest side of a converted video: two cores encode it faster than it plays."""


def page_webp(path: Path, page: int, width: int, kind: Kind = "pdf") -> bytes:
    """WebP of page `page` (from 1) of a PDF or an image, its longest side at most `width` pixels."""
    if kind == "image":
        from data.media.image import read_image

        return _webp(read_image(path, max_side=width, page=page))
    from data.media.pdf import page_image

    return _webp(page_image(path, page, max_side=width))


def pdf_inside(path: Path, page: int) -> bytes:
    """The PDF inside a PDF that a page is of."""
    from data.media.pdf import part_of

    return part_of(path, page)


def page_layer(path: Path, page: int, words: Sequence[str]) -> dict[str, Any]:
    """The words of a page with their boxes, and the boxes of `words`, relative to the page (0..1)."""
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


def frames_webp(path: Path, seconds: Sequence[float], max_side: int) -> list[tuple[float, bytes]]:
    """(second, WebP) of the frames of a video that are on screen at the ascending `seconds`; without those after its
    end."""
    from data.media.frame_stream import open_video

    with open_video(path) as video:
        return [(second, _webp(picture)) for second, picture in video.frames_at(seconds, max_side)]


def strip_webp(path: Path, start_s: float, end_s: float) -> bytes:
    """WebP of STRIP_FRAMES frames of [start_s, end_s) of a video, beside each other."""
    import numpy as np
    from PIL import Image, ImageOps

    from data.media.video import sample_frames

    frames, times = sample_frames(path, start_s, end_s, STRIP_FRAMES, max_side=2 * max(STRIP_SIZE))
    places = np.linspace(start_s, end_s, STRIP_FRAMES, endpoint=False) + (end_s - start_s) / STRIP_FRAMES / 2
    shown = frames[np.maximum(np.searchsorted(times, places, "right") - 1, 0)]  # a frame may stay for several places
    return _webp(np.concatenate([np.asarray(ImageOps.fit(Image.fromarray(f), STRIP_SIZE)) for f in shown], axis=1))


def _webp(array: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "WEBP", quality=86, method=2)
    return buffer.getvalue()


def cut_clip(path: Path, start_s: float, end_s: float, target: Path, exact: bool) -> tuple[float, float]:
    """Write [start_s, end_s) of a video to `target` as MP4. Returns the seconds that the clip spans.

    A stream copy begins at the keyframe at or before `start_s` (fast, without loss); `exact` encodes again as
    H.264/AAC and begins at the second.
    """
    from data.media.clip import cut

    return cut(path, start_s, end_s, target, reencode=exact)


def play_stretch(path: Path, start_s: float, end_s: float, target: Path, inside: Path) -> tuple[float, float]:
    """Write [start_s, end_s) of a video, or of the video of a live photo, to `target` as an MP4 that every browser
    plays (H.264, AAC). A video inside a photo is copied to `inside` first."""
    from data.media.clip import Cut, join
    from data.media.kinds import kind_of

    video = _video_of(path, inside) if kind_of(path) == "image" else path
    ((_, length),) = join([Cut(video, start_s, end_s)], target, max_side=PLAYED_SIDE)
    return start_s, start_s + length


def streams(path: Path) -> dict[str, Any]:
    """The container and the codecs of a video or a recording."""
    from data.media.container import open_container, picture_stream

    with open_container(path, sound=True) as container:
        picture, sound = picture_stream(container), next(iter(container.streams.audio), None)
        rate = float(picture.average_rate) if picture is not None and picture.average_rate else None
        return {
            "container": container.format.long_name,
            "video": picture.codec_context.name if picture is not None and picture.codec_context else None,
            "fps": round(rate, 2) if rate else None,
            "audio": sound.codec_context.name if sound is not None and sound.codec_context else None,
        }


def _video_of(image: Path, inside: Path) -> Path:
    """The video of a live photo as a file: one that lies beside the image, else the one inside, copied to `inside`.
    Raises `MediaError`."""
    from data.media.kinds import MediaError
    from data.media.live import video_beside, video_inside

    beside = video_beside(image)
    if beside is not None:
        return beside
    place = video_inside(image)
    if place is None:
        raise MediaError("there is no video in this image, and none beside it any more", "gone")
    with inside.open("wb") as copy, image.open("rb") as source:
        source.seek(place[0])
        copy.write(source.read(place[1]))
    return inside
