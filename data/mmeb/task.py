"""What a benchmark task is: a declaration read from YAML, nothing computed.

Built around `Task`. The declarations themselves are `eval/tasks/*.yaml`, one file a family,
whose `defaults` are merged under each task. It knows nothing of models or metrics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

DataVersion = Literal["current", "paper"]


class TaskError(Exception):
    """A declaration that cannot be used. `str(error)` names the file and the task."""


@dataclass(frozen=True)
class TaskRows:
    """A dataset repository of the hub: where the rows are."""

    repo: str
    split: str
    configs: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskMedia:
    """A folder of a dataset repository: where pictures and saved frames are."""

    repo: str
    folder: str


@dataclass(frozen=True)
class Wording:
    """One side's text. `template` holds `{instruction}`, `{text}` and `{options}`, pad tokens included."""

    template: str
    instruction: str = ""

    def fill(self, text: str = "", options: str = "") -> str:
        """The template with its values; what stands inside a value is never taken for a placeholder."""
        values = {"{instruction}": self.instruction, "{text}": text, "{options}": options}
        return re.sub(r"\{(?:instruction|text|options)\}", lambda found: values[found.group()], self.template)


@dataclass(frozen=True)
class Task:
    """One of the 78 tasks. Fields that only some readers need are None elsewhere."""

    name: str
    modality: str
    group: str
    metric: str
    reader: str
    scope: Literal["local", "global"]
    source: TaskRows
    query: Wording
    target: Wording
    queries: int
    candidates: int
    media: TaskMedia | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    frames: int | None = None
    frame_folder: str | None = None
    labels: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    answer_is: str | None = None
    image_query: Wording | None = None
    video_query: Wording | None = None
    key_is_path: bool = False
    graded: bool = False
    reported_as: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def repositories(self) -> tuple[str, ...]:
        """The hub repositories that a run of this task reads."""
        return (self.source.repo,) if self.media is None else (self.source.repo, self.media.repo)


def load_tasks(folder: Path, version: DataVersion = "current") -> list[Task]:
    """The tasks declared in `folder`, in the order of the files' names.

    `version` "paper" takes the data as it was for the paper (MomentSeeker with 1800 rows, the page
    sets of ViDoSeek and MMLongBench before their page numbers were fixed); "current" as it is now.
    """
    import json

    import yaml

    labels: dict[str, list[str]] = json.loads((folder / "video_labels.json").read_text("utf-8"))["labels"]
    tasks = []
    for path in sorted(folder.glob("*.yaml")):
        family = yaml.safe_load(path.read_text("utf-8"))
        for declared in family["tasks"]:
            merged = _merged(family.get("defaults", {}), declared)
            if version == "paper":
                merged = _merged(merged, merged.get("paper", {}))
                merged.pop("reported_as", None)
            try:
                tasks.append(_task(family, merged, labels))
            except (KeyError, TypeError) as error:
                raise TaskError(f"{path.name}: {declared.get('name', '?')}: {error!r}") from error
    return tasks


def _task(family: Mapping[str, Any], d: dict[str, Any], labels: Mapping[str, list[str]]) -> Task:
    source, size = d["source"], d["size"]
    configs = source.get("configs") or ([source["config"]] if "config" in source else [])
    if family["modality"] == "image":
        configs = configs or [d["name"]]
    known = {"name", "reader", "scope", "frame_folder", "columns", "options", "answer_is", "key_is_path", "graded"}
    known |= {"reported_as"}
    return Task(
        modality=family["modality"],
        group=family["group"],
        metric=family["metric"],
        source=TaskRows(source["repo"], source["split"], tuple(configs)),
        media=TaskMedia(**d["media"]) if "media" in d else None,
        query=Wording(**d["query"]),
        target=Wording(**d.get("target", {"template": "{text}"})),
        image_query=Wording(**d["image_query"]) if "image_query" in d else None,
        video_query=Wording(**d["video_query"]) if "video_query" in d else None,
        queries=size["queries"],
        candidates=size["candidates"],
        frames=None if d.get("frames") in (None, "all") else int(d["frames"]),
        labels=tuple(labels[d["labels"]]) if "labels" in d else (),
        notes=tuple(d.get("notes", ())),
        **{k: v for k, v in d.items() if k in known},
    )


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merged(out[key], value) if both else value
    return out
