"""What every embedding model takes, one `Input` a thing to embed; and what is heard, one `Cue` a line.

Built around plain NumPy arrays, so that readers (`data`) can fill it without
knowing any model, and models can read it without knowing any file format.
It knows nothing of files, chunks or batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Role = Literal["query", "document"]
InputKind = Literal["text", "image", "video", "pdf"]


@dataclass(frozen=True, eq=False)
class Input:
    """One thing to embed: words, images or the frames of a clip, or a mixture.

    `text`         query text, or a chunk's own text (PDF text layer, OCR).
    `images`       uint8 RGB arrays [H, W, 3].
    `video`        uint8 RGB frames [T, H, W, 3] in order of time.
    `instruction`  None takes the model's default for the role and kind.
    `title`        of the document that a page is of; None if it has none.
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
    """A line of words and when it is said or shown: [start_s, end_s) in seconds."""

    start_s: float
    end_s: float
    text: str
