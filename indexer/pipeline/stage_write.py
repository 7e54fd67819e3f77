"""The last stage: finished jobs to the catalogue, one transaction per content.

Built around `Contents.write`, `add_embeddings` and `fail`: a content is stored as a whole or not at all.
It knows nothing of how chunks and vectors are made.
"""

from __future__ import annotations

import logging
import queue
from dataclasses import replace

from indexer.errors import CatalogueAway, LeaseLost
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.jobs import Job
from indexer.pipeline.options import IndexingOptions
from indexer.pipeline.work_queue import WorkQueue

log = logging.getLogger(__name__)


class WriteStage:
    def __init__(
        self, ctx: PipelineContext, work_queue: WorkQueue, finished: queue.Queue[Job | None], options: IndexingOptions
    ) -> None:
        self._ctx, self._queue, self._finished, self._options = ctx, work_queue, finished, options
        self._retry: Job | None = None  # the job whose write the catalogue's server did not answer

    def step(self) -> None:
        """Write one job; None in the queue is the end of the program."""
        try:
            job = self._retry or self._finished.get(timeout=0.5)
        except queue.Empty:
            return
        if job is None:
            return
        self._retry = None
        is_written = False
        try:
            if not job.dropped:
                self._write(job)
                self._ctx.trouble.written()
                is_written = True
        except CatalogueAway:
            self._retry = job
            raise
        except LeaseLost as error:
            log.info("%s: %s", job.path, error)
        finally:
            if self._retry is None:
                self._queue.release(job.work, finished=is_written)
        if job.dropped or job.stored is not None or self._has_more_stages(job) or self._queue.may_promote():
            self._ctx.wake.set()  # the content may wait for another model, for OCR or for speech

    def _write(self, job: Job) -> None:
        if job.error is None and not job.done and job.stored is None and not job.is_half:
            job.error = "there is nothing in it to show"
        if job.error is not None:
            self._fail(job, job.error)
            return
        count = self._write_chunks(job) if job.stored is None else self._add_vectors(job)
        self._ctx.tally.chunks += count
        self._ctx.tally.contents += 1
        self._ctx.pace.add(count, len(job.work.files))
        self._ctx.facts_wake.set()
        self._ctx.on_change()

    def _fail(self, job: Job, reason: str) -> None:
        self._ctx.catalogue.contents.fail(job.work.hash, reason, worker=self._ctx.worker_id)
        self._ctx.thumbnails.remove(job.work.hash)
        self._ctx.tally.failed += len(job.work.files)
        log.info("%s: %s", job.path, reason)
        self._ctx.facts_wake.set()
        self._ctx.on_change()

    def _write_chunks(self, job: Job) -> int:
        chunks = [job.done[o] for o in sorted(job.done)]
        chunks = [replace(c, vector=job.done[c.same_as].vector) if c.same_as is not None else c for c in chunks]
        ocr = "pending" if self._may_need_ocr(job) else "none"
        ids = self._ctx.catalogue.contents.write(
            job.work.hash,
            job.facts,
            chunks,
            job.model.id,
            recipe=self._options.recipe,
            ocr=ocr,
            has_sound=job.has_sound,
            cues=job.cues,
            worker=self._ctx.worker_id,
        )
        self._queue.on_written(job.model.id)
        self._ctx.tally.reused += sum(c.same_as is not None for c in chunks)
        return len(ids)

    def _add_vectors(self, job: Job) -> int:
        stored = job.stored or []
        vectors = {p.ordinal: job.done[p.ordinal].vector for p in stored if p.ordinal in job.done}
        for p in stored:
            if p.same_as in vectors:
                vectors[p.ordinal] = vectors[p.same_as]
        chunk_ids = {p.ordinal: p.chunk_id for p in stored}
        catalogue = self._ctx.catalogue
        worker = self._ctx.worker_id
        catalogue.contents.add_embeddings(
            job.model.id,
            [chunk_ids[o] for o in vectors],
            list(vectors.values()),
            lease=None if worker is None else (job.work.hash, worker),
        )
        if len(vectors) < len(stored):
            catalogue.queue.set_pending([job.work.hash])  # some chunks could not be decoded: read all of it again
        return len(vectors)

    def _has_more_stages(self, job: Job) -> bool:
        if job.error is not None:
            return False
        needs_ocr = self._options.ocr != "off" and self._may_need_ocr(job)
        return needs_ocr or (self._options.speech != "off" and job.has_sound)

    def _may_need_ocr(self, job: Job) -> bool:
        if self._options.ocr == "off" and not job.again:  # a reread may have dropped OCR text: a later run restores it
            return False
        if self._options.ocr == "all":
            return True
        return job.work.kind == "image" or job.needs_ocr
