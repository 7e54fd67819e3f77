"""`python -m data.download --root DIR`: training sources and the MMEB-V2 benchmark, from the hub to a folder.

Built around `Plan`, the files that are still missing, with their sizes, before the first download: it serves the
check of the disk, the dry run and a second run after a stop. The path of a file is `<root>/<repository>/<path>`;
archives are unpacked there and deleted. It knows nothing of names (`plan.py`), the network (`hub.py`) or rows.

    python -m data.download --root /data/mmeb --dry-run
    python -m data.download --root /data/mmeb --only ImageNet_1K WebQA
    python -m data.download --root /data/mmeb --only train/WebQA eval/K700
"""

from __future__ import annotations

import argparse
import errno
import fnmatch
import importlib.util
import io
import json
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data.download.hub import DownloadError, Hub, HubFile, NotThere, fetch_file
from data.download.plan import GROUPS, FileSet, file_sets

TABLES = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".md")


@dataclass
class Plan:
    """`files`: the missing files of each file set; `unmatched`: the file sets without any file on the hub."""

    files: list[tuple[FileSet, list[HubFile]]] = field(default_factory=list)
    unmatched: list[FileSet] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(f.size for _, files in self.files for f in files)


def plan(hub: Hub, root: Path, file_sets: Sequence[FileSet]) -> Plan:
    """Returns the files that are still missing. Raises `OSError` if the hub cannot be reached."""
    out = Plan()
    for file_set in file_sets:
        try:
            files = [f for f in hub.files(file_set.repo) if _matches(f.path, file_set)]
        except NotThere:
            files = []
        if not files:
            out.unmatched.append(file_set)
        if missing := [f for f in files if not _is_complete(root, f, file_set)]:
            out.files.append((file_set, missing))
    return out


def fetch(hub: Hub, root: Path, file_set: FileSet, files: Sequence[HubFile], notice: Callable[[str], None]) -> None:
    """Download, verify and unpack. It skips complete files."""
    if file_set.parts:  # one archive: all its parts are needed to unpack it
        files = sorted((f for f in hub.files(file_set.repo) if _matches(f.path, file_set)), key=lambda f: f.path)
    for file in files:
        path = root / file.repo / file.path
        if not (path.is_file() and path.stat().st_size == file.size):
            notice(f"{file.repo}/{file.path} ({_size(file.size)})")
            fetch_file(hub, file, path)
        if file_set.into is not None and not file_set.parts:
            _unpack_and_delete(root, [file], file_set)
    if file_set.into is not None and file_set.parts:
        _unpack_and_delete(root, files, file_set)


def require_room(root: Path, plan: Plan) -> None:
    """Raises `DownloadError` if the disk has no room for the files and for the contents of the largest archive."""
    root.mkdir(parents=True, exist_ok=True)
    archives = [
        sum(f.size for f in files) if s.parts else max(f.size for f in files) for s, files in plan.files if s.into
    ]
    need = plan.bytes + max(archives, default=0)
    free = shutil.disk_usage(root).free
    if free < need:
        raise DownloadError(
            f"{_size(need)} are needed in {root} ({_size(plan.bytes)} of files and room to unpack), "
            f"{_size(free)} are free; choose another --root, or less with --only"
        )


def _unpack_and_delete(root: Path, parts: Sequence[HubFile], file_set: FileSet) -> None:
    """Unpack one archive. All its parts are marked as unpacked before the first is deleted."""
    paths = [root / file.repo / file.path for file in parts]
    _unpack(paths, root / file_set.repo, file_set)
    for file in parts:
        marker = _marker(root, file)
        marker.parent.mkdir(exist_ok=True)
        marker.write_text(json.dumps({"size": file.size, "sha256": file.sha256}) + "\n")
    for path in paths:
        path.unlink()


