"""Published scores of other models, for comparison with a run.

Built around `published.csv` (the paper's tables and the original repository's score files, as printed) and
`boards.csv` (figures of the official leaderboard, and what `eval.boards` imported). It computes only means.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from data.mmeb.task import DataVersion
from eval import boards
from eval.protocols import AUTHORS, BENCHMARK
from eval.task_list import GROUPS, MODALITIES, all_tasks

_HERE = Path(__file__).parent

# The sources for each version of the data. Later sources override earlier ones: the page-fixed score files hold no
# doc-level tasks, which come from the earlier release.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "paper": ("paper_table5",),
    "current": ("repo_v2.0.1", "repo_v2.1_page_fixed"),
}


@dataclass(frozen=True)
class Column:
    """One published model: percent by task name, and by group, modality and `all`.

    `rules`: by which the figures were made (`eval.protocols`); by both for a model whose authors are the benchmark's.
    """

    model: str
    source: str
    rules: frozenset[str]
    tasks: Mapping[str, float]
    groups: Mapping[str, float]


@functools.lru_cache(maxsize=1)
def rows() -> tuple[tuple[str, str, str, Decimal], ...]:
    """Returns (model, source, task or group, percent as printed). Group names as in `eval.task_list`."""
    out = []
    with (_HERE / "published.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            out.append((row["model"], row["source"], _name(row["task_or_group"]), Decimal(row["score"])))
    return tuple(out)


def _name(printed: str) -> str:
    if printed.startswith("GROUP_"):
        return printed.removeprefix("GROUP_")
    return printed.removeprefix("AVG_").lower() if printed.startswith("AVG_") else printed


def table(sources: Iterable[str]) -> dict[str, dict[str, Decimal]]:
    """Returns model -> name -> percent; later sources override earlier ones."""
    out: dict[str, dict[str, Decimal]] = {}
    for source in sources:
        for model, row_source, name, score in rows():
            if row_source == source:
                out.setdefault(model, {})[name] = score
    return out


def means(tasks: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Returns the exact means over tasks, by group, by modality and over all."""
    out = {}
    for name in ("all", *MODALITIES, *GROUPS):
        scores = [tasks[t.name] for t in all_tasks() if t.name in tasks and name in ("all", t.modality, t.group)]
        if scores:
            out[name] = sum(scores, Decimal(0)) / len(scores)
    return out


def columns(version: DataVersion, imported: Path | None = None) -> list[Column]:
    """Returns the published models on one version of the data, best first, then those of boards: of the packaged one
    and of `imported`, a `boards.csv`. Raises `BoardError`."""
    names = {t.name for t in all_tasks()}
    out = []
    for model, scores in table(SOURCES[version]).items():
        tasks = {n: s for n, s in scores.items() if n in names}
        if len(tasks) < len(names):
            continue
        groups = {n: float(s) for n, s in means(tasks).items()}
        rules = frozenset({BENCHMARK, *([AUTHORS] if model.startswith("VLM2Vec") else [])})
        out.append(Column(model, SOURCES[version][0], rules, {n: float(s) for n, s in tasks.items()}, groups))
    out.sort(key=lambda c: -c.groups["all"])
    rows = boards.read(boards.PACKAGED) + (boards.read(imported) if imported is not None and imported.exists() else [])
    for (model, source), members in boards.by_model(rows).items():
        if members[0].data == version:
            scores = {_name(row.task_or_group): Decimal(row.score) for row in members}
            tasks = {n: s for n, s in scores.items() if n in names}
            averages = {n: s for n, s in means(tasks).items() if _is_whole(n, tasks)}
            averages |= {n: s for n, s in scores.items() if n in ("all", *MODALITIES, *GROUPS)}
            both = ({n: float(s) for n, s in part.items()} for part in (tasks, averages))
            out.append(Column(model, source, frozenset({members[0].rules}), *both))
    return out


def _is_whole(name: str, tasks: Mapping[str, Decimal]) -> bool:
    """Whether all tasks of an average have a score."""
    return all(t.name in tasks for t in all_tasks() if name in ("all", t.modality, t.group))
