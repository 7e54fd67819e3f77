"""Keeps the catalogue in line with the folders: scans at start, then follows what happens.

Built around one thread that owns the roots: it scans them, listens to the watcher, looks
again at roots that are away, takes in roots that another program has added, and scans
everything anew now and then, because no watcher sees everything. It knows nothing of
decoding and models; what it finds goes into the catalogue's queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import Root
from indexer.errors import LibraryError
from indexer.files.ignore import Intake
from indexer.files.scanner import Scan, scan
from indexer.files.watcher import Watcher

log = logging.getLogger(__name__)

POLL_S = 5.0
"""Between scans of what cannot be watched."""

RESCAN_S = 600.0
"""Between scans of what is watched."""

LOOK_S = 1.0
"""Between looks at the table of roots, and at roots that are away."""


class FolderFollower:
    def __init__(
        self,
        catalogue: Catalogue,
        data_dir: Path,
        *,
        poll: bool,
        intake: Intake,
        noted: Callable[[], None],
        returned: Callable[[], None],
    ) -> None:
        """`noted`: there is something to hash, or something is gone. `returned`: a root is back."""
        self._catalogue, self._data_dir, self._poll = catalogue, str(data_dir), poll
        self._intake = intake
        self._noted, self._returned = noted, returned
        self._stop = threading.Event()
        self._scanning = threading.Lock()
        self._thread: threading.Thread | None = None
        self._watcher: Watcher | None = None
        self._scanned: dict[int, float] = {}
        self._seen: dict[int, str] = {}  # root id -> state at the last look
        self._wanted: set[int] = set()
        self._bell = threading.Event()
        self._troubles: dict[int, list[str]] = {}
        self.settled = threading.Event()
        """Set once everything has been scanned after the start."""

    # -- one walk over everything ----------------------------------------------------------

    def scan_roots(self, roots: list[Root], stop: Callable[[], bool] = lambda: False) -> Scan:
        """Scan roots, one after the other; the sum of what was seen."""
        total = Scan()
        for root in roots:
            seen = self._scan(root, stop)
            total.files += seen.files
            total.noted += seen.noted
            total.gone += seen.gone
            total.left_out.add(seen.left_out)
            total.troubles += seen.troubles
        return total

    def _scan(self, root: Root, stop: Callable[[], bool] = lambda: False) -> Scan:
        with self._scanning:
            skip = {str(r.path) for r in self._catalogue.files.roots() if r.id != root.id} | {self._data_dir}
            before = root.state
            self._catalogue.files.take_in(repr(self._intake))
            seen = scan(
                self._catalogue,
                root,
                intake=self._intake,
                skip=skip,
                noted=self._noted,
                stop=lambda: stop() or self._stop.is_set(),
            )
        self._scanned[root.id] = time.monotonic()
        self._troubles[root.id] = seen.troubles
        if before == "away" and not seen.away:
            self._returned()
        if seen.gone or seen.noted or (before == "away") != seen.away:
            self._noted()
        return seen

    def notices(self) -> list[str]:
        told = [t for troubles in self._troubles.values() for t in troubles]
        return told + (self._watcher.notices() if self._watcher else [])

    # -- in the background -----------------------------------------------------------------

    def start(self, watch: bool) -> None:
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._keep, args=(watch,), name="indexer-keeper", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._bell.set()
        if self._watcher is not None:
            self._watcher.stop()
        if self._thread is not None:
            self._thread.join(30)
            self._thread = None

    def look(self, root_id: int | None = None) -> None:
        """Look at the roots now; scan one of them again."""
        if root_id is not None:
            self._wanted.add(root_id)
        self._bell.set()

    def _keep(self, watch: bool) -> None:
        if watch and not self._poll:
            self._watcher = Watcher(self._catalogue, self._data_dir, self._intake, self._noted, self.look)
        while not self._stop.is_set():
            try:
                self._look()
                self.settled.set()
            except LibraryError as error:
                log.warning("%s", error)
            except Exception:  # the boundary of a thread: keeping must not end silently
                log.exception("keeping the folders: an error that should not happen")
            self._bell.wait(LOOK_S)
            self._bell.clear()

    def _look(self) -> None:
        """Scan what is due: new roots, roots that changed their state, what the watcher lost sight of."""
        roots = [r for r in self._catalogue.files.roots() if r.state != "left_out"]
        if self._watcher is not None:
            self._watcher.follow([r for r in roots if r.path.is_dir()])
        for root in roots:
            if self._stop.is_set():
                return
            if self._is_due(root):
                self._wanted.discard(root.id)
                self._scan(root)
        for gone in self._seen.keys() - {r.id for r in roots}:
            self._troubles.pop(gone, None)
            self._scanned.pop(gone, None)
        self._seen = {r.id: r.state for r in self._catalogue.files.roots()}

    def _is_due(self, root: Root) -> bool:
        scanned = self._scanned.get(root.id)
        if scanned is None or root.id in self._wanted or self._seen.get(root.id) != root.state:
            return True
        there = root.path.is_dir()
        if (root.state == "away") == there:
            return True  # it went, or it may be back
        blind = self._watcher is None or self._watcher.is_blind(root.id)
        return time.monotonic() - scanned > (POLL_S if blind else RESCAN_S)
