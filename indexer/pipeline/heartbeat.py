"""This program among the workers of a library: the contents it has leased, and the heartbeat that keeps them.

Built around `catalogue/leases.py` and a thread that beats. What is given back while the database is away is
given back when it answers again. It knows nothing of what is done with the contents.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from indexer.catalogue.contents import Contents
from indexer.catalogue.leases import Leases
from indexer.catalogue.rows import Stage, Work
from indexer.catalogue.transcripts import Transcripts
from indexer.errors import CatalogueAway, LibraryError
from indexer.files.mounts import Mounts
from indexer.types import KINDS, Kind

log = logging.getLogger(__name__)

WATCHER = "watcher"
"""The name of the one program that watches the folders: whoever takes over takes its leases over."""

LEASE_S = 30.0
"""A worker that is silent for so long is taken for dead, and others do what it had."""

BEATS = 6
"""Heartbeats a lease: it outlives five that are lost."""

MOST_TRIES = 9
"""A content that so many leases have ended badly with (the worker died, not the decoder) is given up."""


class Heartbeat:
    def __init__(
        self,
        leases: Leases,
        contents: Contents,
        transcripts: Transcripts,
        name: str,
        model: Callable[[], str],
        *,
        mounts: Mounts | None = None,
        lease_s: float = LEASE_S,
        told: Callable[[], str] = lambda: "",
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`mounts`: None for the program that scans the roots: it sees them all. `told`: a line for people.
        `check` is called at each heartbeat; a LibraryError from it ends the work (`refused`)."""
        self._leases, self._contents, self._transcripts = leases, contents, transcripts
        self._name, self._model, self._mounts = name, model, mounts
        self._lease_s, self._told, self._check = lease_s, told, check
        self._id: int | None = None
        self._roots: frozenset[int] | None = None
        self._owed: set[bytes] = set()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lacks: tuple[str, ...] = ()
        """Roots that cannot be seen here."""
        self.refused: LibraryError | None = None
        self.away: str | None = None
        """The database does not answer: a sentence for a person."""

    @property
    def worker_id(self) -> int:
        assert self._id is not None, "begin first"
        return self._id

    def begin(self) -> None:
        """Report for work. What a worker of this name had when it died is anybody's at once."""
        self._stop.clear()
        self._enrol()
        self._leases.release(self.worker_id)
        self._beat()
        self._thread = threading.Thread(target=self._keep, name="indexer-leases", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Leave: what is still leased is anybody's."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
            self._thread = None
            with suppress(LibraryError):  # it runs out by itself
                self._leases.dismiss(self.worker_id)

    def take(
        self,
        stage: Stage,
        kinds: Sequence[Kind] = KINDS,
        limit: int = 1,
        *,
        model_id: int | None = None,
        skip: Collection[bytes] = (),
    ) -> list[Work]:
        """Contents to work on, ours while the heart beats."""
        if self._roots is not None and not self._roots:
            return []
        leases = self._leases.take(
            self.worker_id, limit, self._lease_s, kinds, stage=stage, model_id=model_id, roots=self._roots, skip=skip
        )
        works = []
        for each in leases:
            if each.attempt <= MOST_TRIES:
                works.append(each.work)
                continue
            if stage == "speech":  # it is found by its looks, whatever its sound does to those who listen
                self._transcripts.add(each.work.hash, (), by="none", worker=self.worker_id)
                continue
            told = f"{MOST_TRIES} workers ended while they read it; sightline failures --retry tries again"
            self._contents.fail(each.work.hash, told, worker=self.worker_id)
        return works

    def give_back(self, digests: Collection[bytes]) -> None:
        """Unfinished: others may do it at once, or as soon as the database answers."""
        try:
            self._leases.release(self.worker_id, digests)
        except CatalogueAway:
            with self._guard:
                self._owed.update(digests)

    # -- the heart -------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._stop.wait(self._lease_s / BEATS):
            try:
                self._beat()
                self.away = None
            except CatalogueAway as error:
                if self.away is None:
                    log.warning("%s", error)
                self.away = str(error)
            except LibraryError as error:
                log.error("%s", error)
                self.refused = error
                return
            except Exception:  # the boundary of a thread: a heart must not stop silently
                log.exception("leases: an error that should not happen")

    def _beat(self) -> None:
        self._check()
        seen = self._look()
        with self._guard:
            owed, self._owed = self._owed, set()
        try:
            if owed:
                self._leases.release(self.worker_id, owed)
            owed = set()
            self._leases.heartbeat(self.worker_id, self._lease_s, self._told(), seen)
        except CatalogueAway:
            with self._guard:
                self._owed |= owed
            raise
        except LibraryError:
            self._enrol()  # silent for a day, and taken off the list

    def _enrol(self) -> None:
        try:
            own = version("sightline")
        except PackageNotFoundError:
            own = "not installed"
        self._id = self._leases.enrol(self._name, socket.gethostname(), own, self._model(), {})

    def _look(self) -> Mapping[str, str] | None:
        """Root -> where it is here; None for who sees all."""
        if self._mounts is None:
            return None
        seen: dict[str, str] = {}
        roots = set()
        for root, has_files in self._leases.roots():
            if root.state != "here":
                continue
            name = str(root.path).encode("utf-8", "backslashreplace").decode()
            there = self._mounts.sees(root.path, empty=True)
            if there and not self._mounts.sees(root.path, empty=False):
                there = "" if has_files else there
            seen[name] = there.encode("utf-8", "backslashreplace").decode()
            if there:
                roots.add(root.id)
        lacks = tuple(name for name, there in seen.items() if not there)
        for name in set(lacks) - set(self.lacks):
            log.warning("%s cannot be seen here: its files are left to others", name)
        self._roots, self.lacks = frozenset(roots), lacks
        return seen