def _unpack(archives: Sequence[Path], repo: Path, file_set: FileSet) -> None:
    target = repo / (file_set.into or "")
    try:
        if archives[0].suffix == ".zip":
            with zipfile.ZipFile(archives[0]) as archive:
                # Some archives hold `images/…`, some what is below it.
                has_folder = all(name.startswith(f"{file_set.into}/") for name in archive.namelist())
                archive.extractall(repo if has_folder else target)
            return
        with _JoinedFile(archives) as stream, tarfile.open(fileobj=stream, mode="r|gz") as tar:
            for member in tar:
                if file_set.strip and member.name.split("/")[0] == file_set.strip:
                    member.name = str(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
                if member.name not in ("", "."):
                    tar.extract(member, target, filter="data")
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise DownloadError(
                f"the disk is full at {target} ({archives[0].name} is unpacked in part); make room and start again"
            ) from error
        raise DownloadError(f"{archives[0]} cannot be unpacked ({error}); delete it and start again") from error


class _JoinedFile(io.RawIOBase):
    """The parts of a file, read as one stream."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self._current = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = b""
        while self._current < len(self._files) and (size < 0 or len(data) < size):
            part = self._files[self._current].read(size - len(data) if size >= 0 else -1)
            data += part
            self._current += not part
        return data

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def _matches(path: str, file_set: FileSet) -> bool:
    is_table_pattern = file_set.pattern.endswith("*") and file_set.into is None
    return fnmatch.fnmatchcase(path, file_set.pattern) and (not is_table_pattern or path.lower().endswith(TABLES))


def _marker(root: Path, file: HubFile) -> Path:
    return root / file.repo / ".unpacked" / f"{file.path.replace('/', '__')}.json"


def _is_complete(root: Path, file: HubFile, file_set: FileSet) -> bool:
    """Whether a file is on the disk, or an archive of the same checksum is unpacked."""
    if file_set.into is None:
        path = root / file.repo / file.path
        return path.is_file() and path.stat().st_size == file.size
    try:
        marker: dict[str, object] = json.loads(_marker(root, file).read_text())
    except (OSError, ValueError):  # a power cut may leave an empty marker
        return False
    return marker == {"size": file.size, "sha256": file.sha256}


def _size(count: int | float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _print_plan(file_sets: Sequence[FileSet], plan: Plan | None) -> None:
    """Print sizes and licences. `plan` None: the hub cannot be reached, and sizes are those of the catalogue."""
    missing = {id(file_set): files for file_set, files in plan.files} if plan else {}
    unmatched = {id(file_set) for file_set in plan.unmatched} if plan else set()
    for file_set in file_sets:
        if plan is None:
            size = "unknown" if file_set.gb is None else f"~ {file_set.gb:.1f} GB"
        elif id(file_set) in unmatched:
            size = "not there"
        else:
            size = _size(sum(f.size for f in missing[id(file_set)])) if id(file_set) in missing else "here"
        print(f"{size:>10}  {file_set.repo}/{file_set.pattern}\n{'':12}{file_set.licence}")
    if plan is None:
        total = sum(file_set.gb or 0 for file_set in file_sets)
        print(f"\nmore than {total:.0f} GB (the hub could not be reached: sizes as last seen, some unknown)")
    else:
        print(f"\n{_size(plan.bytes)} to fetch")


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a file could not be downloaded, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m data.download", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="folder to put everything in")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="subsets, tasks, or " + ", ".join(GROUPS))
    parser.add_argument("--dry-run", action="store_true", help="print sizes and licences, fetch nothing")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("yaml") is None:
        print("error: downloads need PyYAML: pip install 'sightline[train]'", file=sys.stderr)
        return 1
    try:
        selection = file_sets(options.only)
    except DownloadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    hub = Hub()
    try:
        try:
            download_plan = plan(hub, options.root, selection)
        except OSError as error:
            if options.dry_run:
                _print_plan(selection, None)
                return 0
            raise DownloadError(f"the hub at {hub.api.endpoint} cannot be reached ({error})") from error
        if options.dry_run:
            _print_plan(selection, download_plan)
            return 0
        for file_set in download_plan.unmatched:
            print(f"not on the hub any more: {file_set.repo}/{file_set.pattern}", file=sys.stderr)
        require_room(options.root, download_plan)
        for file_set, files in download_plan.files:
            fetch(hub, options.root, file_set, files, lambda line: print(line, file=sys.stderr))
    except DownloadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if download_plan.unmatched else 0
