"""Score files of other places, in and out: `python -m eval.boards import FILE…`, `python -m eval.boards export`.

Built around rows of `boards.csv` (model, task, metric, percent, source, version of the data, rules), which
`eval.published` shows beside a run. Read are the official board's score files, whose form `scores.json` has too, and
result files of mteb; written are the files that the benchmark's own code leaves and the submission made of them.
It computes nothing.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from eval.protocols import AUTHORS, BENCHMARK, PROTOCOLS
from eval.runner import slug
from eval.task_list import MODALITIES, all_tasks

PACKAGED = Path(__file__).parent / "boards.csv"
FILE = "boards.csv"
"""In an output folder: imported figures that stand beside the runs of that folder."""
MTEB = "mteb"
"""The group of mteb's own tasks, which are none of the benchmark's."""


class BoardError(Exception):
    """A score file cannot be read or written. The message names the file and what to do."""


@dataclass(frozen=True)
class BoardRow:
    """One figure. `score`: percent, as text. `data`: current or paper; `rules`: authors or benchmark."""

    model: str
    task_or_group: str
    group: str
    metric: str
    score: str
    source: str
    data: str = "current"
    rules: str = AUTHORS


HEADER = [field.name for field in fields(BoardRow)]


def read(path: Path) -> list[BoardRow]:
    """Returns the rows of a `boards.csv`. Raises `BoardError`."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != HEADER:
            raise BoardError(f"{path} is no table of boards: its first line must be {','.join(HEADER)}.")
        rows = []
        for row in reader:
            if None in row or None in row.values() or not _is_score(row["score"]):
                raise BoardError(f"{path}, line {reader.line_num}: not {len(HEADER)} columns with a score in percent.")
            rows.append(BoardRow(**row))
        return rows


def _is_score(text: str) -> bool:
    try:
        return 0 <= float(text) <= 100
    except ValueError:
        return False


