"""Downloads the files of a model from the hub into its folder: all of them, or none.

Built around `hub.fetch_file`. Files are downloaded into a folder beside the model's, resumed after a stop, verified by
hash, and moved into the folder when all are complete (`install`). It knows nothing of the list of models or the content
of files.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.download.hub import DownloadError, Hub, HubFile, fetch_file, is_intact, size_on_disk


class HubAway(Exception):
    """The hub does not answer, or the answer is not a hub's."""


MIN_FREE_BYTES = 64 << 20
"""Bytes of the disk that a download leaves free."""
PROGRESS_S = 1.0


@dataclass(frozen=True)
class ModelPlan:
    """`files`: to be downloaded into `folder`; `on_disk`: paths of the files that `folder` has already."""

    folder: Path
    revision: str
    files: tuple[HubFile, ...]
    on_disk: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """The size of the download, without the parts that a stopped run left."""
        return sum(
            max(0, f.size - size_on_disk(self.staging(f, ".part")) - size_on_disk(self.staging(f))) for f in self.files
        )

    def staging(self, file: HubFile, ending: str = "") -> Path:
        """Returns the path of a file in the staging folder."""
        return staging_folder(self.folder) / (file.path + ending)


@dataclass(frozen=True)
class ModelFile:
    """A file in the model's folder. `source` of the hash: "declared" or "hub"."""

    path: str
    sha256: str
    source: str


def staging_folder(folder: Path) -> Path:
    """Returns the folder of a model's files until all are complete."""
    return folder.with_name(folder.name + ".part")


def plan_model(
    hub: Hub,
    repo: str,
    revision: str | None,
    paths: Sequence[str],
    folder: Path,
    checksums: Mapping[str, tuple[int, str]] | None = None,
) -> ModelPlan:
    """Returns the download of `paths`. `revision` None: the newest. `checksums`: path -> (bytes, SHA-256).

    Raises `HubAway` if the hub does not answer, `DownloadError` if it lacks a file or has another one.
    """
    checksums = checksums or {}
    try:
        revision = revision or hub.revision(repo)
        hub_files = {file.path: file for file in hub.files(repo, "model", revision)}
    except OSError as error:
        raise HubAway(str(error)) from error
    files, on_disk = [], []
    for path in paths:
        if path not in hub_files:
            raise DownloadError(f"{repo} at {revision[:12]} has no {path}; update Sightline")
        file = hub_files[path]
        if path in checksums:
            if (file.size, file.sha256 or checksums[path][1]) != checksums[path]:
                raise DownloadError(
                    f"{repo}/{path} on the hub is not the file that this version of Sightline expects, or not that of"
                    " the first download"
                )
            file = replace(file, sha256=checksums[path][1])
        if is_intact(file, folder / path):
            on_disk.append(path)
        else:
            files.append(file)
    return ModelPlan(folder, revision, tuple(files), tuple(on_disk))


def require_room(plans: Sequence[ModelPlan], folder: Path, built: int = 0) -> None:
    """Raises `DownloadError` if the disk of `folder` has too little room for the downloads and `built` bytes more."""
    size = sum(plan.bytes for plan in plans)
    parent = next(p for p in folder.parents if p.is_dir())
    free = shutil.disk_usage(parent).free
    if size + built + MIN_FREE_BYTES > free:
        graphs = f", {built / 1e6:,.0f} MB of graphs to be built," if built else ","
        raise DownloadError(
            f"{size / 1e6:,.0f} MB are to be fetched{graphs} {MIN_FREE_BYTES / 1e6:,.0f} MB stay free, and {parent} has"
            f" {free / 1e6:,.0f} MB: "
            "make room, or set SIGHTLINE_MODELS to a folder on another disk; nothing was fetched"
        )


def fetch_model(
    hub: Hub, plan: ModelPlan, report: Callable[[str], None] = print, progress: Callable[[str], None] | None = None
) -> None:
    """Download the files of a plan into its staging folder. `progress`: what has come of a file, every second. Raises
    `DownloadError`."""
    for file in plan.files:
        if not is_intact(file, plan.staging(file)):
            report(f"{file.path}  {file.size / 1e6:,.1f} MB")
            with _progress(file, plan.staging(file, ".part"), progress):
                fetch_file(hub, file, plan.staging(file))


@contextlib.contextmanager
def _progress(file: HubFile, partial: Path, progress: Callable[[str], None] | None) -> Iterator[None]:
    """Report the size of a growing file from a thread."""
    stop = threading.Event()

    def watch(report: Callable[[str], None]) -> None:
        while not stop.wait(PROGRESS_S):
            report(f"{file.path}  {size_on_disk(partial) / 1e6:,.0f} of {file.size / 1e6:,.0f} MB")

    watcher = threading.Thread(target=watch, args=(progress,), daemon=True, name="download-progress")
    try:
        if progress is not None:
            watcher.start()
        yield
    finally:
        stop.set()
        if progress is not None:
            watcher.join()


def install(plan: ModelPlan, checksums: Mapping[str, tuple[int, str]] | None = None) -> list[ModelFile]:
    """Move the files of a plan, which are all in the staging folder, into its folder. `checksums`: those that are
    declared."""
    result = [
        ModelFile(
            file.path,
            file.sha256 or _sha256(plan.staging(file)),  # `fetch_file` and `is_intact` have verified `file.sha256`
            "declared" if file.path in (checksums or {}) else "hub",
        )
        for file in plan.files
    ]
    for file in plan.files:
        target = plan.folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        plan.staging(file).replace(target)
    return result


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
