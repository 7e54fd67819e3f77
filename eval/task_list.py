"""The 78 tasks by name, and the groups of the averages.

Built around `eval/tasks/*.yaml`. It knows nothing of data on disk or of models.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.mmeb.task import DataVersion, Task, load_tasks

FOLDER = Path(__file__).parent / "tasks"
_GROUP_TITLES = {
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
}
_MODALITY_TITLES = {"image": "Image", "video": "Video", "visdoc": "Visual documents"}
GROUPS, MODALITIES = tuple(_GROUP_TITLES), tuple(_MODALITY_TITLES)
TITLES = _GROUP_TITLES | _MODALITY_TITLES | {"all": "All"}


class UnknownDataset(Exception):
    """A name is no task, group or modality. The message offers the nearest names."""


@functools.cache
def all_tasks(version: DataVersion = "current") -> tuple[Task, ...]:
    """Returns all tasks, family by family."""
    return _tasks(version, {})


def _tasks(version: DataVersion, overrides: Mapping[str, Mapping[str, Any]]) -> tuple[Task, ...]:
    return tuple(sorted(load_tasks(FOLDER, version, overrides), key=lambda t: GROUPS.index(t.group)))


def select(
    names: Iterable[str], version: DataVersion = "current", overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Task]:
    """Returns the tasks of `names`: `all`, a modality, a group (`I-CLS`, `ViDoRe-V1`) or a task.

    Case does not matter. `overrides`: what a protocol declares otherwise. Raises `UnknownDataset`.
    """
    tasks = _tasks(version, overrides) if overrides else all_tasks(version)
    meanings: dict[str, list[Task]] = {"all": list(tasks)}
    for task in tasks:
        for name in {task.modality, task.group, task.group.removeprefix("VD-")}:
            meanings.setdefault(name.lower(), []).append(task)
    # The name of a task (MSCOCO) selects the task, also where it is the name of a group.
    for task in tasks:
        meanings[task.name.lower()] = [task]
        if task.reported_as:
            meanings[task.reported_as.lower()] = [task]
    selection: set[str] = set()
    for name in names:
        if name.lower() not in meanings:
            raise UnknownDataset(_unknown_name(name, tasks))
        selection |= {task.name for task in meanings[name.lower()]}
    return [task for task in tasks if task.name in selection]


def _unknown_name(name: str, tasks: Sequence[Task]) -> str:
    spellings = {n.lower(): n for n in ("all", *MODALITIES, *GROUPS, *(t.name for t in tasks))}
    near = difflib.get_close_matches(name.lower(), spellings, n=4, cutoff=0.5)
    near += [low for low in spellings if name.lower() in low and low not in near][: 4 - len(near)]
    offer = f"did you mean {', '.join(spellings[n] for n in near)}?" if near else "see --list for all names."
    return f"There is no dataset, group or modality {name!r}; {offer}"


def members() -> dict[str, list[Task]]:
    """Returns group, modality and `all` -> their tasks, in the order of a leaderboard."""
    tasks = all_tasks()
    out = {"all": list(tasks)}
    out |= {modality: [t for t in tasks if t.modality == modality] for modality in MODALITIES}
    return out | {group: [t for t in tasks if t.group == group] for group in GROUPS}


def averages(scores: Mapping[str, float]) -> dict[str, tuple[float, int, int]]:
    """Returns group, modality and `all` -> (mean over tasks with a score, number of these, number of all its tasks).

    Every average is over tasks: `all` is the mean of 78 numbers, not of three or of twelve. A group without any
    score is left out.
    """
    out = {}
    for name, tasks in members().items():
        values = [scores[t.name] for t in tasks if t.name in scores]
        if values:
            out[name] = (sum(values) / len(values), len(values), len(tasks))
    return out
