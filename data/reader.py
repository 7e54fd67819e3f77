"""A file to chunks: `outline` says what there is, `decode` fetches pictures and text, `to_input` hands them
on.

Built around three small records that travel between processes: the indexer runs `outline` and `decode` in a
`data.media.sandbox.Sandbox`, so everything here is picklable and importing this module costs little. Knows
nothing of catalogues and of models beyond the `Input` they take.
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
from data.media.kinds import Kind, MediaError
from data.media.metadata import NOTHING, Metadata
from data.media.moving import most_telling
from data.media.sound_picture import sound_picture
from data.span import Span

if TYPE_CHECKING:
    from model.inputs import Cue, Input, Role

THUMBNAIL_SIDE = 384
# How far a frame may lie from its even place in the window, as a share of the distance between two frames,
# when a keyframe is there: it costs a quarter of the exact one (720p H.264; `make bench-media`).
KEYFRAME_TOLERANCE = 0.25
CUT_OFF = "the end of the file is missing; copy it again from where it came"


@dataclass(frozen=True)
class ChunkSpec:
    """Which part of a file a chunk is: the `ordinal`-th from 0, and where it lies."""

    ordinal: int
    span: Span = Span()


@dataclass(frozen=True)
class Outline:
    """What a file holds, before anything is decoded for good.

    `width`      None for a PDF and for a recording without a picture: a video that has sound and no frames.
    `metadata`   when, where and with what it was taken, as its bytes state it; `data/copies.py` knows more.
    `has_sound`  a video has a sound track that can be read (`data.media.sound`).
    `cues`       the words shown with a video, from a file beside it or a track inside, by their start.
    `caption`    what people wrote into the file about the whole of it, a line each, at most 2,000 characters.
    `note`       what is wrong with the file though it can be shown, for its owner; None if nothing is.
    `other_half` the film of a live photo, the live photo of a film, beside it; None if there is none.
    `is_live`    an image has a film, inside or beside it.
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


@dataclass(frozen=True, eq=False)
class Chunk:
    """A decoded chunk.

    `frames`     uint8 RGB [T, H, W, 3]; T = 1 for an image and a page.
    `text`       the page's text layer, the words in an image (on its first page); empty for
                 videos.
    `thumbnail`  WebP, the longest side 384, of the frame that tells most.
    `times`      float64 [T], the second of each frame; None for images and pages.
    `unread`     words of a page may stand in its picture alone (`data.media.pdf.Document.is_unread`).
    `note`       what is wrong with the file though it can be shown, for its owner; None if nothing is.
    """

    spec: ChunkSpec
    frames: np.ndarray
    text: str = ""
    thumbnail: bytes = b""
    times: np.ndarray | None = None
    unread: bool = False
    note: str | None = None


def outline(path: Path, kind: Kind, *, window_s: float = 30.0, overlap_s: float = 0.0) -> Outline:
    """The chunks of a file and what its metadata says. Raises `MediaError` with a plain reason."""
    if kind == "image":
        header = image.inspect(path)
        film = live.film_beside(path)
        return Outline(
            kind="image",
            chunks=_pages(header.pages) if header.pages > 1 else (ChunkSpec(0),),
            pages=header.pages if header.pages > 1 else None,
            width=header.width,
            height=header.height,
            metadata=header.metadata,
            caption=header.caption,
            other_half=film,
            is_live=film is not None or live.film_inside(path) is not None,
        )
    if kind == "pdf":
        with pdf.open_pdf(path) as document:
            return Outline(
                kind="pdf",
                chunks=_pages(document.pages),
                pages=document.pages,
                metadata=Metadata(pdf.date_of(document)),
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
        metadata=info.metadata,
        has_sound=info.has_sound,
        cues=subtitles.words_of(path, info.duration_s, inside=info.has_subtitles),
        caption=info.caption,
        note=CUT_OFF if info.truncated else None,
        other_half=live.picture_beside(path) if info.duration_s <= live.MOMENT_S else None,
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
        with _opened_film(path) as opened:
            for spec in specs:
                try:
                    if opened is None:
                        found.append(_recording(path, spec, max_side))
                    else:
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
    found = _still(spec, document.image(page, max_side), document.text(page))
    return replace(found, unread=document.is_unread(page))


def _window(opened: video.VideoStream, spec: ChunkSpec, max_frames: int, max_side: int) -> Chunk:
    start, end = spec.span.seconds
    tolerance = KEYFRAME_TOLERANCE * (end - start) / max_frames
    frames, times = video.sample_open(opened, start, end, max_frames, max_side, tolerance_s=tolerance)
    return Chunk(spec, frames, "", to_webp(frames[most_telling(frames)]), times)


@contextmanager
def _opened_film(path: Path) -> Iterator[video.VideoStream | None]:
    """The film, or None for a recording without a picture. Raises `MediaError`."""
    with ExitStack() as stack:
        opened = None
        try:
            opened = stack.enter_context(video.open_video(path))
        except MediaError as error:
            if error.cause != "nothing to see":
                raise
        yield opened


def _recording(path: Path, spec: ChunkSpec, max_side: int) -> Chunk:
    start, end = spec.span.seconds
    return replace(_still(spec, sound_picture(path, start, end, max_side)), times=np.array([start]))


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
