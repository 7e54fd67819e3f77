"""A file to chunks: `outline` says what there is, `decode` fetches pictures and text, `to_input` hands them
on.

Built around three small records that travel between processes: the indexer runs `outline` and `decode` in a
`data.media.sandbox.Sandbox`, so everything here is picklable and importing this module costs little. Knows
nothing of catalogues and of models beyond the `Input` they take.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.chunking import grid, snap_reach, windows
from data.media import image, pdf, subtitles, video
from data.media.kinds import Kind, MediaError
from data.media.moving import most_telling
from data.span import Span
from model.inputs import Cue

if TYPE_CHECKING:
    from model.inputs import Input, Role

LATE = (
    *("PIL.Image", "PIL.ImageOps", "PIL.ImageSequence", "PIL.ImageMath", "av", "av.subtitles.stream"),
    *("rawpy", "pillow_heif", "pylibjxl", "decord", "pymupdf", "tempfile"),
    *("data.media.image:_formats", "data.media.raw", "data.media.jxl"),
)
"""What the functions below import when they first need it; the sandbox does so before it hands out files."""
THUMBNAIL_SIDE = 384
# How far a frame may lie from its even place in the window, as a share of the distance between two frames,
# when a keyframe is there: it costs a quarter of the exact one (720p H.264; `make bench-media`).
KEYFRAME_TOLERANCE = 0.25


@dataclass(frozen=True)
class ChunkSpec:
    """Which part of a file a chunk is: the `ordinal`-th from 0, and where it lies."""

    ordinal: int
    span: Span = Span()


@dataclass(frozen=True)
class Outline:
    """What a file holds, before anything is decoded for good.

    `width`      None for a PDF and for a recording without a picture: a video that has sound and no frames.
    `taken_at`   UNIX seconds.
    `has_sound`  a video has a sound track that can be read (`data.media.sound`).
    `cues`       the words shown with a video, from a file beside it or a track inside, by their start.
    `caption`    what people wrote about the whole file, a line each, at most 2,000 characters.
    """

    kind: Kind
    chunks: tuple[ChunkSpec, ...]
    duration_s: float | None = None
    pages: int | None = None
    width: int | None = None
    height: int | None = None
    taken_at: float | None = None
    camera: str | None = None
    lat: float | None = None
    lon: float | None = None
    has_sound: bool = False
    cues: tuple[Cue, ...] = ()
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Chunk:
    """A decoded chunk.

    `frames`     uint8 RGB [T, H, W, 3]; T = 1 for an image and a page.
    `text`       the page's text layer, the words that come with an image (on its first page); empty for
                 videos.
    `thumbnail`  WebP, the longest side 384, of the frame that tells most.
    `times`      float64 [T], the second of each frame; None for images and pages.
    `note`       what is wrong with the file though it can be shown, for its owner; None if nothing is.
    """

    spec: ChunkSpec
    frames: np.ndarray
    text: str = ""
    thumbnail: bytes = b""
    times: np.ndarray | None = None
    note: str | None = None


def outline(path: Path, kind: Kind, *, window_s: float = 30.0, overlap_s: float = 0.0) -> Outline:
    """The chunks of a file and what its metadata says. Raises `MediaError` with a plain reason."""
    if kind == "image":
        header = image.inspect(path)
        meta = header.metadata
        return Outline(
            kind="image",
            chunks=_pages(header.pages) if header.pages > 1 else (ChunkSpec(0),),
            pages=header.pages if header.pages > 1 else None,
            width=header.width,
            height=header.height,
            taken_at=meta.taken_at,
            camera=meta.camera,
            lat=meta.lat,
            lon=meta.lon,
            caption=header.caption,
        )
    if kind == "pdf":
        with pdf.open_pdf(path) as document:
            return Outline(
                kind="pdf",
                chunks=_pages(document.pages),
                pages=document.pages,
                taken_at=pdf.date_of(document),
                caption=pdf.caption_of(document),
            )
    try:
        info = video.probe(path)
    except MediaError as error:
        if error.cause != "nothing to see":
            raise
        info = video.probe_sound(path)
    ends = grid(info.duration_s, window_s, overlap_s) if info.width else []
    cuts = video.scene_cuts(path, ends, snap_reach(window_s)) if ends else []
    spans = windows(info.duration_s, window_s, overlap_s, cuts=cuts)
    return Outline(
        kind="video",
        chunks=tuple(ChunkSpec(i, Span(start, end)) for i, (start, end) in enumerate(spans)),
        duration_s=info.duration_s,
        width=info.width or None,
        height=info.height or None,
        taken_at=info.created_at,
        camera=info.camera,
        lat=info.lat,
        lon=info.lon,
        has_sound=info.has_sound,
        cues=subtitles.words_of(path, info.duration_s, inside=info.has_subtitles),
        caption=info.caption,
    )


def _pages(count: int) -> tuple[ChunkSpec, ...]:
    return tuple(ChunkSpec(i, Span(page=i + 1)) for i in range(count))


def decode(
    path: Path, kind: Kind, specs: Sequence[ChunkSpec], *, max_frames: int = 8, max_side: int = 1280
) -> list[Chunk]:
    """The chunks of `specs` (of one file, in order): pictures, text, thumbnail. Holds those and no more.

    In a damaged file chunks that cannot be decoded are left out, so the answer may be shorter than `specs`;
    `MediaError` when none of them can.
    """
    found: list[Chunk] = []
    fault: MediaError | None = None
    if kind == "image":
        for spec in specs:
            try:
                found.append(_image(path, spec, max_side))
            except MediaError as error:
                fault = error
    elif kind == "pdf":
        with pdf.open_pdf(path) as document:
            for spec in specs:
                try:
                    found.append(_page(document, spec, max_side))
                except MediaError as error:
                    fault = error
    else:
        with video.open_video(path) as opened:
            for spec in specs:
                try:
                    found.append(_window(opened, spec, max_frames, max_side))
                except MediaError as error:
                    fault = error
    if fault is not None and not found:
        raise fault
    return found


def to_input(chunk: Chunk, kind: Kind, role: Role = "document") -> Input:
    """What a model takes: the frames of the window, or the image or the page with its text."""
    from model.inputs import Input

    if kind == "video":
        return Input(video=chunk.frames, role=role, kind="video")
    return Input(text=chunk.text or None, images=(chunk.frames[0],), role=role, kind=kind)


def make_thumbnail(path: Path, kind: Kind, spec: ChunkSpec) -> bytes:
    """The WebP thumbnail alone, for a cache that was deleted. Raises `MediaError`."""
    chunks = decode(path, kind, (spec,), max_side=THUMBNAIL_SIDE)
    return chunks[0].thumbnail if chunks else b""


def _still(spec: ChunkSpec, picture: np.ndarray, text: str = "") -> Chunk:
    return Chunk(spec, picture[None], text, to_webp(picture))


def _image(path: Path, spec: ChunkSpec, max_side: int) -> Chunk:
    found = image.read_picture(path, max_side, spec.span.page)
    text = found.caption if spec.ordinal == 0 else ""
    return replace(_still(spec, found.pixels, text), note=found.note)


def _page(document: pdf.Document, spec: ChunkSpec, max_side: int) -> Chunk:
    page = pdf.require_page(document, spec.span.page)
    return _still(spec, document.image(page, max_side), document.text(page))


def _window(opened: video.VideoStream, spec: ChunkSpec, max_frames: int, max_side: int) -> Chunk:
    start, end = spec.span.seconds
    tolerance = KEYFRAME_TOLERANCE * (end - start) / max_frames
    frames, times = video.sample_open(opened, start, end, max_frames, max_side, tolerance_s=tolerance)
    return Chunk(spec, frames, "", to_webp(frames[most_telling(frames)]), times)


def to_webp(picture: np.ndarray, max_side: int = THUMBNAIL_SIDE) -> bytes:
    """A picture [H, W, 3] as WebP, its longest side at most `max_side`."""
    from PIL import Image

    small = Image.fromarray(picture)
    scale = max_side / max(small.size)
    if scale < 1:
        size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
        small = small.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=78, method=2)
    return out.getvalue()
