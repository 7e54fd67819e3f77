"""The facts stage: when and where each copy of a content was taken, and the text of its sidecar files.

Built around batches of due files and one call of a child process per batch; no image is decoded, so a
whole library takes minutes. It runs beside the other stages and knows nothing of the facts themselves.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from data import copies
from data.media.kinds import MediaError
from data.media.metadata import NOTHING
from indexer.catalogue.copies import Copies, DueCopy
from indexer.pipeline.context import PipelineContext

log = logging.getLogger(__name__)

BATCH = 64
"""Files per call and transaction. A file takes 0.2 ms of CPU without sidecars, 0.9 ms with a JPEG's header."""
GATHER_FIRST_S, GATHER_MAX_S = 0.05, 0.8
"""Seconds to wait after a batch that was not full, doubled each time up to the last: a single file is read soon, a
stream of new images in few batches."""


class FactsStage:
    def __init__(self, ctx: PipelineContext, stored: Copies) -> None:
        self._ctx, self._copies = ctx, stored
        self._lock = threading.Lock()
        self._gather_s = GATHER_FIRST_S
        self._skipped: set[int] = set()  # ids of files whose folder cannot be read now

    def step(self) -> None:
        """Read the facts of a batch of due files; without any, wait for the wake event."""
        with self._lock:
            due = self._copies.due(BATCH, self._skipped)
            if due:
                self._read(due)
        if 0 < len(due) < BATCH:
            time.sleep(self._gather_s)
            self._gather_s = min(2 * self._gather_s, GATHER_MAX_S)
            return
        self._gather_s = GATHER_FIRST_S
        if not due:
            self._ctx.facts_wake.wait(1.0)

    def is_done(self) -> bool:
        """Whether no file is due whose facts can be read now."""
        with self._lock:
            return not self._copies.due(1, self._skipped)

    def look_again(self) -> None:
        """Folders may be readable again. Does not wait for a batch in progress."""
        self._skipped = set()

    def _read(self, due: list[DueCopy]) -> None:
        try:
            facts = self._read_batch(due)
        except MediaError as error:
            if error.cause == "closed":
                self._skipped.update(copy.file_id for copy in due)
                return
            facts = [result for copy in due for result in self._read_one(copy)]
        self._skipped.update(copy.file_id for copy, result in zip(due, facts, strict=True) if result is None)
        self._copies.write([(copy, result) for copy, result in zip(due, facts, strict=True) if result is not None])
        self._ctx.on_change()

    def _read_one(self, copy: DueCopy) -> list[copies.CopyFacts | None]:
        """Read one file of a batch that ended a child process; only its name if the file is the cause."""
        try:
            return self._read_batch([copy])
        except MediaError as error:
            log.info("nothing is read about %s: %s", copy.path, error)
            return [copies.facts_of_name(Path(copy.path), copy.mtime_ns, copy.inside or NOTHING)]

    def _read_batch(self, due: list[DueCopy]) -> list[copies.CopyFacts | None]:
        batch = [copies.Copy(Path(c.path), c.kind, c.mtime_ns, c.inside) for c in due]
        timeout_s = 60.0 + 5.0 * sum(c.inside is None for c in due)
        reading = self._ctx.sandbox.submit(copies.read_copies, batch, timeout_s=timeout_s, urgent=True)
        return list(reading.result())
