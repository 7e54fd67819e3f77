"""The paths of the library's folders on a worker's machine: /volume1 of the library may be /mnt/nas here.

Built around pairs HERE=THERE, in the order of a mount command: the library's folder THERE is HERE on this
machine. A root without a pair has the same path on both machines. It knows nothing of the folders' files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from indexer.errors import LibraryError

FORM = "--map HERE=THERE, as --map /mnt/nas=/volume1: what the library calls /volume1 lies here in /mnt/nas"


class Mounts:
    def __init__(self, pairs: Sequence[str] = ()) -> None:
        """Raises LibraryError if a pair is not two absolute paths, or if two pairs have the same THERE."""
        self._pairs: list[tuple[str, str]] = []  # (there, here), the longest `there` first
        for pair in pairs:
            here, separator, there = pair.rpartition("=/")
            if not separator:
                raise LibraryError(f"{pair} maps nothing: write {FORM}.")
            there = os.path.normpath("/" + there)
            if not Path(here).is_absolute():
                raise LibraryError(f"{here or 'nothing'} is no folder from the top: write {FORM}.")
            here = os.path.normpath(here)
            if any(there == other for other, _ in self._pairs):
                raise LibraryError(f"{there} is mapped twice: one folder here for each of the library's.")
            self._pairs.append((there, here))
        self._pairs.sort(key=lambda pair: -len(pair[0]))

    def check(self, roots: Sequence[Path]) -> None:
        """Raise LibraryError if a pair maps none of the library's roots or is the wrong way round. A library
        without roots is not checked."""
        for there, here in self._pairs if roots else ():
            if any(_holds(there, str(r)) for r in roots):
                continue
            pair = f"--map {here}={there}"
            names = ", ".join(str(r) for r in roots)
            if any(_holds(here, str(r)) for r in roots):
                raise LibraryError(f"{pair} is the wrong way round: write --map {there}={here}.")
            part = next((r for r in roots if _holds(str(r), there)), None)
            if part is not None:
                raise LibraryError(f"{pair} maps a part of the library's folder {part}: map the whole of it.")
            raise LibraryError(f"{pair}: the library has no folder under {there}; it has {names}.")

    def here(self, path: str) -> str:
        """Returns the path on this machine of a path of the library."""
        for there, here in self._pairs:
            if _holds(there, path):
                return (here.rstrip(os.sep) + path[len(there.rstrip(os.sep)) :]) or os.sep
        return path

    def there(self, local: str) -> str:
        """Returns the library's path of a path on this machine."""
        for there, here in sorted(self._pairs, key=lambda pair: -len(pair[1])):
            if _holds(here, local):
                return (there.rstrip(os.sep) + local[len(here.rstrip(os.sep)) :]) or os.sep
        return local

    def sees(self, root: Path, *, empty: bool) -> str:
        """Returns the path of a root on this machine; "" if it cannot be seen. A folder without entries counts as
        a mount point that is not mounted, unless the root may be `empty`."""
        local = self.here(str(root))
        try:
            with os.scandir(local) as entries:
                return local if empty or next(entries, None) is not None else ""
        except OSError:
            return ""


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
