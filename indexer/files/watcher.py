"""Follows what happens in the roots while the program runs, through watchdog.

Built around one dictionary of paths that something happened to, each with the moment from
which it may be looked at. A file is looked at when it is whole: it was closed by its writer,
or it was put there in one step (a rename, a hard link), or nothing has written to it for a
while. What is looked at is compared with the catalogue; only a difference is noted.

No watcher sees everything: the kernel's queue overflows, inotify has a limit of folders, and
folders behind symlinks are not watched. Each is told, and met with a scan (`follower.py`). It
knows nothing of contents.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data.media.kinds import may_describe_others
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import FoundFile, Root
from indexer.errors import LibraryError
from indexer.files.ignore import IGNORE_FILE, Intake, rules_for
from indexer.files.scanner import read_again, stamp_of

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

log = logging.getLogger(__name__)

CLOSED_S = 0.05
"""After its writer closed it: time for a second opening in a row (`cp -p` sets times)."""

PLACED_S = 0.25
"""After a file appeared without being written to: a rename, a link."""

OPEN_S = 20.0
"""A file that was written to and not closed is believed after so long without a write (Linux tells
when it is closed; a recorder may keep it open)."""

QUIET_S = 2.0
"""The same where the system does not tell."""

TELLS_CLOSING = sys.platform.startswith("linux")

RULES_KEPT_S = 2.0


class Watcher:
    def __init__(
        self,
        catalogue: Catalogue,
        data_dir: str,
        intake: Intake,
        noted: Callable[[], None],
        rescan: Callable[[int | None], None],
    ) -> None:
        """`noted`: the catalogue has changed. `rescan`: look at a root (None: all) with a scan."""
        self._catalogue, self._data_dir, self._intake = catalogue, data_dir, intake
        self._noted, self._rescan = noted, rescan
        self._observer: BaseObserver | None = None
        self._watched: dict[int, tuple[str, Any]] = {}
        self._blind: set[int] = set()
        self._limit: str | None = None
        self._lock = threading.Condition()
        self._due: dict[str, float] = {}
        self._written: set[str] = set()  # written to, and not closed since
        self._moved: list[tuple[str, str]] = []
        self._rules: dict[str, tuple[float, Any]] = {}
        self._stop = threading.Event()
        self._overflow = _OverflowHandler(self._overflowed)
        logging.getLogger("watchdog").addHandler(self._overflow)
        self._thread = threading.Thread(target=self._work, name="indexer-watcher", daemon=True)
        self._thread.start()

    def follow(self, roots: list[Root]) -> None:
        """Watch exactly these roots. Called again and again; cheap when nothing changed."""
        wanted = {r.id: str(r.path) for r in roots}
        for root_id in [i for i, (path, _) in self._watched.items() if wanted.get(i) != path]:
            path, watch = self._watched.pop(root_id)
            self._blind.discard(root_id)
            if self._observer is not None:
                try:
                    self._observer.unschedule(watch)
                except (KeyError, OSError):
                    log.debug("the watch of %s had ended", path)
        for root_id, path in wanted.items():
            if root_id not in self._watched:
                self._add(root_id, path)
        if self._watched:
            self._probe()

    def is_blind(self, root_id: int) -> bool:
        """Whether something in a root may happen unseen."""
        return root_id in self._blind or self._limit is not None

    def notices(self) -> list[str]:
        return [self._limit] if self._limit else []

    def stop(self) -> None:
        self._stop.set()
        logging.getLogger("watchdog").removeHandler(self._overflow)
        with self._lock:
            self._lock.notify_all()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(10)
        self._thread.join(10)

    # -- watches ---------------------------------------------------------------------------

    def _add(self, root_id: int, path: str) -> None:
        from watchdog.observers import Observer

        # Said of a folder that was moved while it was watched; it is watched still.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        try:
            if self._observer is None:
                self._observer = Observer()
                self._observer.start()
            handler: Any = _Forward(self)
            watch = self._observer.schedule(handler, path, recursive=True)
            self._watched[root_id] = (path, watch)
            self._blind.discard(root_id)
        except OSError as error:
            self._watched[root_id] = (path, None)
            self._blind.add(root_id)
            if error.errno in (errno.ENOSPC, errno.EMFILE):
                self._limit = _limit_told(error.errno)
            log.warning("%s is not watched (%s); it is scanned every few seconds", path, error)

    def _probe(self) -> None:
        """watchdog passes over folders that it could not watch; ask the kernel whether it was the limit."""
        problem = _inotify_problem()
        told = _limit_told(problem) if problem else None
        if told and told != self._limit:
            log.warning(told)
        if told or not self._blind:
            self._limit = told

    def _overflowed(self) -> None:
        log.warning("too many changes at once for the system's queue; scanning the folders to catch up")
        self._rescan(None)
        for root_id in list(self._watched):
            self._rescan(root_id)

    # -- events (called from watchdog's thread) --------------------------------------------

    def happened(self, event: FileSystemEvent) -> None:
        path = os.fsdecode(event.src_path)
        kind = event.event_type
        if kind in ("opened", "closed_no_write"):
            return
        now = time.monotonic()
        with self._lock:
            if kind == "moved":
                self._moved.append((path, os.fsdecode(event.dest_path)))
                self._written.discard(path)
                self._due.pop(path, None)
            elif kind == "closed":
                self._written.discard(path)
                self._due[path] = now + CLOSED_S
            elif kind == "modified":
                if event.is_directory:
                    return
                self._written.add(path)
                self._due[path] = now + (OPEN_S if TELLS_CLOSING else QUIET_S)
            elif kind == "created" and not event.is_directory:
                if path not in self._written:
                    self._due[path] = now + PLACED_S
            else:  # deleted; a folder created
                self._due[path] = now
            self._lock.notify_all()

    # -- the worker ------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                now = time.monotonic()
                soonest = min(self._due.values(), default=now + 1.0)
                if not self._moved and soonest > now:
                    self._lock.wait(min(soonest - now, 1.0))
                now = time.monotonic()
                moved, self._moved = self._moved, []
                ready = [p for p, t in self._due.items() if t <= now]
                for path in ready:
                    del self._due[path]
                    self._written.discard(path)
            if not (moved or ready) or self._stop.is_set():
                continue
            try:
                self._look_at(moved, ready)
            except LibraryError as error:  # a full disk: look again later
                log.warning("%s", error)
                with self._lock:
                    self._moved = moved + self._moved
                    self._due.update({p: time.monotonic() + 5.0 for p in ready if p not in self._due})
                self._stop.wait(1.0)
            except Exception:  # the boundary of a thread: watching must not end silently
                log.exception("watching: an error that should not happen")
                self._rescan(None)

    def _look_at(self, moved: list[tuple[str, str]], ready: list[str]) -> None:
        changed = False
        moves = []
        for old, new in moved:
            found = self._found(new)
            if found is not None:
                moves.append((old, *found))
            else:
                ready.append(old)
                ready.append(new)
        for old, root_id, found_file in moves:
            if self._catalogue.files.move(old, root_id, found_file):
                changed = True
            else:
                ready.extend((old, found_file.path))
        found_by_root: dict[int, list[FoundFile]] = {}
        gone: list[str] = []
        beside: dict[tuple[int, str], list[str]] = {}  # in a folder of a root
        for path in ready:
            changed |= self._one(path, found_by_root, gone, beside)
        for root_id, found_files in found_by_root.items():
            differing = self._catalogue.files.differing(found_files)
            if differing:
                self._catalogue.files.note(root_id, differing)
                changed = True
        if gone:
            changed |= self._catalogue.files.remove(gone) > 0
        for (root_id, folder), names in beside.items():
            changed |= self._said_in(root_id, folder, names)
        if changed:
            self._noted()

    def _one(
        self, path: str, found: dict[int, list[FoundFile]], gone: list[str], beside: dict[tuple[int, str], list[str]]
    ) -> bool:
        """Look at one path. Returns whether the catalogue changed at once."""
        root = self._root_of(path)
        if root is None:
            return False
        root_id, top = root
        if os.path.basename(path) == IGNORE_FILE:  # noqa: PTH119
            self._rules.clear()
            self._rescan(root_id)
            return False
        try:
            status = os.stat(path)  # noqa: PTH116 – a path that need not be UTF-8
        except OSError:
            if path == top:
                self._rescan(root_id)
                return False
            gone.append(path)
            _note_words(path, root_id, beside)
            return bool(self._catalogue.files.remove_under(path))
        if stat.S_ISDIR(status.st_mode):
            if path == top:
                self._rescan(root_id)
            else:
                self._walk(path)
            return False
        here = self._found(path)
        if here is not None:
            found.setdefault(here[0], []).append(here[1])
        else:
            gone.append(path)
            _note_words(path, root_id, beside)
        return False

    def _said_in(self, root_id: int, folder: str, names: list[str]) -> bool:
        """Files came, changed or went: what they say of those beside them is read again. Whether there were
        any."""
        return read_again(self._catalogue, folder, names, self._catalogue.files.stamps(root_id, folder)) > 0

    def _walk(self, folder: str) -> None:
        """A folder appeared: look at all that is in it, once it has had time to settle."""
        with self._lock:
            for at, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(at, name)  # noqa: PTH118
                    if path not in self._due and self._intake.kind(path) is not None:
                        self._due[path] = time.monotonic() + PLACED_S

    def _found(self, path: str) -> tuple[int, FoundFile] | None:
        """The root and the stamp of a file that belongs into the library; None for anything else."""
        kind = self._intake.kind(path)
        root = self._root_of(path)
        if kind is None or root is None:
            return None
        folder, name = os.path.split(path)
        rules = self._rules_in(root[1], folder)
        if rules is None or rules.why_not(folder, name, False):
            return None
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return root[0], FoundFile(path, kind, stamp_of(status))

    def _rules_in(self, top: str, folder: str) -> Any:
        now = time.monotonic()
        known = self._rules.get(folder)
        if known is None or known[0] < now:
            if len(self._rules) > 10_000:
                self._rules.clear()
            known = (now + RULES_KEPT_S, rules_for(top, folder, self._intake.copies))
            self._rules[folder] = known
        return known[1]

    def _root_of(self, path: str) -> tuple[int, str] | None:
        """The innermost root that holds a path; None in the library's own folder or one left out."""
        best: tuple[int, str] | None = None
        for root_id, (top, _) in list(self._watched.items()):
            if (path == top or path.startswith(top.rstrip(os.sep) + os.sep)) and (
                best is None or len(top) > len(best[1])
            ):
                best = (root_id, top)
        if best is None:
            return None
        for top in (self._data_dir, *self._left_out()):
            if path.startswith(top + os.sep) and len(top) > len(best[1]):
                return None
        return best

    def _left_out(self) -> list[str]:
        now = time.monotonic()
        known = self._rules.get("")
        if known is None or known[0] < now:
            paths = [str(r.path) for r in self._catalogue.files.roots() if r.state == "left_out"]
            known = self._rules[""] = (now + RULES_KEPT_S, paths)
        return known[1]


