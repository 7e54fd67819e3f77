"""A file to chunks: `outline` lists them, `decode` reads their images and text, `to_input` makes model inputs.

Built around three small records that travel between processes: the indexer runs `outline` and `decode` in a
`data.media.sandbox.Sandbox`, so everything here is picklable and importing this module costs little. Knows
nothing of catalogues, and of models only their `Input`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.chunking import grid, snap_reach, windows
from data.media import image, live, pdf, subtitles, video
from data.media.frame_stream import VideoStream, open_video
from data.media.kinds import Kind, MediaError
from data.media.metadata import NOTHING, Metadata
from data.media.moving import best_of
from data.media.picture_hash import picture_hash
from data.media.sound_picture import sound_picture
from data.span import PdfPart, Span
from model.inputs import Cue

if TYPE_CHECKING:
    from PIL import Image

    from model.inputs import Input, Role

THUMBNAIL_SIDE = 384
# How far a keyframe may lie from the even position of a frame, as a share of the distance between two frames: it
# costs a quarter of the exact frame (720p H.264; `make bench-media`).
KEYFRAME_TOLERANCE = 0.25
CUT_OFF = "the end of the file is missing; copy it again from where it came"


@dataclass(frozen=True)
class ChunkSpec:
    """The part of a file that a chunk covers; `ordinal` counts from 0."""

    ordinal: int
    span: Span = Span()


@dataclass(frozen=True)
class Outline:
    """The content of a file before decoding.

    `width`      None for a PDF and for a recording: a video with sound and without frames.
    `metadata`   date, place and camera from the bytes; `data/copies.py` adds other sources.
    `has_sound`  a video has a sound track that can be read (`data.media.sound`).
    `cues`       the subtitles of a video, from a file beside it or a track inside, by start.
    `caption`    what people wrote into the file, one fact per line, at most 2,000 characters.
    `note`       a fault of a file that can still be displayed, for its owner; None without one.
    `other_half` the video beside a live photo, or the live photo beside a video; None without one.
    `is_live`    an image has a video, inside or beside it.
    `parts`      the PDFs inside a PDF; their pages follow its own.
    """

    kind: Kind
    chunks: tuple[ChunkSpec, ...]
    duration_s: float | None = None
    pages: int | None = None
    width: int | None = None
    height: int | None = None
    metadata: Metadata = NOTHING
    has_sound: bool = False
    cues: tuple[Cue, ...] = ()
    caption: str = ""
    note: str | None = None
    other_half: Path | None = None
    is_live: bool = False
    parts: tuple[PdfPart, ...] = ()


@dataclass(frozen=True, eq=False)
class Chunk:
    """A decoded chunk.

    `frames`     uint8 RGB [T, H, W, 3]; T = 1 for an image and a page.
    `text`       the text of a PDF page, or the caption of an image (on its first page); empty for videos.
    `thumbnail`  WebP, the longest side 384, of the best frame; empty where none was asked for.
    `times`      float64 [T], the second of each frame; None for images and pages.
    `unread`     a page may need OCR (`data.media.pdf.Document.needs_ocr`).
    `note`       a fault of a file that can still be displayed, for its owner; None without one.
    `title`      of the document that a page is of; empty without one.
    `picture_hash` of an image with a thumbnail (`data.media.picture_hash`); empty for pages and videos.
    """

    spec: ChunkSpec
    frames: np.ndarray
    text: str = ""
    thumbnail: bytes = b""
    times: np.ndarray | None = None
    unread: bool = False
    note: str | None = None
    title: str = ""
    picture_hash: bytes = b""


def outline(path: Path, kind: Kind, *, window_s: float = 30.0, overlap_s: float = 0.0) -> Outline:
    """Returns the chunks of a file and its metadata. Raises `MediaError` with a plain reason."""
    if kind == "image":
        return _outline_of_image(path, image.inspect(path))
    if kind == "pdf":
        with pdf.open_pdf(path) as document:
            return Outline(
                kind="pdf",
                chunks=_pages(document.pages),
                pages=document.pages,
                metadata=Metadata(pdf.date_of(document)),
                caption=pdf.caption_of(document),
                note=document.note,
                parts=document.parts,
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
        metadata=info.metadata,
        has_sound=info.has_sound,
        cues=subtitles.words_of(path, info.duration_s, inside=info.has_subtitles),
        caption=info.caption,
        note=CUT_OFF if info.truncated else None,
        other_half=live.image_beside(path) if info.duration_s <= live.MOMENT_S else None,
    )


def outline_and_image(path: Path, max_side: int) -> tuple[Outline, list[Chunk]]:
    """Returns the outline of an image file and its first chunk, with a thumbnail, in one opening. Raises
    `MediaError`."""
    header, picture = image.inspect_and_read(path, max_side)
    outline = _outline_of_image(path, header)
    return outline, [_chunk_of_image(outline.chunks[0], picture, thumbnails=True)]


def _outline_of_image(path: Path, header: image.ImageInfo) -> Outline:
    other_half = live.video_beside(path)
    return Outline(
        kind="image",
        chunks=_pages(header.pages) if header.pages > 1 else (ChunkSpec(0),),
        pages=header.pages if header.pages > 1 else None,
        width=header.width,
        height=header.height,
        metadata=header.metadata,
        caption=header.caption,
        other_half=other_half,
        is_live=other_half is not None or (header.format in live.FORMATS and live.video_inside(path) is not None),
    )


def _pages(count: int) -> tuple[ChunkSpec, ...]:
    return tuple(ChunkSpec(i, Span(page=i + 1)) for i in range(count))


def decode(
    path: Path,
    kind: Kind,
    specs: Sequence[ChunkSpec],
    *,
    max_frames: int = 8,
    max_side: int = 1280,
    thumbnails: bool = False,
) -> list[Chunk]:
    """Decodes the chunks `specs` of one file, in order. `thumbnails`: with a thumbnail of each.

    Chunks that cannot be decoded are left out, so the result may be shorter than `specs`. Raises `MediaError` if
    no chunk can be decoded.
    """
    chunks: list[Chunk] = []
    fault: MediaError | None = None
    if kind == "image":
        for spec in specs:
            try:
                chunks.append(_image(path, spec, max_side, thumbnails))
            except MediaError as error:
                fault = error
    elif kind == "pdf":
        with pdf.open_pdf(path) as document:
            for spec in specs:
                try:
                    chunks.append(_page(document, spec, max_side, thumbnails))
                except MediaError as error:
                    fault = error
    else:
        with _open_video_or_recording(path) as opened_video:
            for spec in specs:
                try:
                    if opened_video is None:
                        chunks.append(_recording(path, spec, max_side, thumbnails))
                    else:
                        chunks.append(_window(opened_video, spec, max_frames, max_side, thumbnails))
                except MediaError as error:
                    fault = error
    if fault is not None and not chunks:
        raise fault
    return chunks


def to_input(chunk: Chunk, kind: Kind, role: Role = "document") -> Input:
    """Returns a model's input: the frames of a window, or an image or a page with its text."""
    from model.inputs import Input

    if kind == "video":
        return Input(video=chunk.frames, role=role, kind="video")
    return Input(chunk.text or None, (chunk.frames[0],), role=role, kind=kind, title=chunk.title or None)


