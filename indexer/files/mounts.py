"""Where a worker finds the library's folders: what is /volume1 for the library may be /mnt/nas here.

Built around pairs HERE=THERE, in the order of a mount command: what the library calls THERE lies
HERE on this machine. A root without a pair is looked for under its own name. It knows nothing of
what is in the folders.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from indexer.errors import LibraryError

FORM = "--map HERE=THERE, as --map /mnt/nas=/volume1: what the library calls /volume1 lies here in /mnt/nas"


class Mounts:
    def __init__(self, pairs: Sequence[str] = ()) -> None:
        """Raises LibraryError for what is no pair of absolute folders, and for two of one THERE."""
        self._pairs: list[tuple[str, str]] = []  # there, here; the longest first
        for pair in pairs:
            here, found, there = pair.rpartition("=/")
            if not found:
                raise LibraryError(f"{pair} maps nothing: write {FORM}.")
            there = os.path.normpath("/" + there)
            if not Path(here).is_absolute():
                raise LibraryError(f"{here or 'nothing'} is no folder from the top: write {FORM}.")
            here = os.path.normpath(here)
            if any(there == known for known, _ in self._pairs):
                raise LibraryError(f"{there} is mapped twice: one folder here for each of the library's.")
            self._pairs.append((there, here))
        self._pairs.sort(key=lambda pair: -len(pair[0]))

    def check(self, roots: Sequence[Path]) -> None:
        """Raise LibraryError for a pair that has nothing to do with the library's roots, or is the wrong
        way round. Nothing is asked of a library without roots."""
        for there, here in self._pairs if roots else ():
            if any(_holds(there, str(r)) for r in roots):
                continue
            pair = f"--map {here}={there}"
            known = ", ".join(str(r) for r in roots)
            if any(_holds(here, str(r)) for r in roots):
                raise LibraryError(f"{pair} is the wrong way round: write --map {there}={here}.")
            part = next((r for r in roots if _holds(str(r), there)), None)
            if part is not None:
                raise LibraryError(f"{pair} maps a part of the library's folder {part}: map the whole of it.")
            raise LibraryError(f"{pair}: the library has no folder under {there}; it has {known}.")

    def here(self, path: str) -> str:
        """Where a path of the library's is on this machine."""
        for there, here in self._pairs:
            if _holds(there, path):
                return (here.rstrip(os.sep) + path[len(there.rstrip(os.sep)) :]) or os.sep
        return path

    def sees(self, root: Path, *, empty: bool) -> str:
        """Where a root is on this machine; nothing when it cannot be seen. A folder with nothing in it is a
        mount point without its mount, unless the root is known to be `empty`."""
        local = self.here(str(root))
        try:
            with os.scandir(local) as entries:
                return local if empty or next(entries, None) is not None else ""
        except OSError:
            return ""


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
