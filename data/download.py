"""`python -m data.download --root DIR`: training sources and the MMEB-V2 benchmark, from the hub to a folder.

Built around a list of files with sizes and checksums, asked of the hub before the first byte is fetched: so
the disk can be checked, a dry run can print what it would cost and under which terms, and a stopped download
goes on where it was. Files come to `<root>/<repository>/<path>`; archives are unpacked beside and then
removed. It knows nothing of what the rows mean.

    python -m data.download --root /data/mmeb --dry-run
    python -m data.download --root /data/mmeb --only ImageNet_1K WebQA
    python -m data.download --root /data/mmeb --only train/WebQA eval/K700
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import importlib.util
import io
import json
import os
import shutil
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

TABLES = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".md")
CHUNK = 2**20
TRIES = 5
# The benchmark's rows as they were for its paper, where they were replaced since.
PAPER = "paper"
GROUPS = ("train", "eval", "image", "video", "visdoc", PAPER)


class DownloadError(Exception):
    """Something cannot be fetched. One sentence for a person: what, from where, what to do."""


class NotThere(DownloadError):
    """The hub does not have it."""


@dataclass(frozen=True)
class Wanted:
    """Files of one repository that some names need. `into`: unpack there; None: not an archive."""

    repo: str
    pattern: str
    names: tuple[str, ...]
    licence: str
    into: str | None = None
    strip: str | None = None
    parts: bool = False
    gb: float | None = None


@dataclass(frozen=True)
class HubFile:
    repo: str
    path: str
    size: int
    sha256: str | None


@dataclass
class Plan:
    """What a download comes to: `files` still to fetch, by `Wanted`."""

    files: list[tuple[Wanted, list[HubFile]]] = field(default_factory=list)
    unmatched: list[Wanted] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(f.size for _, files in self.files for f in files)


@lru_cache
def table() -> dict[str, Any]:
    import yaml

    return yaml.safe_load(resources.files("data").joinpath("download.yaml").read_text(encoding="utf-8"))


def wanted(only: Sequence[str] = ()) -> list[Wanted]:
    """What the names need (none: everything). Raises `DownloadError` for a name that is nothing."""
    everything = [*_training(), *_benchmark()]
    if not only:
        return [one for one in everything if PAPER not in one.names]
    known = {name for one in everything for name in _spellings(one)}
    if unknown := [name for name in only if name not in known]:
        raise DownloadError(
            f"nothing is called {', '.join(unknown)}; names are {', '.join(GROUPS)}, the training subsets "
            "(data/sources/vlm2vec_v2.yaml), the benchmark's tasks and the hub's repositories; "
            "train/NAME and eval/NAME tell equal names apart"
        )
    return [one for one in everything if set(only) & _spellings(one)]


def _spellings(one: Wanted) -> set[str]:
    """`VOC2007` is a training subset and a task: both; `train/VOC2007` and `eval/VOC2007` are one of them."""
    if PAPER in one.names:  # superseded data, fetched only when asked for
        return {*one.names, one.repo}
    half = "train" if "train" in one.names else "eval"
    spelt = {f"{half}/{name}" for name in one.names if name not in GROUPS}
    return {*one.names, *spelt, f"mmeb-{half}", one.repo}


def _training() -> Iterator[Wanted]:
    from data.sources.recipe import subsets

    by_rows: dict[tuple[str, str], list[str]] = {}
    for subset in subsets().values():
        by_rows.setdefault((subset.repo, subset.rows), []).append(subset.name)
    for (repo, rows), of_rows in by_rows.items():
        yield Wanted(repo, rows, (*of_rows, "train"), subsets()[of_rows[0]].licence)
    for media in table()["training_media"]:
        here = [s for s in subsets().values() if s.repo == media["repo"]]
        if "each" in media:
            for subset in here:
                path = media["each"].format(name=subset.name)
                gb = media["gb"].get(subset.name)
                yield Wanted(
                    media["repo"], path, (subset.name, "train"), subset.licence, media["into"], gb=gb
                )
        else:
            names = tuple(s.name for s in here)
            yield Wanted(
                media["repo"],
                media["files"],
                (*names, "train"),
                here[0].licence,
                media["into"],
                gb=media["gb"],
            )


def _benchmark() -> Iterator[Wanted]:
    from data.mmeb.sources import PAPER_REPOSITORIES, TASK_REPOSITORIES

    media = table()["benchmark_media"]
    for_rows: dict[str, list[str]] = {}
    modality: dict[str, str] = {}
    for task, repositories in TASK_REPOSITORIES.items():
        for_rows.setdefault(repositories[0], []).append(task)
        modality[task] = _modality(repositories, media["repo"])
    for repo, tasks in for_rows.items():
        groups = {"eval", *(modality[t] for t in tasks)}
        if len(tasks) > 1:  # one folder a task
            for task in tasks:
                yield Wanted(repo, f"{task}/*", (task, "eval", modality[task]), _licence(repo))
        else:
            yield Wanted(repo, "*", (*tasks, *sorted(groups)), _licence(repo))
    for task, repo in PAPER_REPOSITORIES.items():
        yield Wanted(repo, "*", (PAPER, f"{PAPER}/{task}"), _licence(repo))
    for archive in media["archives"]:
        tasks = [t for t in modality if modality[t] == archive["modality"]]
        yield Wanted(
            media["repo"],
            archive["files"],
            (*tasks, "eval", archive["modality"]),
            _licence(media["repo"]),
            archive["into"],
            archive.get("strip"),
            bool(archive.get("parts")),
            archive.get("gb"),
        )


def _modality(repositories: Sequence[str], media: str) -> str:
    if media not in repositories:
        return "visdoc"
    return "image" if repositories[0].endswith("MMEB_Test_Instruct") else "video"


def _licence(repo: str) -> str:
    licences = table()["licences"]
    return str(licences.get(repo) or licences.get(repo.split("/")[0]) or "see the card of the set")


class Hub:
    """The hub's listing and files over HTTP. `HF_ENDPOINT` and `HF_TOKEN` are heeded."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self._token = token or os.environ.get("HF_TOKEN")
        self._lists: dict[str, list[HubFile]] = {}

    def files(self, repo: str) -> list[HubFile]:
        """Every file of a data repository, with size and, for large ones, SHA-256."""
        if repo not in self._lists:
            found: list[HubFile] = []
            url: str | None = f"{self.endpoint}/api/datasets/{repo}/tree/main?recursive=true"
            while url:
                with self._open(url, repo) as reply:
                    for entry in json.load(reply):
                        if entry["type"] == "file":
                            large = entry.get("lfs") or {}
                            size = int(large.get("size", entry["size"]))
                            found.append(HubFile(repo, entry["path"], size, large.get("oid")))
                    url = _next_page(reply.headers.get("Link"))
            self._lists[repo] = found
        return self._lists[repo]

    def read(self, file: HubFile, start: int) -> BinaryIO:
        """The file's bytes from `start` on (or all of them: look at the reply's status)."""
        path = urllib.parse.quote(file.path)
        url = f"{self.endpoint}/datasets/{file.repo}/resolve/main/{path}"
        return self._open(url, f"{file.repo}/{file.path}", {"Range": f"bytes={start}-"} if start else {})

    def _open(self, url: str, what: str, headers: dict[str, str] | None = None) -> Any:
        sent = {"User-Agent": "sightline", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            return urllib.request.urlopen(urllib.request.Request(url, headers=sent), timeout=60)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise DownloadError(
                    f"{what}: the hub asks for an account; accept the terms of the set there and set HF_TOKEN"
                ) from error
            if error.code == 404:
                raise NotThere(f"{what}: not on the hub at {self.endpoint}") from error
            raise OSError(f"the hub answers {error.code}") from error
        except urllib.error.URLError as error:
            raise OSError(str(error.reason)) from error


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
    for file in files:
        place = root / file.repo / file.path
        if not (place.is_file() and place.stat().st_size == file.size):
            tell(f"{file.repo}/{file.path} ({_size(file.size)})")
            _fetch_one(hub, file, place)
        if one.into is not None and not one.parts:
            _unpack([place], root / file.repo, one)
            _mark(root, file)
            place.unlink()
    if one.into is not None and one.parts:
        every = sorted((f for f in hub.files(one.repo) if _matches(f.path, one)), key=lambda f: f.path)
        places = [root / f.repo / f.path for f in every]
        _unpack(places, root / one.repo, one)
        for file, place in zip(every, places, strict=True):
            _mark(root, file)
            place.unlink()


def require_room(root: Path, found: Plan) -> None:
    """Refuse before the start what cannot fit: files, and the largest archive's contents beside it."""
    root.mkdir(parents=True, exist_ok=True)
    archives = [
        sum(f.size for f in files) if w.parts else max(f.size for f in files)
        for w, files in found.files
        if w.into
    ]
    need = found.bytes + max(archives, default=0)
    free = shutil.disk_usage(root).free
    if free < need:
        raise DownloadError(
            f"{_size(need)} are needed in {root} ({_size(found.bytes)} of files and room to unpack), "
            f"{_size(free)} are free; choose another --root, or less with --only"
        )


def _fetch_one(hub: Hub, file: HubFile, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".part")
    problem = ""
    for _ in range(TRIES):
        have = partial.stat().st_size if partial.is_file() else 0
        if have > file.size:
            partial.unlink()
            have = 0
        try:
            if have < file.size or not partial.is_file():
                with hub.read(file, have) as reply:
                    goes_on = getattr(reply, "status", 200) == 206
                    with partial.open("ab" if goes_on else "wb") as out:
                        shutil.copyfileobj(reply, out, CHUNK)
        except OSError as error:
            if error.errno == 28:
                raise DownloadError(f"the disk is full at {partial}; make room and start again") from error
            problem = str(error)
            continue
        if partial.stat().st_size < file.size:
            problem = "the connection ended early"
            continue
        if file.sha256 and _sha256(partial) != file.sha256:
            partial.unlink()
            problem = "its checksum was wrong"
            continue
        partial.rename(place)
        return
    raise DownloadError(
        f"{file.repo}/{file.path} could not be fetched in {TRIES} tries ({problem}); "
        "start the same command again, it goes on where it stopped"
    )


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
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DownloadError(
            f"{archives[0]} cannot be unpacked ({error}); delete it and start again"
        ) from error


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


def _done(root: Path, file: HubFile, one: Wanted) -> bool:
    if one.into is not None:
        marker = _marker(root, file)
        return marker.is_file() and json.loads(marker.read_text())["size"] == file.size
    place = root / file.repo / file.path
    return place.is_file() and place.stat().st_size == file.size


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _next_page(link: str | None) -> str | None:
    for part in (link or "").split(","):
        if 'rel="next"' in part:
            return part.split(";")[0].strip(" <>")
    return None


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
        prog="python -m data.download",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, required=True, help="folder to put everything in")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="subsets, tasks, or " + ", ".join(GROUPS)
    )
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
            raise DownloadError(f"the hub at {hub.endpoint} cannot be reached ({error})") from error
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


if __name__ == "__main__":
    sys.exit(main())
