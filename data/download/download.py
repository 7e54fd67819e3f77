"""`python -m data.download --root DIR`: training sources and the MMEB-V2 benchmark, from the hub to a folder.

Built around `Plan`, a list of files with sizes asked of the hub before the first byte is fetched: so the disk
can be checked, a dry run can print what it would cost and under which terms, and a stopped download goes on
where it was. Files come to `<root>/<repository>/<path>`; archives are unpacked beside and then removed.
What names need is `plan.py`'s, one file's way over the network `hub.py`'s; what rows mean nobody's here.

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
from data.download.plan import GROUPS, Wanted, wanted

TABLES = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".md")


@dataclass
class Plan:
    """What a download comes to: `files` still to fetch, by `Wanted`."""

    files: list[tuple[Wanted, list[HubFile]]] = field(default_factory=list)
    unmatched: list[Wanted] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(f.size for _, files in self.files for f in files)


def plan(hub: Hub, root: Path, wants: Sequence[Wanted]) -> Plan:
    """The files that are still missing. Raises `OSError` when the hub cannot be reached."""
    found = Plan()
    for one in wants:
        try:
            files = [f for f in hub.files(one.repo) if _matches(f.path, one)]
        except NotThere:
            files = []
        if not files:
            found.unmatched.append(one)
        if left := [f for f in files if not _done(root, f, one)]:
            found.files.append((one, left))
    return found


def fetch(hub: Hub, root: Path, one: Wanted, files: Sequence[HubFile], tell: Callable[[str], None]) -> None:
    """Fetch, check and unpack. What is whole is not fetched again."""
    if one.parts:  # one archive in pieces: all of them are needed to unpack it
        files = sorted((f for f in hub.files(one.repo) if _matches(f.path, one)), key=lambda f: f.path)
    for file in files:
        place = root / file.repo / file.path
        if not (place.is_file() and place.stat().st_size == file.size):
            tell(f"{file.repo}/{file.path} ({_size(file.size)})")
            fetch_file(hub, file, place)
        if one.into is not None and not one.parts:
            _unpacked(root, [file], one)
    if one.into is not None and one.parts:
        _unpacked(root, files, one)


def require_room(root: Path, found: Plan) -> None:
    """Refuse before the start what cannot fit: files, and the largest archive's contents beside it."""
    root.mkdir(parents=True, exist_ok=True)
    archives = [
        sum(f.size for f in files) if w.parts else max(f.size for f in files) for w, files in found.files if w.into
    ]
    need = found.bytes + max(archives, default=0)
    free = shutil.disk_usage(root).free
    if free < need:
        raise DownloadError(
            f"{_size(need)} are needed in {root} ({_size(found.bytes)} of files and room to unpack), "
            f"{_size(free)} are free; choose another --root, or less with --only"
        )


def _unpacked(root: Path, files: Sequence[HubFile], one: Wanted) -> None:
    """Unpack one archive; only when all its pieces are marked as done is the first of them removed."""
    places = [root / file.repo / file.path for file in files]
    _unpack(places, root / one.repo, one)
    for file in files:
        _mark(root, file)
    for place in places:
        place.unlink()


def _unpack(archives: Sequence[Path], repo: Path, one: Wanted) -> None:
    target = repo / (one.into or "")
    try:
        if archives[0].suffix == ".zip":
            with zipfile.ZipFile(archives[0]) as packed:
                names = packed.namelist()
                # Some archives hold `images/…`, some what is below it.
                packed.extractall(repo if all(n.startswith(f"{one.into}/") for n in names) else target)
            return
        with _Joined(archives) as stream, tarfile.open(fileobj=stream, mode="r|gz") as packed_tar:
            for member in packed_tar:
                if one.strip and member.name.split("/")[0] == one.strip:
                    member.name = str(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
                if member.name not in ("", "."):
                    packed_tar.extract(member, target, filter="data")
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise DownloadError(
                f"the disk is full at {target} ({archives[0].name} is unpacked in part); make room and start again"
            ) from error
        raise DownloadError(f"{archives[0]} cannot be unpacked ({error}); delete it and start again") from error


class _Joined(io.RawIOBase):
    """Pieces of one file, read as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self._at = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        got = b""
        while self._at < len(self._files) and (size < 0 or len(got) < size):
            piece = self._files[self._at].read(size - len(got) if size >= 0 else -1)
            if piece:
                got += piece
            else:
                self._at += 1
        return got

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def _matches(path: str, one: Wanted) -> bool:
    if one.pattern.endswith("*") and one.into is None:
        return fnmatch.fnmatchcase(path, one.pattern) and path.lower().endswith(TABLES)
    return fnmatch.fnmatchcase(path, one.pattern)


def _marker(root: Path, file: HubFile) -> Path:
    return root / file.repo / ".unpacked" / f"{file.path.replace('/', '__')}.json"


def _mark(root: Path, file: HubFile) -> None:
    marker = _marker(root, file)
    marker.parent.mkdir(exist_ok=True)
    marker.write_text(json.dumps({"size": file.size, "sha256": file.sha256}) + "\n")


def _marked(root: Path, file: HubFile) -> bool:
    """Whether this very archive was unpacked. A marker that a power cut left empty says nothing."""
    try:
        said = json.loads(_marker(root, file).read_text())
    except (OSError, ValueError):
        return False
    return said == {"size": file.size, "sha256": file.sha256}


def _done(root: Path, file: HubFile, one: Wanted) -> bool:
    if one.into is not None:
        return _marked(root, file)
    place = root / file.repo / file.path
    return place.is_file() and place.stat().st_size == file.size


def _size(count: int | float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _print_plan(wants: Sequence[Wanted], found: Plan | None) -> None:
    """Sizes and terms: exact where the hub answered, else what was last seen there."""
    left = {id(one): files for one, files in found.files} if found else {}
    absent = {id(one) for one in found.unmatched} if found else set()
    for one in wants:
        if found is None:
            size = "unknown" if one.gb is None else f"~ {one.gb:.1f} GB"
        elif id(one) in absent:
            size = "not there"
        else:
            size = _size(sum(f.size for f in left[id(one)])) if id(one) in left else "here"
        print(f"{size:>10}  {one.repo}/{one.pattern}\n{'':12}{one.licence}")
    if found is None:
        known = sum(one.gb or 0 for one in wants)
        print(f"\nmore than {known:.0f} GB (the hub could not be reached: sizes as last seen, some unknown)")
    else:
        print(f"\n{_size(found.bytes)} to fetch")


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 done, 1 something could not be fetched, 2 wrong usage."""
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
        wants = wanted(options.only)
    except DownloadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    hub = Hub()
    try:
        try:
            found = plan(hub, options.root, wants)
        except OSError as error:
            if options.dry_run:
                _print_plan(wants, None)
                return 0
            raise DownloadError(f"the hub at {hub.api.endpoint} cannot be reached ({error})") from error
        if options.dry_run:
            _print_plan(wants, found)
            return 0
        for one in found.unmatched:
            print(f"not on the hub any more: {one.repo}/{one.pattern}", file=sys.stderr)
        require_room(options.root, found)
        for one, files in found.files:
            fetch(hub, options.root, one, files, lambda line: print(line, file=sys.stderr))
    except DownloadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if found.unmatched else 0
