"""The 78 tasks by name, and the groups they are averaged in.

Built around `eval/tasks/*.yaml`. It knows nothing of data on disk or of models.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data.mmeb.task import DataVersion, Task, load_tasks

FOLDER = Path(__file__).parent / "tasks"
MODALITIES = ("image", "video", "visdoc")
GROUPS = (
    "I-CLS",
    "I-QA",
    "I-RET",
    "I-VG",
    "V-CLS",
    "V-QA",
    "V-RET",
    "V-MR",
    "VD-ViDoRe-V1",
    "VD-ViDoRe-V2",
    "VD-VisRAG",
    "VD-OOD",
)
TITLES = {
    "I-CLS": "Image classification",
    "I-QA": "Image question answering",
    "I-RET": "Image retrieval",
    "I-VG": "Visual grounding",
    "V-CLS": "Video classification",
    "V-QA": "Video question answering",
    "V-RET": "Video retrieval",
    "V-MR": "Moment retrieval",
    "VD-ViDoRe-V1": "ViDoRe V1",
    "VD-ViDoRe-V2": "ViDoRe V2",
    "VD-VisRAG": "VisRAG",
    "VD-OOD": "Documents out of distribution",
    "image": "Image",
    "video": "Video",
    "visdoc": "Visual documents",
    "all": "All",
}


class UnknownDataset(Exception):
    """A name that is no task, group or modality. `str(error)` offers the nearest ones."""


@functools.lru_cache(maxsize=2)
def _loaded(version: DataVersion) -> tuple[Task, ...]:
    return tuple(sorted(load_tasks(FOLDER, version), key=lambda t: GROUPS.index(t.group)))


def all_tasks(version: DataVersion = "current") -> tuple[Task, ...]:
    """All tasks, family by family."""
    return _loaded(version)


def select(names: Iterable[str], version: DataVersion = "current") -> list[Task]:
    """The tasks that `names` stand for: `all`, a modality, a group (`I-CLS`, `ViDoRe-V1`) or a task.

    Upper and lower case are the same. Raises `UnknownDataset`.
    """
    tasks = all_tasks(version)
    meanings: dict[str, list[Task]] = {"all": list(tasks)}
    for task in tasks:
        for name in {task.modality, task.group, task.group.removeprefix("VD-")}:
            meanings.setdefault(name.lower(), []).append(task)
    # A task may be called like a group's neighbour (MSCOCO); its own name always means the task.
    for task in tasks:
        meanings[task.name.lower()] = [task]
        if task.reported_as:
            meanings[task.reported_as.lower()] = [task]
    wanted: set[str] = set()
    for name in names:
        found = meanings.get(name.lower())
        if found is None:
            raise UnknownDataset(_offer(name, tasks))
        wanted |= {task.name for task in found}
    return [task for task in tasks if task.name in wanted]


def _offer(name: str, tasks: Sequence[Task]) -> str:
    spelled = {n.lower(): n for n in ("all", *MODALITIES, *GROUPS, *(t.name for t in tasks))}
    near = difflib.get_close_matches(name.lower(), spelled, n=4, cutoff=0.5)
    near += [low for low in spelled if name.lower() in low and low not in near][: 4 - len(near)]
    offer = f"did you mean {', '.join(spelled[n] for n in near)}?" if near else "see --list for all names."
    return f"There is no dataset, group or modality {name!r}; {offer}"


def members(tasks: Iterable[Task] | None = None) -> dict[str, list[Task]]:
    """Group, modality and `all` -> their tasks, in the order of a leaderboard."""
    tasks = list(all_tasks() if tasks is None else tasks)
    out: dict[str, list[Task]] = {"all": tasks}
    for modality in MODALITIES:
        out[modality] = [t for t in tasks if t.modality == modality]
    for group in GROUPS:
        out[group] = [t for t in tasks if t.group == group]
    return out


def averages(scores: Mapping[str, float], tasks: Iterable[Task] | None = None) -> dict[str, tuple[float, int, int]]:
    """Group, modality and `all` -> (mean over the tasks that have a score, how many have, how many are).

    Every average is over tasks: `all` is the mean of 78 numbers, not of three or of twelve. Groups
    without a score are left out; a group with some of its tasks missing says so by its counts.
    """
    out = {}
    for name, group in members(tasks).items():
        have = [scores[t.name] for t in group if t.name in scores]
        if have:
            out[name] = (sum(have) / len(have), len(have), len(group))
    return out
