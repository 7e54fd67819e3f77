"""The last stage: a finished job to the catalogue, one transaction a content.

Built around `Contents.write`, `add_embeddings` and `fail`: a content is there whole, or not at
all. It knows nothing of how chunks and vectors were made.
"""

from __future__ import annotations

import logging
import queue
from dataclasses import replace

from indexer.errors import CatalogueAway, LeaseLost
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.jobs import Job
from indexer.pipeline.options import IndexingOptions
from indexer.pipeline.queue import WorkQueue

log = logging.getLogger(__name__)


class WriteStage:
    def __init__(
        self, ctx: PipelineContext, work_queue: WorkQueue, finished: queue.Queue[Job | None], options: IndexingOptions
    ) -> None:
        self._ctx, self._queue, self._finished, self._options = ctx, work_queue, finished, options
        self._unwritten: Job | None = None  # the catalogue's server went away under it

    def step(self) -> None:
        """Write one job; None in the queue is the end of the program."""
        try:
            job = self._unwritten or self._finished.get(timeout=0.5)
        except queue.Empty:
            return
        if job is None:
            return
        self._unwritten = None
        done = False
        try:
            if not job.dropped:
                self._write(job)
                self._ctx.trouble.written()
                done = True
        except CatalogueAway:
            self._unwritten = job
            raise
        except LeaseLost as lost:
            log.info("%s: %s", job.path, lost)
        finally:
            if self._unwritten is None:
                self._queue.release(job.work, done=done)
        second_look = self._options.ocr != "off" or self._options.speech != "off"
        if job.dropped or job.stored is not None or second_look or self._queue.may_promote():
            self._ctx.wake.set()  # it may be work again: for another model, for who reads or listens

    def _write(self, job: Job) -> None:
        if job.error is None and not job.done and job.stored is None and not job.is_half:
            job.error = "there is nothing in it to show"
        if job.error is not None:
            self._fail(job, job.error)
            return
        made = self._write_chunks(job) if job.stored is None else self._add_vectors(job)
        self._ctx.tally.chunks += made
        self._ctx.tally.contents += 1
        self._ctx.pace.add(made, len(job.work.files))
        self._ctx.facts_wake.set()
        self._ctx.written()

    def _fail(self, job: Job, reason: str) -> None:
        self._ctx.catalogue.contents.fail(job.work.hash, reason, worker=self._ctx.worker_id)
        self._ctx.thumbnails.remove(job.work.hash)
        self._ctx.tally.failed += len(job.work.files)
        log.info("%s: %s", job.path, reason)
        self._ctx.facts_wake.set()
        self._ctx.written()

    def _write_chunks(self, job: Job) -> int:
        chunks = [job.done[o] for o in sorted(job.done)]
        chunks = [replace(c, vector=job.done[c.same_as].vector) if c.same_as is not None else c for c in chunks]
        ocr = "pending" if self._may_hold_words(job) else "none"
        made = self._ctx.catalogue.contents.write(
            job.work.hash,
            job.facts,
            chunks,
            job.model.id,
            recipe=self._options.recipe,
            ocr=ocr,
            sounds=job.sounds,
            cues=job.cues,
            worker=self._ctx.worker_id,
        )
        self._queue.written_under(job.model.id)
        self._ctx.tally.reused += sum(c.same_as is not None for c in chunks)
        return len(made)

    def _add_vectors(self, job: Job) -> int:
        stored = job.stored or []
        vectors = {p.ordinal: job.done[p.ordinal].vector for p in stored if p.ordinal in job.done}
        for p in stored:
            if p.same_as in vectors:
                vectors[p.ordinal] = vectors[p.same_as]
        known = {p.ordinal: p.chunk_id for p in stored}
        catalogue = self._ctx.catalogue
        worker = self._ctx.worker_id
        catalogue.contents.add_embeddings(
            job.model.id,
            [known[o] for o in vectors],
            list(vectors.values()),
            lease=None if worker is None else (job.work.hash, worker),
        )
        if len(vectors) < len(stored):
            catalogue.queue.set_pending([job.work.hash])  # it cannot be read as it was: read it anew
        return len(vectors)

    def _may_hold_words(self, job: Job) -> bool:
        if self._options.ocr == "off" and not job.again:  # its words may have been read before: a later run does again
            return False
        if self._options.ocr == "all":
            return True
        return job.work.kind == "image" or job.unread
