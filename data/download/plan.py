"""From names of `python -m data.download` to files of hub repositories.

Built around `file_sets`, which returns the files of subsets, tasks and groups. `sources/vlm2vec_v2.yaml` declares
the training subsets, `mmeb/sources.py` the benchmark's repositories, `catalogue.yaml` archives of media and licences.
It knows nothing of what is on the hub or on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from data.download.hub import DownloadError

PAPER = "paper"
"""The benchmark's rows of the paper, for tasks whose rows have changed since."""
GROUPS = ("train", "eval", "image", "video", "visdoc", PAPER)


@dataclass(frozen=True)
class FileSet:
    """Files of one repository, and the names that need them. `into`: the folder to unpack to; None: no archive.

    `strip`: a top folder to remove from an archive's paths. `parts`: the files are parts of one archive. `gb`: size.
    """

    repo: str
    pattern: str
    names: tuple[str, ...]
    licence: str
    into: str | None = None
    strip: str | None = None
    parts: bool = False
    gb: float | None = None


@lru_cache
def table() -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(resources.files("data.download").joinpath("catalogue.yaml").read_text(encoding="utf-8")))


def file_sets(only: Sequence[str] = ()) -> list[FileSet]:
    """Returns the files of the names in `only` (empty: all files). Raises `DownloadError` for an unknown name."""
    everything = [*_training(), *_benchmark()]
    if not only:
        return [files for files in everything if PAPER not in files.names]
    names = {name for files in everything for name in _spellings(files)}
    if unknown := [name for name in only if name not in names]:
        raise DownloadError(
            f"nothing is called {', '.join(unknown)}; names are {', '.join(GROUPS)}, the training subsets "
            "(data/sources/vlm2vec_v2.yaml), the benchmark's tasks and the hub's repositories; "
            "train/NAME and eval/NAME tell equal names apart"
        )
    return [files for files in everything if set(only) & _spellings(files)]


def _spellings(files: FileSet) -> set[str]:
    """Returns all names of a file set: `VOC2007` is a training subset and a task, `train/VOC2007` only the subset."""
    if PAPER in files.names:  # superseded data: no group but its own
        return {*files.names, files.repo}
    half = "train" if "train" in files.names else "eval"
    return {*files.names, *(f"{half}/{n}" for n in files.names if n not in GROUPS), f"mmeb-{half}", files.repo}


def _training() -> Iterator[FileSet]:
    from data.sources.recipe import subsets

    by_rows: dict[tuple[str, str], list[str]] = {}
    for subset in subsets().values():
        by_rows.setdefault((subset.repo, subset.rows), []).append(subset.name)
    for (repo, rows), names in by_rows.items():
        yield FileSet(repo, rows, (*names, "train"), subsets()[names[0]].licence)
    for media in table()["training_media"]:
        of_repo = [s for s in subsets().values() if s.repo == media["repo"]]
        if "each" in media:
            for subset in of_repo:
                path = media["each"].format(name=subset.name)
                gb = media["gb"].get(subset.name)
                yield FileSet(media["repo"], path, (subset.name, "train"), subset.licence, media["into"], gb=gb)
        else:
            files, licence = media["files"], of_repo[0].licence
            subset_names = tuple(s.name for s in of_repo)
            yield FileSet(media["repo"], files, (*subset_names, "train"), licence, media["into"], gb=media["gb"])


def _benchmark() -> Iterator[FileSet]:
    from data.mmeb.sources import PAPER_REPOSITORIES, TASK_REPOSITORIES

    media = table()["benchmark_media"]
    by_repo: dict[str, list[str]] = {}
    modality: dict[str, str] = {}
    for task, repositories in TASK_REPOSITORIES.items():
        by_repo.setdefault(repositories[0], []).append(task)
        modality[task] = _modality(repositories, media["repo"])
    for repo, tasks in by_repo.items():
        groups = {"eval", *(modality[t] for t in tasks)}
        if len(tasks) > 1:  # one folder per task
            for task in tasks:
                yield FileSet(repo, f"{task}/*", (task, "eval", modality[task]), _licence(repo))
        else:
            yield FileSet(repo, "*", (*tasks, *sorted(groups)), _licence(repo))
    for task, repo in PAPER_REPOSITORIES.items():
        yield FileSet(repo, "*", (PAPER, f"{PAPER}/{task}"), _licence(repo))
    for archive in media["archives"]:
        tasks = [t for t in modality if modality[t] == archive["modality"]]
        yield FileSet(
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