def _note_words(path: str, root_id: int, beside: dict[tuple[int, str], list[str]]) -> None:
    """A file that may hold words of those beside it."""
    folder, name = os.path.split(path)
    if may_describe_others(name):
        beside.setdefault((root_id, folder), []).append(name)


class _Forward:
    """watchdog's handler interface, one method of it."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def dispatch(self, event: FileSystemEvent) -> None:
        self._watcher.happened(event)


class _OverflowHandler(logging.Handler):
    """watchdog tells of an overflow only in its log."""

    def __init__(self, told: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._told()


def _inotify_problem() -> int:
    """0 where one more folder could be watched, else the kernel's reason (ENOSPC, EMFILE). Linux only."""
    if not sys.platform.startswith("linux"):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return ctypes.get_errno()
    try:
        watch = libc.inotify_add_watch(descriptor, b"/", 0x00000400)  # IN_DELETE_SELF
        return ctypes.get_errno() if watch < 0 else 0
    finally:
        os.close(descriptor)


def _limit_told(number: int) -> str:
    name = "max_user_instances" if number == errno.EMFILE else "max_user_watches"
    more = 1024 if number == errno.EMFILE else 1_048_576
    return (
        "The system's limit of watched folders is reached: changes are found by a scan every few seconds. "
        f"To watch everything: sudo sysctl fs.inotify.{name}={more} (and put it into /etc/sysctl.conf)."
    )
