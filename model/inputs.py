"""The input of every embedding model, `Input`, and a line of a transcript, `Cue`.

Built around NumPy arrays: readers (`data`) need to know no model, models need to know no file format.
It knows nothing of files, chunks or batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Role = Literal["query", "document"]
InputKind = Literal["text", "image", "video", "pdf"]


@dataclass(frozen=True, eq=False)
class Input:
    """One input to embed: text, images, the frames of a clip, or a mixture.

    `text`         query text, or a chunk's own text (PDF text layer, OCR).
    `images`       uint8 RGB arrays [H, W, 3].
    `video`        uint8 RGB frames [T, H, W, 3] in order of time.
    `instruction`  None: the model's default for the role and kind.
    `title`        the title of a page's document; None if it has none.
    """

    text: str | None = None
    images: tuple[np.ndarray, ...] = ()
    video: np.ndarray | None = None
    instruction: str | None = None
    role: Role = "document"
    kind: InputKind = "text"
    title: str | None = None


@dataclass(frozen=True)
class Cue:
    """A line of speech or subtitles, in the time span [start_s, end_s) in seconds."""

    start_s: float
    end_s: float
    text: str
