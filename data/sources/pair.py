"""A training pair: a query, its positive and its hard negatives, with the media still on disk.

Built around `Side`, one of the two things that a pair brings together: words, and at most one picture,
clip or page. A recipe's side is `exact`: its text is the whole prompt, pad token included, as the original
wrote it. A side of one's own collection is not: the model puts its own prompt around it, the same one that
`embed` uses. `load` opens the media; nothing here decodes, batches or knows a model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data.span import Span
from model.inputs import Input, InputKind, Role

IMAGE = "<|image_pad|>"
VIDEO = "<|video_pad|>"

MediaKind = Literal["image", "frames", "video", "page"]


class SourceError(Exception):
    """A source cannot be used. `str(error)` is one sentence for a person: what, which file, what to do."""


class MissingMedia(Exception):
    """One row's picture, clip or page is absent or unreadable; the row is skipped, counted and named."""


@dataclass(frozen=True)
class Media:
    """A picture, a folder of frames, a window of a video or a page of a PDF.

    `path` names it; `data` holds an image's bytes where a Parquet row carries them. Without a span it is the
    whole file.
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
        """What makes two media the same: the bytes where they are at hand, else the place."""
        if self.data is not None:
            return hashlib.blake2b(self.data, digest_size=16).digest()
        place = (self.kind, self.path, self.span.page, self.span.start_s, self.span.end_s)
        return "\0".join(map(str, place)).encode(errors="surrogateescape")


@dataclass(frozen=True)
class Side:
    """One side of a pair. `exact`: `text` is the whole prompt; else the model's own prompt goes around it."""

    text: str = ""
    media: Media | None = None
    exact: bool = False
    instruction: str | None = None
    role: Role = "document"
    looks_for: InputKind = "text"
    """For a text query: the kind of what it looks for, which words the model's prompt."""

    @property
    def key(self) -> int:
        """63 bits that name the content: equal sides have equal keys, in every process and every run."""
        digest = hashlib.blake2b(self.text.encode(errors="surrogateescape"), digest_size=8)
        digest.update(b"\0" + (self.instruction or "").encode())
        if self.media is not None:
            digest.update(self.media.identity)
        return int.from_bytes(digest.digest(), "little") >> 1


@dataclass(frozen=True)
class Pair:
    """A row of a source. `source` and `row` name it in logs and in the report of a failure."""

    query: Side
    positive: Side
    negatives: tuple[Side, ...] = ()
    source: str = ""
    row: int = -1


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
        """The side as any `Embedder` takes it. Pad tokens mean nothing outside the Qwen family and go."""
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
    """[T, H, W, 3]; a saved frame of another size than the first is resized to it."""
    from PIL import Image

    height, width = frames[0].shape[:2]
    same = [
        f if f.shape[:2] == (height, width) else np.asarray(Image.fromarray(f).resize((width, height))) for f in frames
    ]
    return np.stack(same)


PAGE_DPI = 300
PAGE_SIDE = 2048
"""Pages are drawn at 300 dpi, at most this long: nearly twice what the model's pixel limit leaves of A4."""


def load(side: Side, *, max_frames: int = 8) -> LoadedSide:
    """Open a side's media. Raises `MissingMedia` with the file's name and the reason.

    Images keep their size: the model's own resize is the only one, as in the original.
    """
    frames: tuple[np.ndarray, ...] = ()
    kind: InputKind = "text"
    if side.media is not None:
        from data.media.kinds import MediaError

        try:
            frames = tuple(_frames(side.media, max_frames))
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


def _frames(media: Media, max_frames: int) -> Sequence[np.ndarray]:
    path = Path(media.path)
    if media.kind == "image":
        from data.media.image import read_image

        return [read_image(media.data if media.data is not None else path)]
    if media.kind == "frames":
        from data.media.image import read_image

        return [read_image(file) for file in choose_frames(path, max_frames)]
    if media.kind == "page":
        from data.media.pdf import page_image

        return [page_image(path, media.span.page or 1, max_side=PAGE_SIDE, max_dpi=PAGE_DPI)]
    from data.media.video import probe, sample_frames

    start_s, end_s = media.span.start_s or 0.0, media.span.end_s
    end_s = probe(path).duration_s if end_s is None else end_s
    frames, _ = sample_frames(path, start_s, end_s, count=max_frames, max_side=PAGE_SIDE)
    return list(frames)


def choose_frames(folder: Path, count: int) -> list[Path]:
    """Saved frames of a clip, evenly spread, first and last included: the benchmark's rule.

    Natural order of names; indices linspace(0, n-1, count) cut to int; all of them when there are fewer.
    """
    files = sorted((f for f in folder.iterdir() if f.suffix.lower() in _FRAME_SUFFIXES), key=_natural)
    if not files:
        raise FileNotFoundError(f"no frames in {folder}")
    if len(files) < count:
        return files
    return [files[i] for i in np.linspace(0, len(files) - 1, count).astype(int)]


_FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """`c01_2` before `c01_10`."""
    import re

    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name)]
