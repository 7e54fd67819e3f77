"""The files of one model from the hub into its folder: all of them, or none.

Built around `hub.fetch_file`. Files arrive in a folder beside, go on where a stopped run left them, are held to their
hashes, and move into place together. It knows nothing of which models there are and of what is in the files.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.download.hub import DownloadError, Hub, HubFile, fetch_file


class HubAway(Exception):
    """The hub does not answer, or what answers is no hub."""


SPARE = 64 << 20
"""Bytes that stay free on the disk."""


@dataclass(frozen=True)
class ModelPlan:
    """`files`: what is still to be fetched into `folder`; `there`: what lies there whole."""

    folder: Path
    revision: str
    files: tuple[HubFile, ...]
    there: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Still to fetch; less what a stopped run left."""
        return sum(
            max(0, file.size - _size(self.staged(file, ".part")) - _size(self.staged(file))) for file in self.files
        )

    def staged(self, file: HubFile, ending: str = "") -> Path:
        """Where a file waits until all have come."""
        return self.folder.with_name(self.folder.name + ".part") / (file.path + ending)


@dataclass(frozen=True)
class Came:
    """A file in its place. `source`: where its hash is from, "declared" or "hub"."""

    path: str
    sha256: str
    source: str


def plan_model(
    hub: Hub,
    repo: str,
    revision: str | None,
    paths: Sequence[str],
    folder: Path,
    known: Mapping[str, tuple[int, str]] | None = None,
) -> ModelPlan:
    """What is to be fetched of `paths`. `revision` None: the newest. `known`: path to (bytes, SHA-256).

    Raises `HubAway` when the hub does not answer, `DownloadError` when it has other files than are expected.
    """
    known = known or {}
    try:
        at = revision or hub.revision(repo)
        listed = {file.path: file for file in hub.files(repo, "model", at)}
    except OSError as error:
        raise HubAway(str(error)) from error
    files, there = [], []
    for path in paths:
        if path not in listed:
            raise DownloadError(f"{repo} at {at[:12]} has no {path}; update Sightline")
        file = listed[path]
        if path in known:
            if (file.size, file.sha256 or known[path][1]) != known[path]:
                raise DownloadError(f"{repo}/{path} on the hub is not the file that this version of Sightline expects")
            file = replace(file, sha256=known[path][1])
        if _is_same(file, folder / path):
            there.append(path)
        else:
            files.append(file)
    return ModelPlan(folder, at, tuple(files), tuple(there))


def require_room(plan: ModelPlan) -> None:
    """Raises `DownloadError` when the disk has no room for what is to be fetched."""
    place = next(p for p in plan.folder.parents if p.is_dir())
    free = shutil.disk_usage(place).free
    if plan.bytes + SPARE > free:
        raise DownloadError(
            f"{plan.bytes / 1e6:,.0f} MB are to be fetched, and {place} has {free / 1e6:,.0f} MB free: "
            "make room, or set SIGHTLINE_MODELS to a folder on another disk; nothing was fetched"
        )


def fetch_model(
    hub: Hub, plan: ModelPlan, known: Mapping[str, tuple[int, str]] | None = None, report: Callable[[str], None] = print
) -> list[Came]:
    """Fetch what is missing and put it into its folder. Raises `DownloadError`; then the folder is as it was."""
    require_room(plan)
    for file in plan.files:
        if not _is_same(file, plan.staged(file)):
            report(f"{file.path}  {file.size / 1e6:,.1f} MB")
            fetch_file(hub, file, plan.staged(file))
    came = [
        Came(file.path, _sha256(plan.staged(file)), "declared" if file.path in (known or {}) else "hub")
        for file in plan.files
    ]
    for file in plan.files:
        place = plan.folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        plan.staged(file).replace(place)
    shutil.rmtree(plan.folder.with_name(plan.folder.name + ".part"), ignore_errors=True)
    return came


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_same(file: HubFile, path: Path) -> bool:
    """Whether a file on this disk is the hub's: by size and checksum."""
    if _size(path) != file.size or not path.is_file():
        return False
    if file.sha256:
        return _sha256(path) == file.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == file.blob


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
