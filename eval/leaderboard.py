"""A run beside the published models: leaderboard.csv, leaderboard.md, leaderboard.html, scores.json.

Built around `eval.table.Table`. It computes nothing.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.mmeb.task import DataVersion, Task
from eval.chart import as_html
from eval.runner import TaskOutcome, slug
from eval.table import Score, Table, build_table, own_scores
from eval.task_list import MODALITIES, all_tasks


def write(
    output: Path, name: str, outcomes: Sequence[TaskOutcome], about: Mapping[str, Any], version: DataVersion
) -> Table:
    """Write the four files of `name`'s run into `output`.

    Beside it stand what else of this model was scored into this folder before, and other models.
    """
    earlier = {o.task: o for o in _written(output / "mmeb" / slug(name))}
    order = {t.name: i for i, t in enumerate(all_tasks())}
    outcomes = sorted({**earlier, **{o.task: o for o in outcomes}}.values(), key=lambda o: order[o.task])
    runs = {name: outcomes, **_others(output, name, version)}
    table = build_table(runs, version)
    scores = scores_json(name, outcomes, about, version)
    text = json.dumps(scores, indent=1, ensure_ascii=False)
    (output / "leaderboard.csv").write_text(as_csv(table, outcomes), "utf-8", newline="")
    (output / "leaderboard.md").write_text(as_markdown(table, name, outcomes), "utf-8")
    (output / "leaderboard.html").write_text(as_html(table, name, outcomes), "utf-8")
    (output / "scores.json").write_text(text, "utf-8")
    (output / "mmeb" / slug(name) / "scores.json").write_text(text, "utf-8")
    return table


def _others(output: Path, name: str, version: DataVersion) -> dict[str, list[TaskOutcome]]:
    """Models whose results lie in this folder already, on the same version of the data."""
    out: dict[str, list[TaskOutcome]] = {}
    for path in sorted((output / "mmeb").glob("*/run.json")):
        about = json.loads(path.read_text("utf-8"))
        if about["name"] != name and about["data_version"] == version and not about["reference_compatible"]:
            out[about["name"]] = _written(path.parent)
    return out


def _written(folder: Path) -> list[TaskOutcome]:
    """The tasks that were scored into a model's folder."""
    found = []
    for path in sorted(folder.glob("*.json")):
        written = json.loads(path.read_text("utf-8"))
        if written.pop("stamp", None):
            found.append(TaskOutcome(**written))
    return found


def as_csv(table: Table, outcomes: Sequence[TaskOutcome]) -> str:
    """`level,name,modality,group,metric,tasks,queries,failed` and one column a model, percent."""
    by_task = {o.task: o for o in outcomes}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["level", "name", "modality", "group", "metric", "tasks", "queries", "failed", *table.columns])
    own = table.columns[table.own[0]]
    for row in table.rows:
        outcome, score = by_task.get(row.name), own.get(row.name)
        counts = "" if score is None else f"{score.tasks}/{score.of}"
        queries = outcome.queries if outcome is not None and outcome.state == "scored" else ""
        failed = len(outcome.failed) if outcome is not None and outcome.state == "scored" else ""
        values = [f"{c[row.name].percent:.2f}" if row.name in c else "" for c in table.columns.values()]
        writer.writerow([row.level, row.name, row.modality, row.group, row.metric, counts, queries, failed, *values])
    return out.getvalue()


def as_markdown(table: Table, name: str, outcomes: Sequence[TaskOutcome]) -> str:
    """The averages beside the published ones, then every task, then what went wrong, by name."""
    lines = [f"# {name} on MMEB-V2", ""]
    scored = [o for o in outcomes if o.state == "scored"]
    lines.append(
        f"{len(scored)} of 78 tasks scored. Image and video: hit@1; visual documents: NDCG@5 (linear gain). "
        f"Percent; averages are plain means over tasks. Data: {table.data_version}. Models with a source in "
        "brackets are as published, not run here."
    )
    header = ["", *table.columns]
    for title, levels in (("Averages", ("overall", "modality", "group")), ("Tasks", ("task",))):
        lines += ["", f"## {title}", "", "| " + " | ".join(map(_cell, header)) + " |"]
        lines.append("|---|" + "--:|" * len(table.columns))
        for row in table.rows:
            if row.level in levels:
                cells = [_shown(c.get(row.name)) for c in table.columns.values()]
                label = f"**{row.title}**" if row.level in ("overall", "modality") else row.title
                lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines += _troubles(outcomes)
    return "\n".join(lines) + "\n"


def _troubles(outcomes: Sequence[TaskOutcome]) -> list[str]:
    lines: list[str] = []
    warned = [w for o in outcomes for w in o.warnings]
    if warned:
        lines += ["", "## Warnings", ""] + [f"- {_cell(w)}" for w in warned]
    left_out = [o for o in outcomes if o.state != "scored"]
    if left_out:
        lines += ["", "## Left out", ""] + [f"- {o.task} ({o.state}): {_cell(o.reason)}" for o in left_out]
    failed = [(o, f) for o in outcomes for f in o.failed]
    if failed:
        lines += ["", "## Could not be embedded", "", "Each such query counts as missed in every metric.", ""]
        lines += [
            f"- {o.task}, {f['side']} {_cell(f['name'])}: {_cell(f['source'])} {_cell(f['reason'])}"
            for o, f in failed[:100]
        ]
        if len(failed) > 100:
            lines.append(f"- and {len(failed) - 100} more, in `mmeb/…/<task>.json`")
    noted = [f"- {o.task}: {_cell(n)}" for o in outcomes for n in o.notes]
    if noted:
        lines += ["", "## Notes on the data", "", *noted]
    return lines


def _shown(score: Score | None) -> str:
    if score is None:
        return ""
    return f"{score.percent:.1f}" if score.whole else f"{score.percent:.1f} ({score.tasks} of {score.of})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def scores_json(
    name: str, outcomes: Sequence[TaskOutcome], about: Mapping[str, Any], version: DataVersion
) -> dict[str, Any]:
    """All metrics at 1, 5 and 10, in the shape that the official board takes, fractions as there."""
    tasks: dict[str, Task] = {t.name: t for t in all_tasks(version)}
    metrics: dict[str, dict[str, Any]] = {m: {} for m in MODALITIES}
    for outcome in outcomes:
        if outcome.state != "scored":
            continue
        task = tasks[outcome.task]
        metrics[task.modality][task.reported_as or task.name] = {
            **outcome.scores,
            "num_pred": outcome.queries,
            "num_data": outcome.queries,
            "num_failed": len(outcome.failed),
        }
    means = {
        n: {"score": round(s.percent, 4), "tasks": s.tasks, "of": s.of}
        for n, s in own_scores(outcomes).items()
        if n not in tasks
    }
    return {
        "metadata": {
            "model_name": name,
            "model_backbone": about.get("backbone", ""),
            "model_size": about.get("size", ""),
            "embedding_dimension": about.get("dim"),
            "max_length_tokens": None,
            "model_release_date": None,
            "data_source": "self-reported",
            "url": "",
            "report_generated_date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **{k: v for k, v in about.items() if k not in ("backbone", "size", "dim")},
        },
        "metrics": metrics,
        "averages": means,
    }
