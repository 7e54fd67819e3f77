"""The folders of a library: adding one, and forgetting one.

Built around the catalogue's roots. It knows nothing of the files' contents.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import Root
from indexer.errors import LibraryError
from indexer.thumbnails import Thumbnails

ADDED = "Added"
"""The folder in the library's own folder for files that are fetched by address; the one root there."""


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
        if (path == self._data_dir or self._data_dir in path.parents) and path != self._data_dir / ADDED:
            raise LibraryError(f"{shown} is the library's own folder: choose the folder of your files.")
        root = {r.path: r for r in self._catalogue.files.roots()}.get(path)
        if root is None or root.state == "left_out":
            self._catalogue.files.set_root(path, "here")

    def forget(self, folder: Path) -> int:
        """See `Library.forget`."""
        path = absolute(folder)
        roots = self._catalogue.files.roots()
        root = next((r for r in roots if r.path == path and r.state != "left_out"), None)
        above = [r for r in roots if r.path in path.parents and r.state != "left_out"]
        below = [r for r in roots if path in r.path.parents]
        if root is None and not above and not any(r.state != "left_out" for r in below):
            raise LibraryError(f"{path} is not in the library; `sightline status` lists its folders.")
        count = sum(self._catalogue.files.remove_root(r.id) for r in below)
        if root is not None:
            count += self._catalogue.files.remove_root(root.id)
        if above:
            count += self._catalogue.files.remove_under(str(path))
            self._catalogue.files.set_root(path, "left_out")
        for digest in self._catalogue.contents.sweep(kept_s=-1.0):  # delete at once, not after a day
            self._thumbnails.remove(digest)
        return count

    def for_added(self, to: Path | None) -> tuple[Path, Path]:
        """See `Library.folder_for_added`."""
        if to is None:
            return self._data_dir / ADDED, self._data_dir / ADDED
        path = absolute(to)
        holding = [r for r in self._catalogue.files.roots() if r.path == path or r.path in path.parents]
        root = max(holding, key=lambda r: len(r.path.parts), default=None)
        if root is None or root.state == "left_out" or not path.is_dir():
            raise LibraryError(f"{path} is no folder of the library; `sightline status` lists its folders.")
        return path, root.path

    def roots(self, folders: Sequence[Path] = ()) -> list[Root]:
        """Returns the roots at `folders`; all roots without any."""
        paths = {absolute(f) for f in folders}
        return [r for r in self._catalogue.files.roots() if r.state != "left_out" and (not paths or r.path in paths)]


def absolute(path: Path) -> Path:
    """Returns the absolute path, with symlinks as the user wrote them."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 – not through symlinks
