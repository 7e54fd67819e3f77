"""The OCR stage: the text in images and scanned pages, and new vectors that include it.

Built around `model.ocr`. It runs after the decoding of all new contents and knows nothing of text search
(`indexer/search/text_search.py`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from data.media.kinds import TEXTLESS, MediaError
from indexer.catalogue.rows import StoredChunk, Work
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.embed_checked import embed_checked
from indexer.pipeline.jobs import GONE
from indexer.pipeline.work_queue import WorkQueue
from model.embedder import ModelError
from model.heap import give_back_growth

OCR_SIDE = 1600
SAMPLE_MOST = 2
"""Pages of a sample that are read as a whole."""
PAGES_PER_S = 50.0
"""The slowest reading of text layers that is allowed, in pages per second (usual: 300)."""


class OcrStage:
    def __init__(self, ctx: PipelineContext, work_queue: WorkQueue, *, every: bool) -> None:
        """`every`: also pages that have their own text, and videos."""
        self._ctx, self._queue, self._every = ctx, work_queue, every
        self.notice: str | None = None
        """Why OCR does not run here, in one sentence."""

    def read(self, work: Work, path: str, *, is_sample: bool = False) -> bool:
        """Read the text in the images of one content; of a sample with many in one of them, which tells how long that
        takes and is not kept. Returns False if that is not possible now, or if only a part was read. Raises MediaError
        if its file cannot be read now."""
        from data import reader

        try:
            from model.ocr import prepare, read_text

            prepare()
        except ImportError:
            return self._give_up("Words in images are not read: onnxruntime is not installed.")
        except ModelError as error:
            return self._give_up(f"Words in images are not read: {error}.")
        row, embedder = self._ctx.models.answering()
        texts: dict[int, str] = {}
        vectors: dict[int, np.ndarray] = {}
        to_read = self._chunks_to_read(work, path)
        is_part = is_sample and len(to_read) > SAMPLE_MOST
        if is_part:
            to_read = to_read[len(to_read) // 2 :][:1]
        self._ctx.time_left.begins(work.hash, "ocr", work.kind, len(to_read))
        for stored in to_read:
            if self._ctx.wake.stopped():
                return False
            self._ctx.priority.give_way()
            spec = reader.ChunkSpec(stored.ordinal, stored.span)
            with self._ctx.time_left.work("ocr", {work.kind: 1}, of=work.hash):
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
                        return self._give_up(f"Words in images are not read: {error}.")
                    give_back_growth()
                    if text.strip():
                        texts[stored.chunk_id] = f"{stored.text}\n{text}".strip()
                        if work.kind != "video":
                            new_input = reader.to_input(replace(chunk, text=texts[stored.chunk_id]), work.kind)
                            vectors[stored.chunk_id] = embed_checked(embedder, [new_input])[0]
                            self._ctx.trouble.model_answered()
        if is_part:
            return False
        worker = self._ctx.worker_id
        self._ctx.catalogue.contents.write_ocr(work.hash, texts, row.id, vectors, worker=worker)
        if texts:
            self._ctx.on_change()
        return True

    def _chunks_to_read(self, work: Work, path: str) -> list[StoredChunk]:
        """Returns the chunks of a content without those of pages that have their own text."""
        from data.media import pdf

        chunks = self._ctx.catalogue.contents.chunks_of(work.hash)
        if work.kind != "pdf" or self._every:
            return chunks
        timeout_s = 60.0 + len(chunks) / PAGES_PER_S
        try:
            pages = self._ctx.sandbox.submit(pdf.unread_pages, Path(path), timeout_s=timeout_s).result()
        except MediaError as error:
            if error.cause in (*GONE, "closed"):
                raise
            return [stored for stored in chunks if len(stored.text) < TEXTLESS]
        return [stored for stored in chunks if stored.span.page in pages]

    def _give_up(self, notice: str) -> bool:
        self.notice = notice
        self._queue.disable_ocr()
        return False
