"""What the stages of the pipeline share: their tools, wake events, and the reason why all of them wait.

Built around two small objects with a lock each: `WakeEvent` wakes a thread that waits for work or for
the end, `Trouble` holds one sentence for a person. It knows nothing of what the stages do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.active_models import ModelSource
from indexer.catalogue.contents import Contents
from indexer.catalogue.database import Database
from indexer.catalogue.leases import Leases
from indexer.catalogue.models import Models
from indexer.catalogue.queue import Queue
from indexer.catalogue.settings import StoredSettings
from indexer.catalogue.transcripts import Transcripts
from indexer.pipeline.heartbeat import Heartbeat
from indexer.pipeline.jobs import Pace, Tally
from indexer.pipeline.time_left import TimeLeft
from indexer.priority import QueryPriority
from indexer.thumbnails import Thumbnails

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox

log = logging.getLogger(__name__)

PAUSE_S = 10.0
"""Seconds until the next attempt after a full disk."""

AWAY_S = 3.0
"""Seconds until the next attempt after the model's or the catalogue's server did not answer."""


class WakeEvent:
    """Set when there may be work of one kind, and at the end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._stop = threading.Event()

    def set(self) -> None:
        """There may be work."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until the event is set, at most `seconds`."""
        with self._changed:
            count = self._count
            self._changed.wait_for(lambda: self._count != count or self._stop.is_set(), seconds)

    def stop(self) -> None:
        self._stop.set()
        self.set()

    def stopped(self) -> bool:
        return self._stop.is_set()


class Trouble:
    """Why indexing is stopped: a full disk, a broken model, a server that does not answer."""

    def __init__(self) -> None:
        self.message: str | None = None
        """What a person has to mend, in one sentence."""
        self.waiting: str | None = None
        """Which server does not answer, in one sentence; indexing goes on by itself when it does."""
        self._catalogue_is_away = False
        self._lock = threading.Lock()
        self._until = 0.0
        self.broken = False
        """The model is broken: indexing is stopped until `retry`."""

    def pause(self, message: str) -> None:
        """Stop for PAUSE_S, then try again."""
        if message != self.message:
            log.warning(message)
        self.message = message
        self._until = time.monotonic() + PAUSE_S

    def model_broke(self, message: str) -> None:
        with self._lock:
            self.broken = True
            self.pause(message)

    def model_is_away(self, message: str) -> None:
        """The model's server does not answer. The contents in progress are pending again."""
        with self._lock:
            if self.waiting is None:
                log.warning(message)
            self.waiting = message
            self._until = time.monotonic() + AWAY_S

    def model_answered(self) -> None:
        if not self._catalogue_is_away:
            self.waiting = None

    def catalogue_is_away(self, message: str) -> None:
        """The catalogue's server does not answer. Finished work is kept and written when the server answers."""
        with self._lock:
            if self.waiting is None:
                log.warning(message)
            self.waiting, self._catalogue_is_away = message, True
            self._until = time.monotonic() + AWAY_S

    def catalogue_answered(self) -> None:
        with self._lock:
            if self._catalogue_is_away:
                self.waiting, self._catalogue_is_away = None, False

    def written(self) -> None:
        """A content was written, so the disk is not full. A model may have broken since."""
        with self._lock:
            if not self.broken:
                self.message = None

    def retry(self) -> None:
        """Try again now."""
        self.broken = False
        self._until = 0.0

    def is_stopped(self) -> bool:
        return self.broken or time.monotonic() < self._until


@dataclass(frozen=True)
class CatalogueParts:
    """The parts of the catalogue that every pipeline uses, a worker's too. It has no roots and no files: only
    the program that watches the folders changes those."""

    queue: Queue
    leases: Leases
    contents: Contents
    transcripts: Transcripts
    models: Models
    settings: StoredSettings

    @classmethod
    def of(cls, database: Database) -> CatalogueParts:
        return cls(
            Queue(database),
            Leases(database),
            Contents(database),
            Transcripts(database),
            Models(database),
            StoredSettings(database),
        )


@dataclass(eq=False)
class PipelineContext:
    """The tools of all stages."""

    catalogue: CatalogueParts
    models: ModelSource
    sandbox: Sandbox
    thumbnails: Thumbnails
    priority: QueryPriority
    on_change: Callable[[], None]
    """Called after each change of the searchable contents."""
    wake: WakeEvent = field(default_factory=WakeEvent)
    """There may be contents to work on."""
    files_wake: WakeEvent = field(default_factory=WakeEvent)
    """There may be files to hash."""
    facts_wake: WakeEvent = field(default_factory=WakeEvent)
    """There may be files whose facts are due."""
    trouble: Trouble = field(default_factory=Trouble)
    missing_files: set[str] = field(default_factory=set)
    """Paths that should have been read and do not exist: a scan of their root finds out why."""
    tally: Tally = field(default_factory=Tally)
    pace: Pace = field(default_factory=Pace)
    time_left: TimeLeft = field(default_factory=TimeLeft)
    heartbeat: Heartbeat | None = None
    """Renews this program's leases; None if only one program can index this library."""

    @property
    def worker_id(self) -> int | None:
        return self.heartbeat.worker_id if self.heartbeat is not None else None
