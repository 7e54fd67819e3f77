"""The third stage: decoded chunks to vectors, in batches across files.

Built around a batch size that follows the model's speed, so that a query waits for a tenth of a second
at most. The chunks of a refused batch are embedded one by one, to find the chunk that is the cause. It
knows nothing of files.
"""

from __future__ import annotations

import queue
import time
from collections import Counter

from indexer.catalogue.rows import NewChunk
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.embed_checked import InputRefused, embed_checked
from indexer.pipeline.jobs import ByteQueue, Job, JobItem
from indexer.priority import SharedEmbedder
from model.heap import give_back_growth

BATCH_S = 0.1
"""The duration that a batch is sized for, and so the longest wait of a query."""

FIRST_BATCH, BATCH_MAX = 8, 64


class EmbedStage:
    def __init__(self, ctx: PipelineContext, decoded: ByteQueue, finished: queue.Queue[Job | None]) -> None:
        self._ctx, self._decoded, self._finished = ctx, decoded, finished
        self._batch = FIRST_BATCH

    def step(self) -> None:
        """Embed a batch, and send the jobs that end with it to the write stage."""
        items = self._decoded.take(self._batch, 0.5)
        try:
            batch = [i for i in items if i.input is not None and not (i.job.error or i.job.dropped)]
            for embedder in {id(i.job.embedder): i.job.embedder for i in batch}.values():
                self._embed(embedder, [i for i in batch if i.job.embedder is embedder])
        except BaseException:
            for item in items:
                item.job.dropped = True
            raise
        finally:
            for item in items:
                if item.chunk is None:
                    self._pass_on(item.job)

    def _pass_on(self, job: Job) -> None:
        while True:
            try:
                return self._finished.put(job, timeout=0.5)
            except queue.Full:
                if self._ctx.wake.stopped():
                    return None

    def _embed(self, embedder: SharedEmbedder, items: list[JobItem]) -> None:
        inputs = [i.input for i in items if i.input is not None]
        self._ctx.priority.give_way()
        start = time.monotonic()
        try:
            kinds = Counter(item.job.work.kind for item in items)
            with self._ctx.time_left.work("embed", kinds, model=items[0].job.model.id):
                vectors = embed_checked(embedder, inputs)
        except InputRefused as error:
            if len(items) == 1:
                items[0].job.error = str(error)
                return
            for item in items:
                if not item.job.error:
                    self._embed(embedder, [item])
            return
        duration = time.monotonic() - start
        give_back_growth()
        self._ctx.trouble.model_answered()
        if len(items) == self._batch or duration > 2 * BATCH_S:
            self._batch = int(min(max(1, len(items) * BATCH_S / max(duration, 1e-3)), BATCH_MAX, 2 * self._batch))
        for item, vector in zip(items, vectors, strict=True):
            assert item.chunk is not None
            spec = item.chunk.spec
            item.job.done[spec.ordinal] = NewChunk(spec.ordinal, vector, spec.span, item.chunk.text)
