"""`python -m eval --model_path DIR --datasets all --data ROOT`: score a model on MMEB-V2.

Built around `eval.runner.run` and `eval.leaderboard.write`. Exit codes: 0 done, 1 the job
failed or nothing could be scored, 2 wrong usage. With several GPUs:
`torchrun --nproc_per_node=8 -m eval …`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.mmeb.task import DataVersion, Task
from eval.task_list import UnknownDataset, all_tasks, select

if TYPE_CHECKING:
    from model.embedder import Embedder


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.list:
        for task in all_tasks():
            print(f"{task.name:48} {task.modality:7} {task.group:13} {task.metric}")
        return 0
    if not asked.model_path:
        parser.error("which model? --model_path lite, vlm2vec-v2, a folder, or a hub id")
    if importlib.util.find_spec("pyarrow") is None:
        print("Scoring reads and writes Parquet: pip install 'sightline[eval]'", file=sys.stderr)
        return 1
    version: DataVersion = asked.data_version
    try:
        tasks = select([name for part in asked.datasets for name in part.split(",") if name], version)
    except UnknownDataset as error:
        parser.error(str(error))
    return _run(asked, tasks)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m eval", description="Score a model on MMEB-V2's 78 tasks.")
    add = parser.add_argument
    here = os.environ.get("SIGHTLINE_MMEB", "data-mmeb")
    names = "all, image, video, visdoc, a family (I-CLS …) or task names"
    pixels = "per image or frame; 0: as the checkpoint says"
    paper = "paper: MomentSeeker with 1800 rows and the page sets before their fix"
    quirks = "the original's quirks where they are deterministic: ties in stored order, repeats counted"
    add("--model_path", "--model", help="lite, vlm2vec-v2, gme-2b, a checkpoint folder, or a hub id")
    add("--datasets", nargs="+", default=["all"], help=names)
    add("--data", default=here, type=Path, help="the --root of data.download ($SIGHTLINE_MMEB; ./data-mmeb)")
    add("--output_dir", default=Path(), type=Path, help="where leaderboard.csv and the rest go (default: here)")
    add("--cache_dir", type=Path, help="embeddings (default: the user's cache folder)")
    add("--name", help="what the model is called in the table (default: from its path)")
    add("--device", default="auto")
    add("--dtype", default="auto")
    add("--base", help="base model, for an adapter that does not name it")
    add("--dim", type=int, help="cut the vectors (Matryoshka models)")
    add("--min_pixels", type=int, default=4 * 28 * 28, help=pixels)
    add("--max_pixels", type=int, default=1280 * 28 * 28, help=pixels)
    add("--data_version", choices=("current", "paper"), default="current", help=paper)
    add("--reference_compatible", "--reference-compatible", action="store_true", help=quirks)
    add("--own_wording", action="store_true", help="the model's own wording instead of the protocol's prompts")
    add("--through_index", action="store_true", help="ask Sightline itself: its index, words and meaning together")
    add("--list", action="store_true", help="list the tasks and leave")
    return parser


def _run(asked: argparse.Namespace, tasks: list[Task]) -> int:
    from eval import leaderboard, product
    from eval.cache import CacheError
    from eval.embedding import Rank
    from eval.runner import RunError, ScoringSettings, TaskOutcome, run
    from model.embedder import ModelError

    rank = Rank.here()
    leads = rank.number == 0

    def say(text: str) -> None:
        if leads:
            print(text, file=sys.stderr, flush=True)

    if not asked.data.is_dir():
        say(
            f"{asked.data} is not a folder; --data says where the benchmark lies. To fetch it: "
            f"python -m data.download --root {asked.data} --only mmeb-eval"
        )
        return 1
    name = asked.name or _name(asked.model_path, asked)
    shown = [0.0]

    def report(o: TaskOutcome) -> None:
        if o.state != "scored":
            say(f"{o.task:48} {o.state}: {o.reason}")
            return
        metric = next(t.metric for t in tasks if t.name == o.task)
        again = "as before" if o.reused else f"{o.embedded} embedded, {o.seconds:.1f} s"
        lost = f", {len(o.failed)} unreadable" if o.failed else ""
        say(f"{o.task:48} {metric} {100 * o.scores[metric]:5.1f}  {o.queries} queries, {again}{lost}")
        for warning in o.warnings:
            say(f"  warning: {warning}")

    def progress(task: str, done: int, of: int) -> None:
        if time.monotonic() - shown[0] > 10:
            shown[0] = time.monotonic()
            say(f"  {task}: {done} of {of} embedded")

    try:
        if asked.through_index:
            outcomes = product.run(
                tasks,
                asked.model_path,
                asked.data,
                asked.output_dir,
                name=name,
                version=asked.data_version,
                report=report,
            )
            about: dict[str, Any] = {"model_id": f"sightline with {asked.model_path}", "dim": None}
        else:
            embedder = _load(asked, rank.count)
            outcomes = run(
                tasks,
                embedder,
                asked.data,
                asked.output_dir,
                asked.cache_dir or _cache(),
                name=name,
                settings=ScoringSettings(asked.reference_compatible, asked.data_version, not asked.own_wording),
                report=report,
                progress=progress,
                rank=rank,
            )
            about = {"model_id": embedder.id, "dim": embedder.dim}
    except (RunError, CacheError, ModelError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped. The same command goes on from here.")
        return 1
    if not leads:
        return 0
    about |= {"data_version": asked.data_version, "reference_compatible": asked.reference_compatible}
    table = leaderboard.write(asked.output_dir, name, outcomes, about, asked.data_version)
    averages = [f"{r.name} {table.columns[name][r.name].percent:.2f}" for r in table.rows
                if r.level in ("overall", "modality") and r.name in table.columns[name]]  # fmt: skip
    scored = sum(o.state == "scored" for o in outcomes)
    say(f"{name}: {', '.join(averages) or 'nothing scored'} ({scored} of {len(tasks)} tasks)")
    for file in ("leaderboard.csv", "leaderboard.md", "leaderboard.html", "scores.json"):
        say(f"  {asked.output_dir / file}")
    return 0 if scored else 1


def _load(asked: argparse.Namespace, workers: int) -> Embedder:
    from model.loading import load

    device = asked.device
    if device == "auto" and workers > 1:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if _cuda() else "cpu"
    return load(
        asked.model_path,
        device=device,
        dtype=asked.dtype,
        base=asked.base,
        dim=asked.dim,
        min_pixels=asked.min_pixels or None,
        max_pixels=asked.max_pixels or None,
    )


def _name(path: str, asked: argparse.Namespace) -> str:
    folder = Path(path)
    plain = path
    if folder.is_dir():
        whole = folder.resolve()
        plain = f"{whole.parent.name}/{whole.name}" if whole.name.startswith("checkpoint") else whole.name
    if asked.through_index:
        return f"{plain} through Sightline"
    return f"{plain} (reference-compatible)" if asked.reference_compatible else plain


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("sightline", appauthor=False)) / "mmeb"


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
