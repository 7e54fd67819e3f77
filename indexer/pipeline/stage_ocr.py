"""A second look, at the lowest priority: words in pictures (OCR), and the vectors that take them in.

Built around `model.ocr`, for photos and for pages whose text is in the picture. It knows
nothing of searching for words (`indexer/search/text_search.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.media.kinds import MediaError
from indexer.catalogue.rows import StoredChunk, Work
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.embed_checked import embed_checked
from indexer.pipeline.jobs import GONE
from indexer.pipeline.queue import WorkQueue
from model.embedder import ModelError

OCR_SIDE = 1600
PAGES_S = 50.0
"""The text layers of so many pages a second are read at the least (usual: 300)."""


class OcrStage:
    def __init__(self, ctx: PipelineContext, work_queue: WorkQueue, *, every: bool) -> None:
        """`every`: also in pages that have their own text, and in videos."""
        self._ctx, self._queue, self._every = ctx, work_queue, every
        self.notice: str | None = None
        """Why words in pictures are not read."""

    def read(self, work: Work, path: str) -> bool:
        """Read the words of one content; False when it could not be done now. Raises MediaError when its
        file cannot be read now."""
        from data import reader

        read_text = _ocr()
        if read_text is None:
            return self._give_up("Words in pictures are not read: onnxruntime is not installed.")
        row, embedder = self._ctx.models.answering()
        texts: dict[int, str] = {}
        vectors: dict[int, np.ndarray] = {}
        for stored in self._unread(work, path):
            if self._ctx.wake.stopped():
                return False
            self._ctx.priority.give_way()
            spec = reader.ChunkSpec(stored.ordinal, stored.span)
            try:
                chunks = self._ctx.sandbox.submit(
                    reader.decode, Path(path), work.kind, [spec], max_frames=1, max_side=OCR_SIDE
                ).result()
            except MediaError as error:
                if error.cause in (*GONE, "closed"):
                    raise
                continue
            for chunk in chunks:
                try:
                    text = read_text(chunk.frames[0])
                except ModelError as error:
                    return self._give_up(f"Words in pictures are not read: {error}.")
                if text.strip():
                    texts[stored.chunk_id] = f"{stored.text}\n{text}".strip()
                    if work.kind != "video":
                        told = reader.to_input(replace(chunk, text=texts[stored.chunk_id]), work.kind)
                        vectors[stored.chunk_id] = embed_checked(embedder, [told])[0]
                        self._ctx.trouble.model_answered()
        worker = self._ctx.worker_id
        self._ctx.catalogue.contents.write_ocr(work.hash, texts, row.id, vectors, worker=worker)
        if texts:
            self._ctx.written()
        return True

    def _unread(self, work: Work, path: str) -> list[StoredChunk]:
        """The chunks whose words may stand in their picture alone: all but those of pages that have their own."""
        from data.media import pdf

        chunks = self._ctx.catalogue.contents.chunks_of(work.hash)
        if work.kind != "pdf" or self._every:
            return chunks
        patience = 60.0 + len(chunks) / PAGES_S
        try:
            pages = self._ctx.sandbox.submit(pdf.unread_pages, Path(path), timeout_s=patience).result()
        except MediaError as error:
            if error.cause in (*GONE, "closed"):
                raise
            return [stored for stored in chunks if len(stored.text) < pdf.TEXTLESS]
        return [stored for stored in chunks if stored.span.page in pages]

    def _give_up(self, notice: str) -> bool:
        self.notice = notice
        self._queue.leave_ocr()
        return False


def _ocr() -> Callable[[np.ndarray], str] | None:
    try:
        from model.ocr import read_text
    except ImportError:
        return None
    return read_text
