"""A training pair: a query, its positive and its hard negatives, with the media still on disk.

Built around `Side`, one half of a pair: a text, and at most one image, clip or page. A side of the recipe is `exact`:
its text is the whole prompt of the original, pad token included. The model adds its own prompt to any other side, as
`embed` does. `load` decodes the media. It knows nothing of batches or models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data.mmeb.frame_indices import sample_indices
from data.mmeb.frames import natural
from data.mmeb.pixels import decode
from data.span import Span
from model.inputs import Input, InputKind, Role

IMAGE = "<|image_pad|>"
VIDEO = "<|video_pad|>"

MediaKind = Literal["image", "frames", "video", "page"]


class SourceError(Exception):
    """A source cannot be used. The message is for the user: what, which file, what to do."""


class MissingSubset(SourceError):
    """A subset of the recipe was not downloaded."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class MissingMedia(Exception):
    """The image, clip or page of a row is absent or unreadable. Training skips, counts and reports the row."""


@dataclass(frozen=True)
class Media:
    """An image, a folder of frames, a window of a video or a page of a PDF. Without a span it is the whole file.

    `data`: the bytes of an image inside a Parquet row, whose `path` is only a name.
    """

    kind: MediaKind
    path: str
    data: bytes | None = None
    span: Span = Span()

    @property
    def name(self) -> str:
        return self.path if self.span.page is None else f"{self.path} page {self.span.page}"

    @property
    def identity(self) -> bytes:
        """Equal for equal media: a hash of `data`, else the path and the span."""
        if self.data is not None:
            return hashlib.blake2b(self.data, digest_size=16).digest()
        fields = (self.kind, self.path, self.span.page, self.span.start_s, self.span.end_s)
        return "\0".join(map(str, fields)).encode(errors="surrogateescape")


@dataclass(frozen=True)
class Side:
    """One side of a pair. `exact`: `text` is the whole prompt; else the model adds its own prompt."""

    text: str = ""
    media: Media | None = None
    exact: bool = False
    instruction: str | None = None
    role: Role = "document"
    looks_for: InputKind = "text"
    """For a text query: the kind of its target, which selects the model's prompt."""

    @property
    def key(self) -> int:
        """A 63-bit hash of the content: equal sides have equal keys, in every process and every run."""
        digest = hashlib.blake2b(self.text.encode(errors="surrogateescape"), digest_size=8)
        digest.update(b"\0" + (self.instruction or "").encode())
        if self.media is not None:
            digest.update(self.media.identity)
        return int.from_bytes(digest.digest(), "little") >> 1


@dataclass(frozen=True)
class Pair:
    """A row of a source. `source` and `row` name it in logs and error messages.

    `scores`: a reranker's, of the positive and of each negative in order; empty if there are none.
    """

    query: Side
    positive: Side
    negatives: tuple[Side, ...] = ()
    source: str = ""
    row: int = -1
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class LoadedSide:
    """A side with its media decoded: `frames` uint8 RGB [H, W, 3], one for an image or a page."""

    text: str
    frames: tuple[np.ndarray, ...]
    kind: InputKind
    exact: bool
    instruction: str | None
    role: Role
    key: int

    def to_input(self) -> Input:
        """Returns the side as the input of any `Embedder`, without the pad tokens of the Qwen family."""
        text = self.text
        if self.exact:
            text = text.replace(IMAGE, "").replace(VIDEO, "").strip()
        return Input(
            text=text or None,
            images=self.frames if self.kind in ("image", "pdf") else (),
            video=stack_frames(self.frames) if self.kind == "video" and self.frames else None,
            instruction=self.instruction,
            role=self.role,
            kind=self.kind,
        )


def stack_frames(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Returns uint8 [T, H, W, 3]; every frame is resized to the size of the first."""
    from PIL import Image

    size = frames[0].shape[:2]
    return np.stack([f if f.shape[:2] == size else np.asarray(Image.fromarray(f).resize(size[::-1])) for f in frames])


PAGE_DPI = 300
PAGE_SIDE = 2048
"""Pages are rendered at 300 dpi with at most this long side, nearly twice A4 at the model's pixel limit."""


def load(side: Side, *, max_frames: int = 8) -> LoadedSide:
    """Decode a side's media. Raises `MissingMedia` with the file's name and the reason.

    Images keep their size: only the model resizes them, as in the original. Those of the recipe are decoded as in
    evaluation, a person's own as Sightline indexes them.
    """
    frames: tuple[np.ndarray, ...] = ()
    kind: InputKind = "text"
    if side.media is not None:
        from data.media.kinds import MediaError

        try:
            frames = tuple(_frames(side.media, max_frames, side.exact))
        except (MediaError, OSError) as error:
            raise MissingMedia(f"{side.media.name}: {error}") from error
        kind = "pdf" if side.looks_for == "pdf" else _INPUT_KIND[side.media.kind]
    elif side.role == "query":
        kind = side.looks_for
    return LoadedSide(
        text=side.text,
        frames=frames,
        kind=kind,
        exact=side.exact,
        instruction=side.instruction,
        role=side.role,
        key=side.key,
    )


_INPUT_KIND: dict[MediaKind, InputKind] = {"image": "image", "frames": "video", "video": "video", "page": "pdf"}


def _frames(media: Media, max_frames: int, exact: bool) -> Sequence[np.ndarray]:
    path = Path(media.path)
    if media.kind in ("image", "frames"):
        from data.media.image import read_image

        sources: Sequence[bytes | Path] = [media.data if media.data is not None else path]
        if media.kind == "frames":
            sources = choose_frames(path, max_frames)
        if not exact:
            return [read_image(source) for source in sources]
        return [decode(source if isinstance(source, bytes) else source.read_bytes()) for source in sources]
    if media.kind == "page":
        from data.media.pdf import page_image

        return [page_image(path, media.span.page or 1, max_side=PAGE_SIDE, max_dpi=PAGE_DPI)]
    from data.media.video import probe, sample_frames

    start_s, end_s = media.span.start_s or 0.0, media.span.end_s
    end_s = probe(path).duration_s if end_s is None else end_s
    frames, _ = sample_frames(path, start_s, end_s, count=max_frames, max_side=PAGE_SIDE)
    return list(frames)


def choose_frames(folder: Path, count: int) -> list[Path]:
    """Returns `count` saved frames of a clip, by the rule of `data.mmeb.frame_indices`; all if there are fewer."""
    files = [f for f in folder.iterdir() if f.suffix.lower() in _FRAME_SUFFIXES]
    if not files:
        raise FileNotFoundError(f"no frames in {folder}")
    files.sort(key=lambda file: natural(file.name))
    return [files[i] for i in sample_indices(len(files), count)]


_FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
