"""What `python -m data.download` can be asked for: names to files of hub repositories.

Built around `wanted`, which turns subsets, tasks and groups into `Wanted` files. The training subsets are
declared in `sources/vlm2vec_v2.yaml`, the benchmark's repositories in `mmeb/sources.py`, archives of media
and terms in `catalogue.yaml`. It knows nothing of what is on the hub or on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from data.download.hub import DownloadError

# The benchmark's rows as they were for its paper, where they were replaced since.
PAPER = "paper"
GROUPS = ("train", "eval", "image", "video", "visdoc", PAPER)


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


@lru_cache
def table() -> dict[str, Any]:
    import yaml

    return yaml.safe_load(resources.files("data.download").joinpath("catalogue.yaml").read_text(encoding="utf-8"))


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
                yield Wanted(media["repo"], path, (subset.name, "train"), subset.licence, media["into"], gb=gb)
        else:
            names = tuple(s.name for s in here)
            yield Wanted(
                media["repo"], media["files"], (*names, "train"), here[0].licence, media["into"], gb=media["gb"]
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
