"""The interface of every embedding model.

Built around `Embedder`, which turns `Input`s into unit vectors in one space. It knows nothing of files, libraries or
indexes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from model.inputs import Input, InputKind, Role

if TYPE_CHECKING:
    import numpy as np


class ModelError(Exception):
    """A model cannot be loaded or used. The message is for the user."""


class ModelAway(ModelError):
    """A model on another machine does not answer. A later attempt may succeed."""


class InputRejected(Exception):
    """A working model rejects this input. The message is the reason."""


SIDE: dict[InputKind, int] = {"image": 1280, "pdf": 1280, "video": 640}
"""Longest side in pixels of decoded images, pages and frames, for a model that does not say what it uses."""


def side_for(embedder: Embedder, kind: InputKind, role: Role = "document") -> int:
    """Returns the longest side in pixels to which images, pages or frames are decoded for a model. One for what is
    indexed and what is searched with, on this machine and on another: the same file has the same vector. Only where a
    model reads the words of a picture that is searched with, that is larger (`query_side`)."""
    if role == "query" and kind != "video" and hasattr(embedder, "query_side"):
        return int(embedder.query_side)
    if kind == "image":
        return int(getattr(embedder, "max_side", SIDE[kind]))
    own = getattr(embedder, "page_side" if kind == "pdf" else "frame_side", None)
    return int(own or min(getattr(embedder, "max_side", SIDE[kind]), SIDE[kind]))


def first_line(error: BaseException) -> str:
    """Returns the first line of a library's error, at most 200 characters, for the message of a `ModelError`."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Returns float [n, dim]: the rows scaled to unit length; a row of zeros stays."""
    import numpy as np

    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


@runtime_checkable
class Embedder(Protocol):
    """Turns inputs into unit vectors.

    `id`          name, weights fingerprint and recipe version: `lite@1f3a…-r1`.
                  Vectors of two ids never mix.
    `dim`         the dimension of a vector.
    `max_frames`  the number of frames of a video window that the model uses.

    An embedder may also have `profile`, its own `RankingProfile`, `max_side`, the longest side in pixels of an image
    that the model uses, `page_side` and `frame_side`, the same for pages and for frames, `query_side`, that of a
    picture that is searched with (`side_for`), `is_thread_safe`, True if `embed` may run in several threads at a time,
    `familiarity`, how well the model knows in pictures what text queries [q, dim] ask for, [q], and `is_word`, whether
    a text in lower case is a word that the model knows whole.
    """

    id: str
    dim: int
    max_frames: int

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """Returns float32 [len(inputs), dim]; rows of unit length, in the order of `inputs`."""
        ...
