"""The 78 tasks by name, and the groups of the averages; beside them MMEB-V3's text and tool tasks.

Built around `eval/tasks/*.yaml` and `eval/tasks_v3/*.yaml`. `all` and every average of it are MMEB-V2's 78. It knows
nothing of data on disk or of models.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.mmeb.task import DataVersion, Task, load_tasks

FOLDER = Path(__file__).parent / "tasks"
FOLDER_V3 = Path(__file__).parent / "tasks_v3"
MISSING_V3: Mapping[str, str] = {
    "audio": "MMEB-V3's 10 audio tasks (NSynth, ESC-50, UrbanSound8K, SpeechCommands, CREMA-D, SoundDescs, Clotho, "
    "AVE, SpeechCOCO, TUTSound) cannot be scored: no model here has an input for sound",
    "gui": "MMEB-V3's 8 GUI tasks (GUIAct and Mind2Web, q2t, q2s, s2s, t2s) cannot be scored: its released code reads "
    "their queries and names no file of candidates",
    "memory": "MMEB-V3's agent memory tasks cannot be scored: its released code has no reader for them",
}
"""What of MMEB-V3 is missing, and why."""
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
MODALITIES_V3 = ("text", "agent")
TITLES = _GROUP_TITLES | _MODALITY_TITLES | {"all": "All", "text": "MMEB-V3: texts", "agent": "MMEB-V3: tools"}


class UnknownDataset(Exception):
    """A name is no task, group or modality. The message offers the nearest names."""


@functools.cache
def all_tasks(version: DataVersion = "current") -> tuple[Task, ...]:
    """Returns all tasks, family by family."""
    return _tasks(version, {})


@functools.cache
def v3_tasks() -> tuple[Task, ...]:
    """Returns MMEB-V3's text tasks, then its tool tasks."""
    return tuple(sorted(load_tasks(FOLDER_V3), key=lambda t: MODALITIES_V3.index(t.modality)))


def _tasks(version: DataVersion, overrides: Mapping[str, Mapping[str, Any]]) -> tuple[Task, ...]:
    return tuple(sorted(load_tasks(FOLDER, version, overrides), key=lambda t: GROUPS.index(t.group)))


def select(
    names: Iterable[str], version: DataVersion = "current", overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Task]:
    """Returns the tasks of `names`: `all`, a modality, a group (`I-CLS`, `ViDoRe-V1`) or a task; `v3`, `text`, `agent`
    and the names below them are MMEB-V3's, which `all` does not hold.

    Case does not matter. `overrides`: what a protocol declares otherwise. Raises `UnknownDataset`.
    """
    tasks = _tasks(version, overrides) if overrides else all_tasks(version)
    meanings: dict[str, list[Task]] = {"all": list(tasks), "v3": list(v3_tasks())}
    tasks = (*tasks, *v3_tasks())
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
        if name.lower() in MISSING_V3:
            raise UnknownDataset(f"{MISSING_V3[name.lower()]}.")
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
    out |= {group: [t for t in tasks if t.group == group] for group in GROUPS}
    out |= {modality: [t for t in v3_tasks() if t.modality == modality] for modality in MODALITIES_V3}
    return out | {
        group: [t for t in v3_tasks() if t.group == group] for group in dict.fromkeys(t.group for t in v3_tasks())
    }


def averages(scores: Mapping[str, float]) -> dict[str, tuple[float, int, int]]:
    """Returns group, modality and `all` -> (mean over tasks with a score, number of these, number of all its tasks).

    Every average is over tasks: `all` is the mean of 78 numbers, not of three or of twelve, and MMEB-V3's are not among
    them. A group without any score is left out.
    """
    out = {}
    for name, tasks in members().items():
        values = [scores[t.name] for t in tasks if t.name in scores]
        if values:
            out[name] = (sum(values) / len(values), len(values), len(tasks))
    return out