def make_thumbnail(path: Path, kind: Kind, spec: ChunkSpec) -> bytes:
    """Returns the WebP thumbnail of a chunk, to rebuild a deleted cache. Raises `MediaError`."""
    chunks = decode(path, kind, (spec,), max_side=THUMBNAIL_SIDE, thumbnails=True)
    return chunks[0].thumbnail if chunks else b""


def _still(spec: ChunkSpec, picture: np.ndarray, text: str, thumbnails: bool) -> Chunk:
    return Chunk(spec, picture[None], text, to_webp(picture) if thumbnails else b"")


def _image(path: Path, spec: ChunkSpec, max_side: int, thumbnails: bool) -> Chunk:
    return _chunk_of_image(spec, image.read_picture(path, max_side, spec.span.page), thumbnails)


def _chunk_of_image(spec: ChunkSpec, picture: image.DecodedImage, thumbnails: bool) -> Chunk:
    text = picture.caption if spec.ordinal == 0 else ""
    chunk = Chunk(spec, picture.pixels[None], text, note=picture.note)
    if not thumbnails:
        return chunk
    small = _small(picture.pixels, THUMBNAIL_SIDE)
    return replace(chunk, thumbnail=_webp(small), picture_hash=b"" if spec.span.page else picture_hash(small))


def _page(document: pdf.Document, spec: ChunkSpec, max_side: int, thumbnails: bool) -> Chunk:
    page = pdf.require_page(document, spec.span.page)
    chunk = _still(spec, document.image(page, max_side), document.text(page), thumbnails)
    return replace(chunk, unread=document.needs_ocr(page), title=pdf.title_of(document, page))


def _window(opened: VideoStream, spec: ChunkSpec, max_frames: int, max_side: int, thumbnails: bool) -> Chunk:
    start, end = spec.span.seconds
    tolerance = KEYFRAME_TOLERANCE * (end - start) / max_frames
    frames, times = video.sample_open(opened, start, end, max_frames, max_side, tolerance_s=tolerance)
    return Chunk(spec, frames, "", to_webp(frames[best_of(frames)]) if thumbnails else b"", times)


@contextmanager
def _open_video_or_recording(path: Path) -> Iterator[VideoStream | None]:
    """Opens a video; yields None for a recording without frames. Raises `MediaError`."""
    with ExitStack() as stack:
        opened = None
        try:
            opened = stack.enter_context(open_video(path))
        except MediaError as error:
            if error.cause != "nothing to see":
                raise
        yield opened


def _recording(path: Path, spec: ChunkSpec, max_side: int, thumbnails: bool) -> Chunk:
    start, end = spec.span.seconds
    picture = sound_picture(path, start, end, max_side)
    return replace(_still(spec, picture, "", thumbnails), times=np.array([start]))


def to_webp(picture: np.ndarray, max_side: int = THUMBNAIL_SIDE) -> bytes:
    """Returns an image, uint8 RGB [H, W, 3], as WebP, its longest side at most `max_side`."""
    return _webp(_small(picture, max_side))


def _small(picture: np.ndarray, max_side: int) -> Image.Image:
    from PIL import Image

    small = Image.fromarray(picture)
    scale = max_side / max(small.size)
    if scale < 1:
        size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
        small = small.resize(size, Image.Resampling.HAMMING, reducing_gap=1.0)
    return small


def _webp(small: Image.Image) -> bytes:
    out = io.BytesIO()
    small.save(out, "WEBP", quality=78, method=0)  # method 1: a fifth more time, 4 % fewer bytes
    return out.getvalue()
