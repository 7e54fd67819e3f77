"""Questions about an image, a film or a PDF, answered by choosing among given answers.

Built around the same embeddings as search, as the benchmark does it: the question with what is
shown asks, the answers are the documents. A film or a PDF answers with the piece that fits best.
It knows nothing of the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from indexer.errors import LibraryError
from indexer.search.searcher import Searcher
from model.inputs import Input


@dataclass(frozen=True)
class Choice:
    """`score` is an inner product: it orders the choices, and is no probability."""

    text: str
    score: float


def answer(searcher: Searcher, question: str, choices: Sequence[str], file: Path) -> list[Choice]:
    """The choices, the likeliest first. Raises LibraryError for a file that cannot be read."""
    if len(choices) < 2:
        raise LibraryError("Give at least two answers to choose from.")
    shown = searcher.inputs_of(file)
    asked = searcher.embedder.embed(
        [replace(piece, text=" ".join(t for t in (question, piece.text) if t)) for piece in shown]
    )
    offered = searcher.embedder.embed([Input(text=choice, role="document") for choice in choices])
    scores = (asked @ offered.T).max(axis=0)
    ranked = sorted(zip(choices, scores.tolist(), strict=True), key=lambda pair: -pair[1])
    return [Choice(text, round(score, 4)) for text, score in ranked]
