"""Re-ranking: the first pages of an answer in the order of a late-interaction model.

Built around `Reranker.order`, which renders the first `PAGES` pages of a ranking, compares them with the words of the
query by MaxSim and deals the pages anew over the places that pages have. Images, videos and later pages stay where they
are, and so does the line of relevance. It knows nothing of how the ranking came about.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache

from data.media.kinds import MediaError
from data.media.sandbox import Sandbox, SandboxError
from indexer.errors import LibraryError
from indexer.search.ranking import Ranked
from model.embedder import ModelError

if TYPE_CHECKING:
    from model.late_interaction import LateInteractionModel

PAGES = 50
"""Pages that are compared. Under ColPali a page is 1,030 tokens through 2.9 billion weights, 6 TFLOP. By arithmetic, 50
pages take a second on a card that does 300 TFLOP/s, and an hour on two cores that do 80 GFLOP/s."""
PAGES_CACHED = 400
"""Pages whose vectors stay in memory, 264 kB each."""
SIDE = 1280
"""The longest side of a rendered page in pixels; the model's processor shrinks it as it needs."""
RENDER_S = 60.0


class Reranker:
    """Safe to use from many threads, one query at a time."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._models: dict[str, LateInteractionModel] = {}
        self._pages: LRUCache[tuple[str, int, bytes], np.ndarray] = LRUCache(PAGES_CACHED)
        self._lock = threading.Lock()

    def order(self, name: str, text: str, ranking: Sequence[Ranked]) -> list[Ranked]:
        """Returns the ranking with its first `PAGES` pages in a new order. Pages that cannot be rendered follow the
        others. A place keeps its score and its side of the line. Raises `LibraryError` if the model cannot be used.
        """
        from model.late_interaction import load_late_interaction, max_sim

        places = [n for n, place in enumerate(ranking) if place.fact.kind == "pdf"][:PAGES]
        if not places:
            return list(ranking)
        with self._lock:
            try:
                model = self._models.get(name) or load_late_interaction(name)
                self._models[name] = model
                vectors = self._vectors(model, [ranking[n] for n in places])
                (query,) = model.embed_queries([text])
            except ModelError as error:
                raise LibraryError(str(error)) from error
        scores = np.full(len(places), -np.inf, np.float32)
        there = [n for n, page in enumerate(vectors) if page is not None]
        scores[there] = max_sim(query, [page for page in vectors if page is not None])
        result = list(ranking)
        for place, best in zip(places, np.argsort(-scores, kind="stable").tolist(), strict=True):
            page = ranking[places[best]]
            result[place] = page._replace(score=ranking[place].score, relevant=ranking[place].relevant)
        return result

    def _vectors(self, model: LateInteractionModel, pages: Sequence[Ranked]) -> list[np.ndarray | None]:
        """Returns the vectors of each page; None for one that cannot be rendered."""
        keys = [(model.id, page.fact.ordinal, page.fact.content) for page in pages]
        found: dict[tuple[str, int, bytes], np.ndarray] = {key: self._pages[key] for key in keys if key in self._pages}
        missing: dict[bytes, list[Ranked]] = defaultdict(list)
        for key, page in zip(keys, pages, strict=True):
            if key not in found:
                missing[page.fact.content].append(page)
        for content, those in missing.items():
            for ordinal, image in self._rendered(those):
                (vectors,) = model.embed_pages([image])
                found[model.id, ordinal, content] = self._pages[model.id, ordinal, content] = vectors
        return [found.get(key) for key in keys]

    def _rendered(self, pages: Sequence[Ranked]) -> list[tuple[int, np.ndarray]]:
        """Returns (ordinal, image) of pages of one content, of those that can be rendered."""
        from data import reader

        specs = [reader.ChunkSpec(page.fact.ordinal, page.fact.span) for page in pages]
        for file in pages[0].fact.files:
            try:
                job = self._sandbox.submit(
                    reader.decode, Path(file.path), "pdf", specs, max_side=SIDE, timeout_s=RENDER_S, urgent=True
                )
                return [(chunk.spec.ordinal, chunk.frames[0]) for chunk in job.result()]
            except (MediaError, SandboxError):
                continue  # another copy may be readable
        return []
