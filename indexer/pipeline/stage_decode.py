"""The second stage: contents to decoded chunks, which children of the `Sandbox` make.

Built around one content at a time a thread, sent to the model some chunks at a time: a long
video never lies in memory whole, and photos that come meanwhile go between its windows. A
video window that shows what the last one showed shares its vector. It knows nothing of
embedding and writing.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.media.kinds import MediaError
from indexer.catalogue.copies import columns
from indexer.catalogue.rows import NewChunk, Stage, Work
from indexer.errors import CatalogueAway, LeaseLost
from indexer.pipeline import still_scenes
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.file_access import FileAccess
from indexer.pipeline.jobs import GONE, GROUP, NO_VECTOR, ByteQueue, Job, JobItem, side_for
from indexer.pipeline.options import IndexingOptions
from indexer.pipeline.queue import WorkQueue
from indexer.pipeline.stage_ocr import OcrStage
from indexer.pipeline.stage_speech import SpeechStage

if TYPE_CHECKING:
    from data.reader import Chunk, ChunkSpec, Outline
    from model.inputs import Cue

log = logging.getLogger(__name__)

UNFINISHED = ("empty", "damaged", "cut off", "being written")
"""Causes that a file which is being written shows as well."""

LARGE_BYTES = 8_000_000
"""An image from this size on is asked for its pixels first: they say how long it may take."""

PIXELS_A_SECOND = 1e6
"""That a decoder does at the least: a tenth of what HEIC takes on one slow core."""

Shown = tuple[int, np.ndarray]
"""A window that was embedded: its ordinal and its signature."""


class DecodeStage:
    """Safe to run in several threads."""

    def __init__(
        self,
        ctx: PipelineContext,
        work_queue: WorkQueue,
        ocr: OcrStage,
        speech: SpeechStage,
        decoded: ByteQueue,
        *,
        file_access: FileAccess,
        options: IndexingOptions,
    ) -> None:
        self._files, self._options = file_access, options
        self._ctx, self._queue, self._decoded = ctx, work_queue, decoded
        self._ocr, self._speech = ocr, speech
        self._at: dict[int, str] = {}  # thread -> path

    def step(self) -> None:
        """Work on one content; without any, wait to be woken."""
        self._ctx.priority.give_way()
        found = self._queue.take()
        if found is None:
            self._queue.promote()
            self._ctx.wake.wait(1.0)
            return
        self._do(*found)

    def paths(self) -> tuple[str, ...]:
        """What is being read now."""
        return tuple(sorted(set(self._at.values())))

    def _do(self, stage: Stage, work: Work) -> None:
        passed_on = done = False
        me = threading.get_ident()
        try:
            path = self._files.path(work)
            if path is None:
                return
            self._at[me] = path
            if stage == "ocr":
                done = self._ocr.read(work, path)
                return
            if stage == "speech":
                done = self._speech.transcribe(work, path, self._quick_ones)
                return
            job = self._job(stage, work, path)
            if job is None:
                return
            try:
                self._decode(job)
            except MediaError as error:
                if not self._is_about_the_path(job, error):
                    job.error = str(error)
            passed_on = True
            self._decoded.put(JobItem(job), self._ctx.wake.stopped)
        except MediaError as error:
            if error.cause != "closed":
                log.info("%s cannot be read now: %s", self._at.get(me, work.hash.hex()[:12]), error)
                self._queue.out_of_reach(work)
        except LeaseLost as lost:
            log.info("%s", lost)
        finally:
            self._at.pop(me, None)
            if not passed_on:
                self._queue.release(work, done=done)

    def _job(self, stage: Stage, work: Work, path: str) -> Job | None:
        catalogue, models = self._ctx.catalogue, self._ctx.models
        if stage in ("decode", "reread"):
            return Job(work, *models.for_new(), path, again=stage == "reread")
        for row in catalogue.models.all():
            if row.state == "answering" and models.does(row) and catalogue.models.lacks(work.hash, row.id):
                return Job(work, *models.answering(), path, catalogue.contents.chunks_of(work.hash))
        building = models.building()
        if building is None:
            return None
        return Job(work, *building, path, catalogue.contents.chunks_of(work.hash))

    def _decode(self, job: Job) -> None:
        """Send everything of a content to the model, some chunks at a time."""
        from data import reader

        sandbox = self._ctx.sandbox
        path, kind = Path(job.path), job.work.kind
        frames = job.embedder.max_frames
        side = side_for(job.embedder.inner, kind)
        count = GROUP[kind]
        patience = 60.0 + job.work.size / 20e6
        if job.stored is not None:
            specs = [reader.ChunkSpec(p.ordinal, p.span) for p in job.stored if p.same_as is None]
        elif kind == "video" or (kind == "image" and job.work.size > LARGE_BYTES):
            found = sandbox.submit(
                reader.outline,
                path,
                kind,
                window_s=self._options.window_s,
                overlap_s=self._options.overlap_s,
                timeout_s=patience,
            ).result()
            specs = list(found.chunks)
            _note(job, found)
            if kind == "image":
                self._free_half(found)
            elif self._is_half(job, found):
                return
            if not job.cues and kind == "video":
                job.cues = self._words_beside_copies(job)
        else:
            found, first = sandbox.submit(
                still_scenes.first_look,
                path,
                kind,
                count,
                window_s=self._options.window_s,
                overlap_s=self._options.overlap_s,
                max_frames=frames,
                max_side=side,
                timeout_s=patience,
                urgent=True,
            ).result()
            specs = list(found.chunks)
            _note(job, found)
            self._free_half(found)
            self._send(job, first, None)
            specs = specs[count:]
        self._decode_groups(job, [specs[i : i + count] for i in range(0, len(specs), count)], side)

    def _free_half(self, found: Outline) -> None:
        """The film of a live photo that was read before its picture is read again."""
        if found.other_half is not None:
            self._ctx.catalogue.queue.read_half_again(str(found.other_half))

    def _words_beside_copies(self, job: Job) -> tuple[Cue, ...]:
        """The subtitles that lie beside another copy of a film."""
        from data.media import subtitles

        for path, _ in job.work.files:
            if path != job.path:
                cues = self._ctx.sandbox.submit(
                    subtitles.words_of, Path(path), job.facts["duration_s"], inside=False
                ).result()
                if cues:
                    return cues
        return ()

    def _is_half(self, job: Job, found: Outline) -> bool:
        """Whether every copy of a film lies beside its live photo, which is in the library: then it has no
        chunks of its own."""
        from data.media import live

        pictures = [found.other_half]
        for path, _ in job.work.files:
            if pictures[-1] is None:
                return False
            if path != job.path:
                pictures.append(self._ctx.sandbox.submit(live.picture_beside, Path(path), urgent=True).result())
        if not self._ctx.catalogue.queue.make_live([str(picture) for picture in pictures if picture]):
            return False
        job.is_half, job.sounds, job.cues = True, False, ()
        return pictures[-1] is not None

    def _decode_groups(self, job: Job, groups: list[list[ChunkSpec]], side: int) -> None:
        from data import reader

        path, kind = Path(job.path), job.work.kind
        last: Shown | None = None
        missed: MediaError | None = None
        for group in groups:
            if self._ctx.wake.stopped() or job.error:
                job.dropped = self._ctx.wake.stopped()
                return
            self._ctx.priority.give_way()
            if kind == "video":
                self._quick_ones()
            try:
                chunks = self._ctx.sandbox.submit(
                    reader.decode,
                    path,
                    kind,
                    group,
                    max_frames=job.embedder.max_frames,
                    max_side=side,
                    timeout_s=60.0 + len(group) * (15.0 + self._pixels(job) / PIXELS_A_SECOND),
                    urgent=kind != "video",
                ).result()
            except MediaError as error:
                if error.cause in (*GONE, "closed"):
                    raise
                missed = error
                continue
            last = self._send(job, chunks, last)
        if missed is not None and not job.done and job.sent == 0:
            raise missed
        if missed is not None:
            job.facts["note"] = f"some of it could not be read: {missed}"

    def _pixels(self, job: Job) -> float:
        """That a chunk takes to decode, of a content whose size is known."""
        pixels = (job.facts.get("width") or 0) * (job.facts.get("height") or 0)
        return pixels * (job.embedder.max_frames / 4 if job.work.kind == "video" else 1)

    def _quick_ones(self) -> None:
        """Photos and pages that came while a long video is being read."""
        while not self._ctx.wake.stopped():
            try:
                found = self._queue.take(quick=True)
                if found is None:
                    return
                self._do(*found)
            except CatalogueAway:
                return  # the film's own chunks lie in memory: they are worth going on for

    def _send(self, job: Job, chunks: list[Chunk], last: Shown | None) -> Shown | None:
        """Hand decoded chunks on. A video window that shows what the last embedded one showed shares its
        vector; returns that last one and its signature."""
        from data import reader

        known = {p.ordinal: p for p in job.stored or ()}
        for chunk in chunks:
            spec = chunk.spec
            if chunk.thumbnail and (job.stored is None):
                self._ctx.thumbnails.put(job.work.hash, spec.ordinal, chunk.thumbnail)
            job.sent += 1
            job.unread |= chunk.unread
            if chunk.note is not None and job.stored is None:
                job.facts["note"] = job.facts.get("note") or chunk.note
            if job.work.kind == "video" and job.stored is None:
                seen = still_scenes.signature(chunk.frames)
                if last is not None and still_scenes.still(last[1], seen):
                    job.done[spec.ordinal] = NewChunk(spec.ordinal, NO_VECTOR, spec.span, chunk.text, last[0])
                    continue
                last = (spec.ordinal, seen)
            if spec.ordinal in known and known[spec.ordinal].text:
                chunk = replace(chunk, text=known[spec.ordinal].text)
            elif spec.ordinal == 0 and job.caption and job.work.kind != "image":
                chunk = replace(chunk, text=f"{job.caption}\n{chunk.text}".strip())
            item = JobItem(job, chunk, reader.to_input(chunk, job.work.kind), chunk.frames.nbytes)
            self._decoded.put(item, self._ctx.wake.stopped)
        return last

    def _is_being_written(self, job: Job, error: MediaError) -> bool:
        from data.media.container import is_being_written

        return (
            error.cause == "being written"
            or self._ctx.sandbox.submit(is_being_written, Path(job.path), urgent=True).result()
        )

    def _is_about_the_path(self, job: Job, error: MediaError) -> bool:
        """Whether the content may still be good: the file went away, or cannot be opened by us."""
        if error.cause == "closed":
            job.dropped = True
            return True
        if error.cause in UNFINISHED and self._is_being_written(job, error):
            job.dropped = True
            self._queue.out_of_reach(job.work)  # looked at again then, or when its writer has closed it
            return True
        if error.cause not in GONE:
            return False
        job.dropped = True
        self._files.lost(job.path, error)
        return True


def _note(job: Job, found: Outline) -> None:
    """What an outline says of a content, and the columns of `content` that it fills."""
    facts = {name: getattr(found, name) for name in ("duration_s", "pages", "width", "height", "note")}
    job.facts = facts | {"live": int(found.is_live)} | columns(found.metadata)
    job.sounds, job.cues, job.caption = found.has_sound, found.cues, found.caption
