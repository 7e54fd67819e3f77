"""The second stage: contents to decoded chunks, in child processes of the `Sandbox`.

Built around one content per thread, sent to the model some chunks at a time: a long video is never in
memory as a whole, and new images and pages are decoded between its windows. A video window that shows
the same still scene as the one before shares its vector. It knows nothing of embedding and writing.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.media.kinds import MediaError
from data.span import packed_parts
from indexer.catalogue.copies import columns
from indexer.catalogue.rows import NewChunk, Stage, Work
from indexer.errors import CatalogueAway, LeaseLost
from indexer.pipeline import still_scenes
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.file_access import FileAccess
from indexer.pipeline.jobs import GONE, NO_VECTOR, ByteQueue, Job, JobItem, group_of
from indexer.pipeline.options import IndexingOptions
from indexer.pipeline.stage_ocr import OcrStage
from indexer.pipeline.stage_speech import SpeechStage
from indexer.pipeline.work_queue import WorkQueue
from indexer.types import Kind
from model.embedder import side_for

if TYPE_CHECKING:
    from data.reader import Chunk, ChunkSpec, Outline
    from model.inputs import Cue

log = logging.getLogger(__name__)

UNFINISHED = ("empty", "damaged", "cut off", "being written")
"""Causes of an error that a file also shows while it is being written."""

LARGE_BYTES = 8_000_000
"""Images of at least this file size are outlined first: their number of pixels gives the time limit."""

PIXELS_PER_S = 1e6
"""The slowest decoding that is allowed: a tenth of the speed of HEIC on one slow core."""

Window = tuple[int, np.ndarray]
"""The ordinal and the signature of an embedded video window."""


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
        self._paths: dict[int, str] = {}  # thread id -> path

    def step(self) -> None:
        """Work on one content; without work, wait for the wake event."""
        self._ctx.priority.give_way()
        task = self._queue.take()
        if task is None:
            self._queue.promote()
            self._ctx.wake.wait(1.0)
            return
        self._do(*task)

    def paths(self) -> tuple[str, ...]:
        """Returns the files that are being read."""
        return tuple(sorted(set(self._paths.values())))

    def _do(self, stage: Stage, work: Work) -> None:
        is_sent = finished = False
        thread = threading.get_ident()
        try:
            path = self._files.path(work)
            if path is None:
                return
            self._paths[thread] = path
            if stage == "ocr":
                finished = self._ocr.read(work, path, is_sample=self._queue.is_sample(work))
                return
            if stage == "speech":
                is_sample = self._queue.is_sample(work)
                finished = self._speech.transcribe(work, path, self._do_quick, is_sample=is_sample)
                return
            job = self._job(stage, work, path)
            if job is None:
                return
            try:
                self._decode(job)
            except MediaError as error:
                if not self._may_be_readable(job, error):
                    job.error = str(error)
            is_sent = True
            self._decoded.put(JobItem(job), self._ctx.wake.stopped)
        except MediaError as error:
            if error.cause != "closed":
                log.info("%s cannot be read now: %s", self._paths.get(thread, work.hash.hex()[:12]), error)
                self._queue.postpone(work)
        except LeaseLost as error:
            log.info("%s", error)
        finally:
            self._paths.pop(thread, None)
            self._ctx.time_left.ended(work.hash)
            if not is_sent:
                self._queue.release(work, finished=finished)

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
        """Send all chunks of a content to the model, some at a time."""
        from data import reader

        sandbox = self._ctx.sandbox
        path, kind = Path(job.path), job.work.kind
        frames = job.embedder.max_frames
        side = side_for(job.embedder.inner, kind)
        count = group_of(kind, side)
        timeout_s = 60.0 + job.work.size / 20e6
        if job.stored is not None:
            specs = [reader.ChunkSpec(p.ordinal, p.span) for p in job.stored if p.same_as is None]
            self._ctx.time_left.embeds(job, len(specs))
        elif kind == "video" or (kind == "image" and job.work.size > LARGE_BYTES):
            outline = sandbox.submit(
                reader.outline,
                path,
                kind,
                window_s=self._options.window_s,
                overlap_s=self._options.overlap_s,
                timeout_s=timeout_s,
            ).result()
            specs = list(outline.chunks)
            _set_facts(job, outline)
            self._ctx.time_left.opened(job, len(specs))
            if kind == "image":
                self._free_half(outline)
            elif self._is_half(job, outline):
                return
            if not job.cues and kind == "video":
                job.cues = self._subtitles_of_copies(job)
        else:
            chunks: dict[Kind, int] = {}
            with self._ctx.time_left.work("decode", chunks, size=job.work.size if kind == "image" else 0):
                outline, first = sandbox.submit(
                    still_scenes.first_look,
                    path,
                    kind,
                    count,
                    window_s=self._options.window_s,
                    overlap_s=self._options.overlap_s,
                    max_frames=frames,
                    max_side=side,
                    timeout_s=timeout_s,
                    urgent=True,
                ).result()
                chunks[kind] = len(first)
            specs = list(outline.chunks)
            _set_facts(job, outline)
            self._free_half(outline)
            self._ctx.time_left.opened(job, len(specs))
            self._send(job, first, None)
            specs = specs[count:]
        self._decode_groups(job, [specs[i : i + count] for i in range(0, len(specs), count)], side)

    def _free_half(self, outline: Outline) -> None:
        """Read the video of a live photo again if it was read before the photo's image."""
        if outline.other_half is not None:
            self._ctx.catalogue.queue.read_half_again(self._files.there(str(outline.other_half)))

    def _subtitles_of_copies(self, job: Job) -> tuple[Cue, ...]:
        """Returns the subtitles beside another copy of a video."""
        from data.media import subtitles

        for path in (self._files.here(path) for path, _ in job.work.files):
            if path != job.path:
                cues = self._ctx.sandbox.submit(
                    subtitles.words_of, Path(path), job.facts["duration_s"], inside=False
                ).result()
                if cues:
                    return tuple(cues)
        return ()

    def _is_half(self, job: Job, outline: Outline) -> bool:
        """Whether every copy of a video lies beside its live photo, which is in the library: then the video has
        no chunks of its own."""
        from data.media import live

        images: list[str] = []
        for path in (self._files.here(path) for path, _ in job.work.files):
            image = outline.other_half
            if path != job.path:
                image = self._ctx.sandbox.submit(live.image_beside, Path(path), urgent=True).result()
            if image is None:
                return False
            images.append(self._files.there(str(image)))
        job.is_half = self._ctx.catalogue.queue.make_live(images)
        if job.is_half:
            job.has_sound, job.cues = False, ()
        return job.is_half

    def _decode_groups(self, job: Job, groups: list[list[ChunkSpec]], side: int) -> None:
        from data import reader

        path, kind = Path(job.path), job.work.kind
        last: Window | None = None
        group_error: MediaError | None = None
        for group in groups:
            if self._ctx.wake.stopped() or job.error:
                job.dropped = self._ctx.wake.stopped()
                return
            self._ctx.priority.give_way()
            is_first = self._ctx.time_left.is_new(kind)  # of its kind: it tells what the others will take
            if kind == "video" and not is_first:
                self._do_quick()
            try:
                with self._ctx.time_left.work("decode", {kind: len(group)}):
                    chunks = self._ctx.sandbox.submit(
                        reader.decode,
                        path,
                        kind,
                        group,
                        max_frames=job.embedder.max_frames,
                        max_side=side,
                        thumbnails=job.stored is None,
                        timeout_s=60.0 + len(group) * (15.0 + self._pixels(job) / PIXELS_PER_S),
                        urgent=kind != "video" or is_first,
                    ).result()
            except MediaError as error:
                if error.cause in (*GONE, "closed"):
                    raise
                group_error = error
                continue
            last = self._send(job, chunks, last)
        if group_error is not None and not job.done and job.sent == 0:
            raise group_error
        if group_error is not None:
            job.facts["note"] = f"some of it could not be read: {group_error}"

    def _pixels(self, job: Job) -> float:
        """Returns the number of pixels to decode for a chunk; 0 if the content's size is unknown."""
        pixels = (job.facts.get("width") or 0) * (job.facts.get("height") or 0)
        return pixels * (job.embedder.max_frames / 4 if job.work.kind == "video" else 1)

    def _do_quick(self) -> None:
        """Do the images and PDFs that came while a long video is being read."""
        while not self._ctx.wake.stopped():
            self._ctx.priority.give_way()
            try:
                task = self._queue.take(quick=True)
                if task is None:
                    return
                self._do(*task)
            except CatalogueAway:
                return  # go on with the video, whose decoded chunks are in memory

    def _send(self, job: Job, chunks: list[Chunk], last: Window | None) -> Window | None:
        """Send decoded chunks to the embed stage. `last`: the last embedded window of the video; a window that
        shows the same still scene shares its vector. Returns the new last window."""
        from data import reader

        stored = {p.ordinal: p for p in job.stored or ()}
        if job.work.kind == "pdf" and job.stored is None:
            self._ctx.time_left.saw_pages(job, len(chunks), sum(chunk.unread for chunk in chunks))
        for chunk in chunks:
            spec = chunk.spec
            if chunk.thumbnail and job.stored is None:
                self._ctx.thumbnails.put(job.work.hash, spec.ordinal, chunk.thumbnail)
                if job.work.kind == "image" and spec.span.page is None:
                    job.facts["picture_hash"] = chunk.picture_hash
            job.sent += 1
            job.needs_ocr |= chunk.unread
            if chunk.note is not None and job.stored is None:
                job.facts["note"] = job.facts.get("note") or chunk.note
            if job.work.kind == "video" and job.stored is None:
                signature = still_scenes.signature(chunk.frames)
                if last is not None and still_scenes.still(last[1], signature):
                    job.done[spec.ordinal] = NewChunk(spec.ordinal, NO_VECTOR, spec.span, chunk.text, last[0])
                    continue
                last = (spec.ordinal, signature)
            if spec.ordinal in stored and stored[spec.ordinal].text:
                chunk = replace(chunk, text=stored[spec.ordinal].text)
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

    def _may_be_readable(self, job: Job, error: MediaError) -> bool:
        """Whether the content may be readable later or at another path; the job is dropped then. Its file was
        removed, may not be opened, or is being written."""
        if error.cause == "closed":
            job.dropped = True
            return True
        if error.cause in UNFINISHED and self._is_being_written(job, error):
            job.dropped = True
            self._queue.postpone(job.work)  # until a while later, or until its writer has closed the file
            return True
        if error.cause not in GONE:
            return False
        job.dropped = True
        self._files.on_lost(job.path, error)
        return True


def _set_facts(job: Job, outline: Outline) -> None:
    """Set the columns of `content` and the texts that an outline gives."""
    facts = {name: getattr(outline, name) for name in ("duration_s", "pages", "width", "height", "note")}
    job.facts = facts | {"live": int(outline.is_live), "parts": packed_parts(outline.parts)} | columns(outline.metadata)
    job.has_sound, job.cues, job.caption = outline.has_sound, outline.cues, outline.caption
