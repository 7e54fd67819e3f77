"""The scores of a run beside the published ones, as one table.

One row per average or task, one column per model: every model scored in an output folder, then the published ones
for the same version of the data that were scored by the same rules. It computes only means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.mmeb.task import DataVersion
from eval import published
from eval.protocols import BENCHMARK, ScoringProtocol
from eval.runner import TaskOutcome
from eval.task_list import MODALITIES, MODALITIES_V3, TITLES, all_tasks, averages, members, v3_tasks


@dataclass(frozen=True)
class Score:
    """A percentage. An average is over `tasks` of its `total` tasks."""

    percent: float
    tasks: int = 1
    total: int = 1

    @property
    def whole(self) -> bool:
        return self.tasks == self.total


@dataclass(frozen=True)
class Row:
    level: str  # "overall", "modality", "group", "task"
    name: str
    title: str
    modality: str
    group: str
    metric: str


@dataclass(frozen=True)
class Table:
    """`columns`: model -> row name -> score; `own`: the models scored in the output folder; `protocol`: the first's."""

    rows: Sequence[Row]
    columns: Mapping[str, Mapping[str, Score]]
    own: Sequence[str]
    data_version: DataVersion
    protocol: ScoringProtocol

    @property
    def rules_text(self) -> str:
        """Tells by which protocol the model was scored, and which published models stand beside it."""
        text = f"Protocol: {self.protocol.name}. "
        if len(self.columns) == len(self.own):
            return text + "No published figures were made by the same rules on these data."
        return text + (
            "Models with a source in brackets are as published, not run here; only those stand here whose figures were "
            "made by the same rules on the same data."
        )


def outline(with_v3: bool = False) -> list[Row]:
    """Returns the overall row, then each modality with its groups and their tasks: 1 + 3 + 12 + 78 rows; then those of
    MMEB-V3."""
    rows = [Row("overall", "all", TITLES["all"], "", "", "mean of 78 tasks")]
    groups = members()
    for modality in (*MODALITIES, *(MODALITIES_V3 if with_v3 else ())):
        rows.append(Row("modality", modality, TITLES[modality], modality, "", groups[modality][0].metric))
        for group in dict.fromkeys(t.group for t in groups[modality]):
            metric = groups[group][0].metric
            rows.append(Row("group", group, TITLES.get(group, group), modality, group, metric))
            rows += [Row("task", t.name, t.reported_as or t.name, modality, group, t.metric) for t in groups[group]]
    return rows


def own_scores(outcomes: Sequence[TaskOutcome]) -> dict[str, Score]:
    """Returns row name -> score of a run; averages are over the scored tasks."""
    metric = {t.name: t.metric for t in (*all_tasks(), *v3_tasks())}
    tasks = {o.task: 100 * o.scores[metric[o.task]] for o in outcomes if o.state == "scored"}
    out = {name: Score(percent) for name, percent in tasks.items()}
    out |= {name: Score(*average) for name, average in averages(tasks).items()}
    return out


def build_table(
    runs: Mapping[str, Sequence[TaskOutcome]],
    version: DataVersion,
    protocol: ScoringProtocol,
    imported: Path | None = None,
) -> Table:
    """Returns the table of `runs` (model name -> outcomes), the first scored by `protocol`, and of the published models
    that were scored by its rules. `imported`: a `boards.csv` with further ones. Raises `BoardError`."""
    columns: dict[str, dict[str, Score]] = {name: own_scores(outcomes) for name, outcomes in runs.items()}
    for column in published.columns(version, imported):
        if not column.rules & protocol.figures:
            continue
        rules = "benchmark's" if BENCHMARK in column.rules else "authors'"
        name = f"{column.model} ({column.source}, {rules} protocol, {version} data)"
        sizes = {n: len(g) for n, g in members().items()}
        columns[name] = {n: Score(s, sizes[n], sizes[n]) for n, s in column.groups.items()}
        columns[name] |= {n: Score(s) for n, s in column.tasks.items()}
    v3 = {t.name for t in v3_tasks()}
    with_v3 = any(not v3.isdisjoint(columns[name]) for name in runs)
    return Table(outline(with_v3), columns, list(runs), version, protocol)


def scored_text(outcomes: Sequence[TaskOutcome]) -> str:
    """Tells how many tasks are scored."""
    scored = {o.task for o in outcomes if o.state == "scored"}
    v3 = [t.name for t in v3_tasks()]
    n_v3 = len(scored.intersection(v3))
    text = f"{len(scored) - n_v3} of 78 tasks scored"
    return f"{text}, and {n_v3} of the {len(v3)} text and tool tasks of MMEB-V3" if n_v3 else text
