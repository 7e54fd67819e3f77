"""The folders of a library: which ones it takes in, and how one is taken out again.

Built around the catalogue's roots. It knows nothing of what is in the files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import Root
from indexer.errors import LibraryError
from indexer.thumbnails import Thumbnails


class Folders:
    def __init__(self, catalogue: Catalogue, thumbnails: Thumbnails, data_dir: Path) -> None:
        self._catalogue, self._thumbnails, self._data_dir = catalogue, thumbnails, data_dir

    def add(self, folder: Path) -> None:
        """See `Library.add_root`."""
        path = absolute(folder)
        shown = os.fsencode(path).decode("utf-8", "replace")
        try:
            if not path.exists():
                raise LibraryError(f"{shown} does not exist: check the name.")
            if not path.is_dir():
                raise LibraryError(f"{shown} is a file: give the folder that it is in.")
            with os.scandir(path):
                pass
        except PermissionError as error:
            raise LibraryError(f"{shown} may not be read: change its permissions or choose another folder.") from error
        except OSError as error:
            raise LibraryError(f"{shown} cannot be read ({error.strerror}).") from error
        if path == self._data_dir or self._data_dir in path.parents:
            raise LibraryError(f"{shown} is the library's own folder: choose the folder of your files.")
        known = {r.path: r for r in self._catalogue.files.roots()}.get(path)
        if known is None or known.state == "left_out":
            self._catalogue.files.set_root(path, "here")

    def forget(self, folder: Path) -> int:
        """See `Library.forget`."""
        path = absolute(folder)
        roots = self._catalogue.files.roots()
        own = next((r for r in roots if r.path == path and r.state != "left_out"), None)
        above = [r for r in roots if r.path in path.parents and r.state != "left_out"]
        below = [r for r in roots if path in r.path.parents]
        if own is None and not above and not any(r.state != "left_out" for r in below):
            raise LibraryError(f"{path} is not in the library; `sightline status` lists its folders.")
        forgotten = sum(self._catalogue.files.remove_root(r.id) for r in below)
        if own is not None:
            forgotten += self._catalogue.files.remove_root(own.id)
        if above:
            forgotten += self._catalogue.files.remove_under(str(path))
            self._catalogue.files.set_root(path, "left_out")
        for digest in self._catalogue.contents.sweep(kept_s=-1.0):  # asked to forget: nothing of it stays
            self._thumbnails.remove(digest)
        return forgotten

    def roots(self, folders: Sequence[Path] = ()) -> list[Root]:
        """The roots of these folders; of all, without any."""
        wanted = {absolute(f) for f in folders}
        return [r for r in self._catalogue.files.roots() if r.state != "left_out" and (not wanted or r.path in wanted)]


def absolute(path: Path) -> Path:
    """The path from the top, its symlinks as the user wrote them."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 – not through symlinks
