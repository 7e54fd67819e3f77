"""The first stage: files to contents, by the BLAKE3 of their bytes.

Built around batches of files from the work queue and commits a few times a second. A file that
changes while it is read is left to rest. It knows nothing of what is in the files.
"""

from __future__ import annotations

import time
from pathlib import Path

from data.media.subtitles import beside as subtitles_beside
from indexer.catalogue.files import Files
from indexer.catalogue.rows import Stamp, Unhashed
from indexer.files.hashing import StillChanging, hash_file
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.queue import WorkQueue

BATCH = 256

COMMIT_S = 0.2
"""Between commits: readers begin so soon after the first file."""


class HashStage:
    def __init__(self, ctx: PipelineContext, work_queue: WorkQueue, files: Files) -> None:
        self._ctx, self._queue, self._files = ctx, work_queue, files

    def step(self) -> None:
        """Hash what there is; without anything, wait to be woken."""
        files = self._queue.take_files(BATCH)
        if not files:
            self._ctx.files_wake.wait(0.25 if self._queue.has_resting() else 1.0)
            return
        try:
            self._hash(files)
        finally:
            self._queue.files_done()

    def _hash(self, files: list[Unhashed]) -> None:
        done: list[tuple[Unhashed, Stamp, bytes]] = []
        gone: list[str] = []
        told = time.monotonic()
        for f in files:
            if self._ctx.wake.stopped():
                break
            try:
                digest, stamp = hash_file(f.path)
                done.append((f, stamp, digest))
                self._queue.rested(f.file_id)
            except StillChanging:
                self._queue.let_rest(f.file_id)
            except FileNotFoundError:
                gone.append(f.path)
                self._queue.rested(f.file_id)
            except OSError as error:
                self._queue.rested(f.file_id)
                self._files.fail(f.path, _reason(error))
                self._ctx.tally.failed += 1
            if time.monotonic() - told > COMMIT_S:
                self._commit(done)
                done, told = [], time.monotonic()
        self._commit(done)
        if gone:
            self._files.remove(gone)
            self._ctx.written()

    def _commit(self, done: list[tuple[Unhashed, Stamp, bytes]]) -> None:
        if done:
            self._ctx.tally.reused += self._ctx.catalogue.queue.hashed(done)
            films = [f.path for f, _, _ in done if f.kind == "video" and subtitles_beside(Path(f.path))]
            self._ctx.catalogue.queue.read_words(films)
            self._ctx.written()  # a copy may bring back what was an orphan
            self._ctx.wake.set()
            self._ctx.facts_wake.set()


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read the file; change its permissions"
    return f"the disk could not deliver the file ({error.strerror or error})"
