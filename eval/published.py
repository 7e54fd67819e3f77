"""Published scores of other models, for comparison with a run.

Built around `published.csv` (the paper's tables and the original repository's score files, as printed) and
`boards.csv` (averages of the official leaderboard, for models without public task scores). It computes only means.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from data.mmeb.task import DataVersion
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
    for name in ("published.csv", "boards.csv"):
        with (_HERE / name).open(encoding="utf-8", newline="") as file:
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


def columns(version: DataVersion) -> list[Column]:
    """Returns the published models on one version of the data, best first, then those with averages only."""
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
    if version == "current":
        board = "official_board_2026-08-24"
        for model, scores in table([board]).items():
            groups = {n: float(s) for n, s in scores.items()}
            out.append(Column(model, board, frozenset({AUTHORS}), {}, groups))
    return out
