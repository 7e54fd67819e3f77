"""This program's entry among the workers of a library: its leases, and the heartbeat that renews them.

Built around `indexer/catalogue/leases.py` and one thread. Leases that are given back while the database does
not answer are given back at a later heartbeat. It knows nothing of what is done with the contents.
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
"""The worker name of the one program that watches the folders: its successor takes over its leases."""

LEASE_S = 30.0
"""Seconds without a heartbeat after which a worker counts as dead and its contents are free."""

BEATS = 6
"""Heartbeats per lease time: a lease survives five lost ones."""

MAX_ATTEMPTS = 9
"""Leases after which a content is given up whose workers died each time."""


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
        status_text: Callable[[], str] = lambda: "",
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`mounts`: None for the program that scans the roots, which sees all of them. `status_text`: what this
        program does, for `status`. `check` is called at each heartbeat; a LibraryError that it raises ends the
        heartbeat and is kept in `error`."""
        self._leases, self._contents, self._transcripts = leases, contents, transcripts
        self._name, self._model, self._mounts = name, model, mounts
        self._lease_s, self._status_text, self._check = lease_s, status_text, check
        self._id: int | None = None
        self._roots: frozenset[int] | None = None  # ids of the roots that this machine sees; None: all
        self._unreleased: set[bytes] = set()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.unseen_roots: tuple[str, ...] = ()
        """Roots that this machine does not see."""
        self.error: LibraryError | None = None
        """Why this program may not work here any more."""
        self.away: str | None = None
        """Why the database does not answer, in one sentence; None if it does."""

    @property
    def worker_id(self) -> int:
        assert self._id is not None, "call begin first"
        return self._id

    def begin(self) -> None:
        """Enrol this worker and start the heartbeat. The leases of a dead worker of the same name are released."""
        self._stop.clear()
        self._enrol()
        self._leases.release(self.worker_id)
        self._beat()
        self._thread = threading.Thread(target=self._run, name="indexer-leases", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop the heartbeat and release all leases."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
            self._thread = None
            with suppress(LibraryError):  # the leases expire by themselves
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
        """Lease up to `limit` contents for a stage; the heartbeat renews the leases."""
        if self._roots is not None and not self._roots:
            return []
        leases = self._leases.take(
            self.worker_id, limit, self._lease_s, kinds, stage=stage, model_id=model_id, roots=self._roots, skip=skip
        )
        works = []
        for lease in leases:
            if lease.attempt <= MAX_ATTEMPTS:
                works.append(lease.work)
                continue
            if stage == "speech":  # the video is indexed by its frames, whatever is wrong with its sound
                self._transcripts.add(lease.work.hash, (), by="none", worker=self.worker_id)
                continue
            reason = f"{MAX_ATTEMPTS} workers ended while they read it; sightline failures --retry tries again"
            self._contents.fail(lease.work.hash, reason, worker=self.worker_id)
        return works

    def give_back(self, digests: Collection[bytes]) -> None:
        """Release unfinished contents, now or as soon as the database answers."""
        try:
            self._leases.release(self.worker_id, digests)
        except CatalogueAway:
            with self._guard:
                self._unreleased.update(digests)

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
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
                self.error = error
                return
            except Exception:  # the boundary of a thread: the heartbeat must not stop silently
                log.exception("leases: an error that should not happen")

    def _beat(self) -> None:
        self._check()
        maps = self._map_roots()
        with self._guard:
            unreleased, self._unreleased = self._unreleased, set()
        try:
            if unreleased:
                self._leases.release(self.worker_id, unreleased)
            unreleased = set()
            self._leases.heartbeat(self.worker_id, self._lease_s, self._status_text(), maps)
        except CatalogueAway:
            with self._guard:
                self._unreleased |= unreleased
            raise
        except LibraryError:
            self._enrol()  # the worker was silent for a day and has been removed from the list

    def _enrol(self) -> None:
        try:
            program = version("sightline")
        except PackageNotFoundError:
            program = "not installed"
        self._id = self._leases.enrol(self._name, socket.gethostname(), program, self._model(), {})

    def _map_roots(self) -> Mapping[str, str] | None:
        """Returns root -> its path on this machine, "" if it is not seen here; None without `mounts`."""
        if self._mounts is None:
            return None
        maps: dict[str, str] = {}
        roots = set()
        for root, has_files in self._leases.roots():
            if root.state != "here":
                continue
            name = str(root.path).encode("utf-8", "backslashreplace").decode()
            local = self._mounts.sees(root.path, empty=True)
            if local and not self._mounts.sees(root.path, empty=False):
                local = "" if has_files else local
            maps[name] = local.encode("utf-8", "backslashreplace").decode()
            if local:
                roots.add(root.id)
        unseen = tuple(name for name, local in maps.items() if not local)
        for name in set(unseen) - set(self.unseen_roots):
            log.warning("%s cannot be seen here: its files are left to others", name)
        self._roots, self.unseen_roots = frozenset(roots), unseen
        return maps
