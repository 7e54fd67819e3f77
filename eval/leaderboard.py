"""The files of a run: leaderboard.csv, leaderboard.md, leaderboard.html, scores.json.

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
from eval import boards
from eval.chart import as_html
from eval.protocols import ScoringProtocol
from eval.runner import TaskOutcome, slug
from eval.table import Score, Table, build_table, own_scores, scored_text
from eval.task_list import MODALITIES, all_tasks, v3_tasks


def write(
    output: Path,
    name: str,
    outcomes: Sequence[TaskOutcome],
    about: Mapping[str, Any],
    version: DataVersion,
    protocol: ScoringProtocol,
) -> Table:
    """Write the four files into `output`, with earlier tasks of this model, with other models in the folder, and with
    the published models that were scored by the same rules."""
    about = {**about, "protocol": protocol.name}
    earlier = {o.task: o for o in _read_outcomes(output / "mmeb" / slug(name))}
    order = {t.name: i for i, t in enumerate((*all_tasks(), *v3_tasks()))}
    outcomes = sorted({**earlier, **{o.task: o for o in outcomes}}.values(), key=lambda o: order[o.task])
    runs = {name: outcomes, **_others(output, name, version)}
    table = build_table(runs, version, protocol, output / boards.FILE)
    scores = scores_json(name, outcomes, about, version)
    text = json.dumps(scores, indent=1, ensure_ascii=False)
    (output / "leaderboard.csv").write_text(as_csv(table, outcomes), "utf-8", newline="")
    (output / "leaderboard.md").write_text(as_markdown(table, name, outcomes), "utf-8")
    (output / "leaderboard.html").write_text(as_html(table, name, outcomes), "utf-8")
    (output / "scores.json").write_text(text, "utf-8")
    (output / "mmeb" / slug(name) / "scores.json").write_text(text, "utf-8")
    return table


def _others(output: Path, name: str, version: DataVersion) -> dict[str, list[TaskOutcome]]:
    """Returns the other models in this folder that were scored on the same version of the data."""
    out: dict[str, list[TaskOutcome]] = {}
    for path in sorted((output / "mmeb").glob("*/run.json")):
        about = json.loads(path.read_text("utf-8"))
        if about["name"] != name and about["data_version"] == version and not about["reference_compatible"]:
            out[about["name"]] = _read_outcomes(path.parent)
    return out


def _read_outcomes(folder: Path) -> list[TaskOutcome]:
    """Returns the tasks with a result in a model's folder."""
    results = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    return [TaskOutcome(**result) for result in results if result.pop("stamp", None)]


def as_csv(table: Table, outcomes: Sequence[TaskOutcome]) -> str:
    """Returns `level,name,modality,group,metric,tasks,queries,failed` and one column of percentages per model."""
    scored = {o.task: o for o in outcomes if o.state == "scored"}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["level", "name", "modality", "group", "metric", "tasks", "queries", "failed", *table.columns])
    own = table.columns[table.own[0]]
    for row in table.rows:
        outcome, score = scored.get(row.name), own.get(row.name)
        counts = ["" if score is None else f"{score.tasks}/{score.total}"]
        counts += ["", ""] if outcome is None else [str(outcome.queries), str(len(outcome.failed))]
        values = [f"{c[row.name].percent:.2f}" if row.name in c else "" for c in table.columns.values()]
        writer.writerow([row.level, row.name, row.modality, row.group, row.metric, *counts, *values])
    return out.getvalue()


def as_markdown(table: Table, name: str, outcomes: Sequence[TaskOutcome]) -> str:
    """Returns the averages, then every task, beside the published scores; then warnings, failures and notes."""
    lines = [f"# {name} on MMEB-V2", ""]
    lines.append(
        f"{scored_text(outcomes)}. Image and video: hit@1; visual documents: NDCG@5 (linear gain). "
        f"Percent; averages are plain means over tasks. Data: {table.data_version}. {table.rules_text}"
    )
    header = ["", *table.columns]
    for title, levels in (("Averages", ("overall", "modality", "group")), ("Tasks", ("task",))):
        lines += ["", f"## {title}", "", "| " + " | ".join(map(_cell, header)) + " |"]
        lines.append("|---|" + "--:|" * len(table.columns))
        for row in table.rows:
            if row.level in levels:
                cells = [_score_text(c.get(row.name)) for c in table.columns.values()]
                label = f"**{row.title}**" if row.level in ("overall", "modality") else row.title
                lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines += _notes(outcomes)
    return "\n".join(lines) + "\n"


def _notes(outcomes: Sequence[TaskOutcome]) -> list[str]:
    lines: list[str] = []
    warnings = [w for o in outcomes for w in o.warnings]
    if warnings:
        lines += ["", "## Warnings", ""] + [f"- {_cell(w)}" for w in warnings]
    left_out = [o for o in outcomes if o.state != "scored"]
    if left_out:
        lines += ["", "## Left out", ""] + [f"- {o.task} ({o.state}): {_cell(o.reason)}" for o in left_out]
    failures = [(o, f) for o in outcomes for f in o.failed]
    if failures:
        lines += ["", "## Could not be embedded", "", "Each such query counts as missed in every metric.", ""]
        lines += [
            f"- {o.task}, {f['side']} {_cell(f['name'])}: {_cell(f['source'])} {_cell(f['reason'])}"
            for o, f in failures[:100]
        ]
        if len(failures) > 100:
            lines.append(f"- and {len(failures) - 100} more, in `mmeb/…/<task>.json`")
    notes = [f"- {o.task}: {_cell(n)}" for o in outcomes for n in o.notes]
    if notes:
        lines += ["", "## Notes on the data", "", *notes]
    return lines


def _score_text(score: Score | None) -> str:
    if score is None:
        return ""
    return f"{score.percent:.1f}" if score.whole else f"{score.percent:.1f} ({score.tasks} of {score.total})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def scores_json(
    name: str, outcomes: Sequence[TaskOutcome], about: Mapping[str, Any], version: DataVersion
) -> dict[str, Any]:
    """Returns all metrics at 1, 5 and 10 as fractions, in the format of the official leaderboard."""
    tasks: dict[str, Task] = {t.name: t for t in (*all_tasks(version), *v3_tasks())}
    metrics: dict[str, dict[str, Any]] = {m: {} for m in MODALITIES}
    for outcome in outcomes:
        if outcome.state != "scored":
            continue
        task = tasks[outcome.task]
        metrics.setdefault(task.modality, {})[task.reported_as or task.name] = {
            **outcome.scores,
            "num_pred": outcome.queries,
            "num_data": outcome.queries,
            "num_failed": len(outcome.failed),
        }
    means = {
        n: {"score": round(s.percent, 4), "tasks": s.tasks, "of": s.total}
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