def add(path: Path, rows: Sequence[BoardRow]) -> None:
    """Write rows into `path`; they replace all rows of the same model and source."""
    keys = {(row.model, row.source) for row in rows}
    kept = [row for row in (read(path) if path.exists() else []) if (row.model, row.source) not in keys]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(astuple(row) for row in [*kept, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(out.getvalue(), "utf-8", newline="")
    part.replace(path)


def rows_of(
    path: Path,
    *,
    model: str | None = None,
    source: str | None = None,
    data: str | None = None,
    rules: str | None = None,
) -> list[BoardRow]:
    """Returns the figures of a score file, or of the folder of a model's mteb results.

    What is not given is taken from the file: the model's name, the version of the data (by the names of the page
    tasks), the rules. Raises `BoardError`.
    """
    if path.is_dir():
        return _mteb_rows(path, model, source, rules, data)
    content = _json(path)
    if isinstance(content, dict) and "task_name" in content and "scores" in content:
        return _mteb_rows(path, model, source, rules, data)
    if not isinstance(content, dict) or not isinstance(content.get("metrics"), dict):
        raise BoardError(f'{path} is no score file: it has neither "metrics" (the board) nor "task_name" (mteb).')
    about = content.get("metadata")
    about = about if isinstance(about, dict) else {}
    name = model or str(about.get("model_name") or "")
    if not name:
        raise BoardError(f"{path} does not name its model; give --model.")
    scores = {
        task: value for part in content["metrics"].values() if isinstance(part, dict) for task, value in part.items()
    }
    version = (
        data or about.get("data_version") or ("current" if any(n.endswith("-page-fixed") for n in scores) else "paper")
    )
    by_name = {name: task for task in all_tasks() for name in {task.name, task.reported_as or task.name}}
    figures: dict[str, BoardRow] = {}
    for task_name, value in scores.items():
        task = by_name.get(task_name)
        if task is None or not isinstance(value, dict):  # another benchmark's task, or "FILE_N/A"
            continue
        score = _percent(value.get(task.metric), path, f"{task_name} {task.metric}")
        protocol = PROTOCOLS.get(str(about.get("protocol")))
        by = rules or (BENCHMARK if protocol and protocol.figures == {BENCHMARK} else AUTHORS)
        place = source or f"scores:{path.name}"
        figures[task.name] = BoardRow(name, task.name, task.group, task.metric, score, place, version, by)
    if not figures:
        raise BoardError(
            f"{path} holds no task of the benchmark; its tasks are {', '.join(list(scores)[:3]) or 'none'}."
        )
    return list(figures.values())


def _mteb_rows(
    path: Path, model: str | None, source: str | None, rules: str | None, data: str | None
) -> list[BoardRow]:
    about = {"data": data or "current", "rules": rules or AUTHORS}
    place = source or "mteb"
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    name, meta = model, (path if path.is_dir() else path.parent) / "model_meta.json"
    if name is None and meta.is_file():
        name = str(_json(meta).get("name") or "") or None
    if name is None:
        raise BoardError(
            f"{path}: results of mteb do not name their model, and no model_meta.json lies there; give --model."
        )
    own = {f"MMEB-V2/{task.name}": task for task in all_tasks()}
    rows = []
    for file in files:
        content = _json(file) if file.name != "model_meta.json" else {}
        if not isinstance(content, dict) or "task_name" not in content:
            continue
        try:
            splits = content["scores"]
            entries = splits.get("test") or next(iter(splits.values()))
            values = [float(entry["main_score"]) for entry in entries]
        except (AttributeError, KeyError, TypeError, ValueError, StopIteration) as error:
            raise BoardError(f"{file} is no result of mteb ({type(error).__name__}: {error}).") from None
        score = _percent(sum(values) / len(values) if values else None, file, "main_score")
        task = own.get(content["task_name"])
        if task is not None:
            rows.append(BoardRow(name, task.name, task.group, task.metric, score, place, **about))
        else:
            label = f"{MTEB}/{content['task_name']}"
            rows.append(BoardRow(name, label, MTEB, "main_score", score, place, **about))
    if not rows:
        raise BoardError(f"{path} holds no result of mteb.")
    return rows


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BoardError(f"{path} cannot be read ({error.strerror}).") from None
    except ValueError:
        raise BoardError(f"{path} is not JSON; fetch it again.") from None


def _percent(value: Any, path: Path, label: str) -> str:
    """Returns a fraction as percent with four decimals. Raises `BoardError` if it is no fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BoardError(f"{path}: {label} is {value!r}, not a fraction of 1.")
    return f"{100 * value:.4f}"


SUBMISSION = (
    "model_name",
    "model_backbone",
    "model_size",
    "embedding_dimension",
    "max_length_tokens",
    "model_release_date",
    "data_source",
    "url",
)
"""The metadata that the board asks for."""


def export(output: Path, name: str, to: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write the results of the model `name` in `output` as the benchmark's own code leaves them, a file
    `<modality>/<task>_score.json` each, and the submission `<name>.json`. Returns the paths, the submission last.
    `about`: metadata for the board.

    Raises `BoardError`: no result, or results on other data or by other metrics than the board's.
    """
    folder = output / "mmeb" / slug(name)
    if not (folder / "run.json").is_file():
        raise BoardError(f"{output} holds no results of {name}; python -m eval --output_dir {output} makes them.")
    run = _json(folder / "run.json")
    if run["data_version"] != "current" or run["reference_compatible"]:
        raise BoardError(
            f"{folder} was scored on other data or by other metrics than the board's; score it with neither."
        )
    if wrong := sorted(set(about) - set(SUBMISSION)):
        raise BoardError(f"The board has no field {wrong[0]}; it has {', '.join(SUBMISSION)}.")
    metrics: dict[str, dict[str, Any]] = {modality: {} for modality in MODALITIES}
    paths: list[Path] = []
    for task in all_tasks():
        path = folder / f"{task.name}.json"
        scores = _scores(path) if path.is_file() else None
        metrics[task.modality][task.reported_as or task.name] = scores or "FILE_N/A"
        if scores:
            paths.append(_write(to / task.modality / f"{task.name}_score.json", scores))
    if not paths:
        raise BoardError(f"{folder} holds no scored task.")
    metadata = dict.fromkeys(SUBMISSION, "") | {"max_length_tokens": None, "model_release_date": None}
    metadata |= {"model_name": name, "embedding_dimension": run.get("dim"), "data_source": "Self-Reported", **about}
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    submission = {"metadata": metadata | {"report_generated_date": made}, "metrics": metrics}
    return [*paths, _write(to / f"{slug(name)}.json", submission)]


def _scores(path: Path) -> dict[str, Any]:
    outcome = _json(path)
    return {**outcome["scores"], "num_pred": outcome["queries"], "num_data": outcome["queries"]}


def _write(path: Path, content: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False), "utf-8")
    return path


def by_model(rows: Iterable[BoardRow]) -> dict[tuple[str, str], list[BoardRow]]:
    """Returns (model, source) -> its figures."""
    out: dict[tuple[str, str], list[BoardRow]] = {}
    for row in rows:
        out.setdefault((row.model, row.source), []).append(row)
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m eval.boards", description="Score files of other places, in and out."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    into = commands.add_parser("import", help="read score files into boards.csv")
    into.add_argument("files", nargs="+", type=Path, help="the board's score files, scores.json, or mteb's results")
    into.add_argument("--output_dir", default=Path(), type=Path, help="beside whose runs they stand (default: here)")
    into.add_argument("--model", help="the model's name (default: from the file)")
    into.add_argument("--source", help="where the figures are from (default: the file's name)")
    into.add_argument("--data_version", choices=("current", "paper"), help="default: by the names of the page tasks")
    into.add_argument("--rules", choices=(AUTHORS, BENCHMARK), help="who scored it (default: its authors)")
    out = commands.add_parser("export", help="write per-task score files and the submission to the board")
    out.add_argument("--output_dir", default=Path(), type=Path, help="the folder of the runs (default: here)")
    out.add_argument("--name", required=True, help="the model's name in the table")
    out.add_argument("--to", type=Path, help="default: board/ in the folder of the runs")
    out.add_argument("--about", nargs="*", default=[], metavar="FIELD=VALUE", help=f"fields: {', '.join(SUBMISSION)}")
    options = parser.parse_args(arguments)
    try:
        if options.command == "import":
            given = {"model": options.model, "source": options.source}
            given |= {"data": options.data_version, "rules": options.rules}
            rows = [row for file in options.files for row in rows_of(file, **given)]
            add(options.output_dir / FILE, rows)
            models = ", ".join(sorted({row.model for row in rows}))
            print(f"{len(rows)} figures of {models} -> {options.output_dir / FILE}", file=sys.stderr)
        else:
            about = dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in options.about)
            paths = export(options.output_dir, options.name, options.to or options.output_dir / "board", about)
            print(f"{len(paths) - 1} tasks; the submission is {paths[-1]}", file=sys.stderr)
    except BoardError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
