"""A benchmark task: a declaration that is read from YAML.

Built around `Task`. The declarations are `eval/tasks/*.yaml`, one file per family; a task overrides the `defaults`
of its family. It knows nothing of models or metrics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

DataVersion = Literal["current", "paper"]


class TaskError(Exception):
    """A declaration is wrong. The message names the file and the task."""


@dataclass(frozen=True)
class Repository:
    """The dataset repository with a task's rows."""

    repo: str
    split: str
    configs: tuple[str, ...] = ()


@dataclass(frozen=True)
class MediaFolder:
    """The folder of a dataset repository with a task's images or saved frames."""

    repo: str
    folder: str


@dataclass(frozen=True)
class Wording:
    """The prompt of one side. `template` holds pad tokens, `{instruction}`, `{text}` and `{options}`."""

    template: str
    instruction: str = ""

    def fill(self, text: str = "", options: str = "") -> str:
        """Returns the template with its values; braces inside a value are no placeholder."""
        values = {"{instruction}": self.instruction, "{text}": text, "{options}": options}
        return re.sub(r"\{(?:instruction|text|options)\}", lambda match: values[match.group()], self.template)


@dataclass(frozen=True)
class Task:
    """A task. A field that its reader does not use is None or empty."""

    name: str
    modality: str
    group: str
    metric: str
    reader: str
    scope: Literal["local", "global"]
    source: Repository
    query: Wording
    target: Wording
    queries: int
    candidates: int
    media: MediaFolder | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    frames: int | None = None
    target_frames: int | None = None
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


def load_tasks(
    folder: Path, version: DataVersion = "current", overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Task]:
    """Returns the tasks declared in `folder`, in the order of the file names.

    `version` "paper" is the data of the paper (MomentSeeker with 1800 rows, the page sets of ViDoSeek and
    MMLongBench before the fix of their page numbers); "current" is the newest data. `overrides`: modality, group
    or task -> keys of a declaration that replace the declared ones, from the general to the particular.
    """
    import json

    import yaml

    labels_file = folder / "video_labels.json"
    labels: dict[str, list[str]] = json.loads(labels_file.read_text("utf-8"))["labels"] if labels_file.exists() else {}
    tasks = []
    for path in sorted(folder.glob("*.yaml")):
        family = yaml.safe_load(path.read_text("utf-8"))
        for entry in family["tasks"]:
            declaration = _merge(family.get("defaults", {}), entry)
            if version == "paper":
                declaration = _merge(declaration, declaration.get("paper", {}))
                declaration.pop("reported_as", None)
            for name in (family["modality"], family["group"], entry.get("name", "")):
                declaration = _merge(declaration, (overrides or {}).get(name, {}))
            try:
                tasks.append(_task(family, declaration, labels))
            except (KeyError, TypeError) as error:
                raise TaskError(f"{path.name}: {entry.get('name', '?')}: {error!r}") from error
    return tasks


def _task(family: Mapping[str, Any], d: dict[str, Any], labels: Mapping[str, list[str]]) -> Task:
    source, size = d["source"], d["size"]
    configs = source.get("configs") or ([source["config"]] if "config" in source else [])
    if family["modality"] == "image":
        configs = configs or [d["name"]]
    keys = {"name", "reader", "scope", "frame_folder", "columns", "options", "answer_is", "key_is_path", "graded"}
    keys |= {"reported_as"}
    return Task(
        modality=family["modality"],
        group=family["group"],
        metric=family["metric"],
        source=Repository(source["repo"], source["split"], tuple(configs)),
        media=MediaFolder(**d["media"]) if "media" in d else None,
        query=Wording(**d["query"]),
        target=Wording(**d.get("target", {"template": "{text}"})),
        image_query=Wording(**d["image_query"]) if "image_query" in d else None,
        video_query=Wording(**d["video_query"]) if "video_query" in d else None,
        queries=size["queries"],
        candidates=size["candidates"],
        frames=_count(d.get("frames")),
        target_frames=_count(d.get("target_frames", d.get("frames"))),
        labels=tuple(labels[d["labels"]]) if "labels" in d else (),
        notes=tuple(d.get("notes", ())),
        **{k: v for k, v in d.items() if k in keys},
    )


def _count(frames: Any) -> int | None:
    return None if frames in (None, "all") else int(frames)


def _merge(defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(defaults)
    for key, value in overrides.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merge(out[key], value) if both else value
    return out
