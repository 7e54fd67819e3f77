"""The stage beside all others: when and where each copy was taken, and the words that lie beside it.

Built around batches of files that are due and one trip to a child of the `Sandbox` a batch; no picture is decoded, so
a whole library takes minutes. It knows nothing of what is read.
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
"""Files a trip and a transaction. A file takes 0.2 ms of CPU where nothing lies beside it, 0.9 with a JPEG's header."""
GATHER_S = 0.2
"""Between trips that were not full: new photos become ready one by one."""


class FactsStage:
    def __init__(self, ctx: PipelineContext, due: Copies) -> None:
        self._ctx, self._copies = ctx, due
        self._lock = threading.Lock()
        self._unread: set[int] = set()  # files whose folder cannot be looked into now

    def step(self) -> None:
        """Read about what is due; without any, wait to be woken."""
        with self._lock:
            due = self._copies.due(BATCH, self._unread)
            if due:
                self._read(due)
        if not due:
            self._ctx.facts_wake.wait(1.0)
        elif len(due) < BATCH:
            time.sleep(GATHER_S)

    def is_done(self) -> bool:
        """Whether nothing is due that can be read about now."""
        with self._lock:
            return not self._copies.due(1, self._unread)

    def look_again(self) -> None:
        """Folders may be back. Does not wait for a trip that is under way."""
        self._unread = set()

    def _read(self, due: list[DueCopy]) -> None:
        try:
            found = self._trip(due)
        except MediaError as error:
            if error.cause == "closed":
                self._unread.update(copy.file_id for copy in due)
                return
            found = [facts for copy in due for facts in self._alone(copy)]
        self._unread.update(copy.file_id for copy, facts in zip(due, found, strict=True) if facts is None)
        self._copies.write([(copy, facts) for copy, facts in zip(due, found, strict=True) if facts is not None])
        self._ctx.written()

    def _alone(self, copy: DueCopy) -> list[copies.CopyFacts | None]:
        """One file of a batch that cost a child its life; it is known by its name alone if it did that."""
        try:
            return self._trip([copy])
        except MediaError as error:
            log.info("nothing is read about %s: %s", copy.path, error)
            return [copies.facts_of_name(Path(copy.path), copy.mtime_ns, copy.inside or NOTHING)]

    def _trip(self, due: list[DueCopy]) -> list[copies.CopyFacts | None]:
        asked = [copies.Copy(Path(c.path), c.kind, c.mtime_ns, c.inside) for c in due]
        timeout_s = 60.0 + 5.0 * sum(c.inside is None for c in due)
        return self._ctx.sandbox.submit(copies.read_copies, asked, timeout_s=timeout_s, urgent=True).result()
