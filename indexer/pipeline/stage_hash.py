"""The first stage: files to contents, by the BLAKE3 of their bytes.

Built around batches of files from the work queue and a commit a few times a second. A file that changes
while it is read is tried again later. It knows nothing of what is in the files.
"""

from __future__ import annotations

import time
from pathlib import Path

from data.media.subtitles import beside as subtitles_beside
from indexer.catalogue.files import Files
from indexer.catalogue.rows import Stamp, Unhashed
from indexer.files.hashing import StillChanging, hash_file
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.work_queue import WorkQueue

BATCH = 256

COMMIT_S = 0.2
"""Seconds between commits, and so between the first file and the start of decoding."""


class HashStage:
    def __init__(self, ctx: PipelineContext, work_queue: WorkQueue, files: Files) -> None:
        self._ctx, self._queue, self._files = ctx, work_queue, files

    def step(self) -> None:
        """Hash a batch of files; without any, wait for the wake event."""
        files = self._queue.take_files(BATCH)
        if not files:
            self._ctx.files_wake.wait(0.25 if self._queue.has_postponed_files() else 1.0)
            return
        try:
            self._hash(files)
        finally:
            self._queue.files_done()

    def _hash(self, files: list[Unhashed]) -> None:
        hashes: list[tuple[Unhashed, Stamp, bytes]] = []
        missing: list[str] = []
        committed_at = time.monotonic()
        for f in files:
            if self._ctx.wake.stopped():
                break
            try:
                digest, stamp = hash_file(f.path)
                hashes.append((f, stamp, digest))
                self._queue.file_settled(f.file_id)
            except StillChanging:
                self._queue.postpone_file(f.file_id)
            except FileNotFoundError:
                missing.append(f.path)
                self._queue.file_settled(f.file_id)
            except OSError as error:
                self._queue.file_settled(f.file_id)
                self._files.fail(f.path, _reason(error))
                self._ctx.tally.failed += 1
            if time.monotonic() - committed_at > COMMIT_S:
                self._commit(hashes)
                hashes, committed_at = [], time.monotonic()
        self._commit(hashes)
        if missing:
            self._files.remove(missing)
            self._ctx.on_change()

    def _commit(self, hashes: list[tuple[Unhashed, Stamp, bytes]]) -> None:
        if hashes:
            self._ctx.tally.reused += self._ctx.catalogue.queue.hashed(hashes)
            videos = [f.path for f, _, _ in hashes if f.kind == "video" and subtitles_beside(Path(f.path))]
            self._ctx.catalogue.queue.read_words(videos)
            self._ctx.on_change()  # a copy makes an orphaned content searchable again
            self._ctx.wake.set()
            self._ctx.facts_wake.set()


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read the file; change its permissions"
    return f"the disk could not deliver the file ({error.strerror or error})"
