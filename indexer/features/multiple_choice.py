"""Multiple choice: a question about an image, a video or a PDF, and the choice that fits best.

Built around the embeddings of search, as in MMEB-V2: the question with a chunk of the file is the query, the
choices are the documents. The chunk that fits a choice best scores it. It knows nothing of the library.
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
    """A choice and its `score`: an inner product, not a probability."""

    text: str
    score: float


def answer(searcher: Searcher, question: str, choices: Sequence[str], file: Path) -> list[Choice]:
    """The choices, the likeliest first. Raises LibraryError if the file cannot be read."""
    if len(choices) < 2:
        raise LibraryError("Give at least two answers to choose from.")
    chunks = searcher.inputs_of(file)
    queries = [replace(chunk, text=" ".join(t for t in (question, chunk.text) if t)) for chunk in chunks]
    documents = [Input(text=choice, role="document") for choice in choices]
    scores = (searcher.embedder.embed(queries) @ searcher.embedder.embed(documents).T).max(axis=0)
    ranked = sorted(zip(choices, scores.tolist(), strict=True), key=lambda pair: -pair[1])
    return [Choice(text, round(score, 4)) for text, score in ranked]
