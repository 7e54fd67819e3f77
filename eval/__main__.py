"""`python -m eval --model_path DIR --datasets all --data ROOT`: score a model on MMEB-V2.

Built around `eval.runner.run` and `eval.leaderboard.write`. Exit codes: 0 done, 1 the job failed or nothing could
be scored, 2 wrong usage. With several GPUs: `torchrun --nproc_per_node=8 -m eval …`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.mmeb.task import Task
from eval.protocols import AUTHORS, OWN, PROTOCOLS, ScoringProtocol, of_model, of_name
from eval.task_list import MISSING_V3, UnknownDataset, all_tasks, select, v3_tasks

if TYPE_CHECKING:
    from model.embedder import Embedder
    from model.late_interaction import LateInteractionModel


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        for task in (*all_tasks(), *v3_tasks()):
            print(f"{task.name:48} {task.modality:7} {task.group:13} {task.metric}")
        for reason in MISSING_V3.values():
            print(f"not here: {reason}")
        return 0
    if not options.model_path:
        parser.error("which model? --model_path lite, vlm2vec-v2, a folder, or a hub id")
    if importlib.util.find_spec("pyarrow") is None:
        print("Scoring reads and writes Parquet: pip install 'sightline[eval]'", file=sys.stderr)
        return 1
    protocol = PROTOCOLS[options.protocol] if options.protocol else of_name(options.model_path)
    if useless := _no_effect(options, protocol):
        parser.error(useless)
    if options.through_index:
        protocol = None  # Sightline words its queries itself
    try:
        names = [name for part in options.datasets for name in part.split(",") if name]
        tasks = select(names, options.data_version, protocol.declarations if protocol else None)
    except UnknownDataset as error:
        parser.error(str(error))
    return _run(options, tasks, protocol)


def _no_effect(options: argparse.Namespace, protocol: ScoringProtocol | None) -> str | None:
    """Returns why an option that was given would change nothing, in one line; None if each changes something."""
    from model.lite.weights import EARLIER
    from model.registry import has_pixel_limits, is_embeddinggemma

    model, sizes = options.model_path, ("min_pixels", "max_pixels")
    loading = ("base", "dim", *sizes, "detail")
    reasons: list[tuple[bool, tuple[str, ...], str]] = [
        (not options.through_index, ("rerank",), "it is for --through_index"),
        (options.through_index, ("protocol", *loading), "--through_index loads and words as Sightline does"),
        (model in ("lite", *EARLIER), loading, f"{model} is loaded as it is"),
        (_is_late(model), loading, f"{model} is a model with late interaction, which is loaded as it is"),
        (
            protocol is not None and protocol.sets_sizes,
            sizes,
            f"the protocol {protocol.name if protocol else ''} shows pictures in its authors' sizes; --protocol own "
            "takes other limits",
        ),
        (is_embeddinggemma(model), sizes, f"{model} takes tokens per image; set them with --detail"),
        (not has_pixel_limits(model), sizes, f"{model} takes no limits of pixels"),
    ]
    for holds, names, reason in reasons:
        given = [f"--{name}" for name in names if getattr(options, name) is not None]
        if holds and given:
            return f"{' and '.join(given)} would change nothing: {reason}"
    return None


def _is_late(model: str) -> bool:
    from model.late_interaction import HUB, is_late_interaction

    return model in (*HUB, *HUB.values()) or is_late_interaction(Path(model).expanduser())


def _parser() -> argparse.ArgumentParser:
    from model.late_interaction import HUB

    parser = argparse.ArgumentParser(
        prog="python -m eval", description="Score a model on MMEB-V2's 78 tasks or tasks of MMEB-V3."
    )
    add = parser.add_argument
    root = os.environ.get("SIGHTLINE_MMEB", "data-mmeb")
    names = "all (MMEB-V2), image, video, visdoc, v3 (MMEB-V3), text, agent, a family (I-CLS …) or task names"
    pixels = "per image or frame (default: the protocol's); 0: the checkpoint's limit"
    paper = "paper: MomentSeeker with 1800 rows and the page sets before their fix"
    quirks = "follow the original where it is deterministic: ties in stored order, repeats counted"
    add("--model_path", "--model", help="lite, vlm2vec-v2, gme-2b, a checkpoint folder, or a hub id")
    add("--datasets", nargs="+", default=["all"], help=names)
    add("--data", default=root, type=Path, help="the --root of data.download ($SIGHTLINE_MMEB; ./data-mmeb)")
    add("--output_dir", default=Path(), type=Path, help="where leaderboard.csv and the rest go (default: here)")
    add("--cache_dir", type=Path, help="embeddings (default: the user's cache folder)")
    add("--name", help="the model's name in the table (default: from its path)")
    add("--device", default="auto")
    add("--dtype", default="auto")
    add("--base", help="base model, for an adapter that does not name it")
    add("--dim", type=int, help="cut the vectors (Matryoshka models)")
    add("--min_pixels", type=int, help=pixels)
    add("--max_pixels", type=int, help=pixels)
    add("--detail", help="EmbeddingGemma 2's tokens per image, page and frame (default: the protocol's)")
    add("--data_version", choices=("current", "paper"), default="current", help=paper)
    add("--reference_compatible", "--reference-compatible", action="store_true", help=quirks)
    rules = "how the model is told and shown its inputs (default: as its authors do it, docs/evaluation.md)"
    add("--protocol", choices=sorted(PROTOCOLS), help=rules)
    add("--through_index", action="store_true", help="score Sightline's search: its index, words and meaning together")
    pages = "with --through_index: pages as PDFs, the first 50 of each answer in this model's order (none: as they are)"
    add("--rerank", choices=[*sorted(HUB), "none"], help=pages)
    add("--list", action="store_true", help="list the tasks and exit")
    return parser


def _run(options: argparse.Namespace, tasks: list[Task], protocol: ScoringProtocol | None) -> int:
    from eval import leaderboard, product
    from eval.boards import BoardError
    from eval.cache import CacheError
    from eval.embedding import Rank
    from eval.runner import RunError, ScoringSettings, TaskOutcome, run
    from model.embedder import ModelError

    rank = Rank.from_environment()
    is_first = rank.number == 0

    def notice(text: str) -> None:
        if is_first:
            print(text, file=sys.stderr, flush=True)

    if not options.data.is_dir():
        notice(
            f"{options.data} is not a folder; --data is the folder of the benchmark. To fetch it: "
            f"python -m data.download --root {options.data} --only mmeb-eval"
        )
        return 1
    name = options.name or _name(options.model_path, options)
    last_progress = [0.0]

    def report(o: TaskOutcome) -> None:
        if o.state != "scored":
            notice(f"{o.task:48} {o.state}: {o.reason}")
            return
        metric = next(t.metric for t in tasks if t.name == o.task)
        work = "as before" if o.reused else f"{o.embedded} embedded, {o.seconds:.1f} s"
        failures = f", {len(o.failed)} unreadable" if o.failed else ""
        notice(f"{o.task:48} {metric} {100 * o.scores[metric]:5.1f}  {o.queries} queries, {work}{failures}")
        for warning in o.warnings:
            notice(f"  warning: {warning}")

    def progress(task: str, done: int, total: int) -> None:
        if time.monotonic() - last_progress[0] > 10:
            last_progress[0] = time.monotonic()
            notice(f"  {task}: {done} of {total} embedded")

    try:
        if options.through_index:
            outcomes = product.run(
                tasks,
                options.model_path,
                options.data,
                options.output_dir,
                name=name,
                version=options.data_version,
                rerank=options.rerank,
                report=report,
            )
            about: dict[str, Any] = {"model_id": product.model_id(options.model_path, options.rerank), "dim": None}
            protocol = OWN
        else:
            embedder = _load(options, rank.count, protocol)
            family = of_model(embedder)
            protocol = protocol or family
            if family not in (OWN, protocol):  # not as the model's authors score it
                protocol = replace(protocol, figures=protocol.figures - {AUTHORS})
            if _has_own_sizes(options):
                protocol = replace(protocol, figures=frozenset())
            outcomes = run(
                tasks,
                embedder,
                options.data,
                options.output_dir,
                options.cache_dir or _cache(),
                name=name,
                settings=ScoringSettings(options.reference_compatible, options.data_version),
                protocol=protocol,
                report=report,
                progress=progress,
                rank=rank,
            )
            about = {"model_id": embedder.id, "dim": embedder.dim}
    except (RunError, CacheError, ModelError) as error:
        notice(str(error))
        return 1
    except KeyboardInterrupt:
        notice("Stopped. The same command goes on from here.")
        return 1
    if not is_first:
        return 0
    about |= {"data_version": options.data_version, "reference_compatible": options.reference_compatible}
    try:
        table = leaderboard.write(options.output_dir, name, outcomes, about, options.data_version, protocol)
    except BoardError as error:
        notice(str(error))
        return 1
    averages = [f"{r.name} {table.columns[name][r.name].percent:.2f}" for r in table.rows
                if r.level in ("overall", "modality") and r.name in table.columns[name]]  # fmt: skip
    n_scored = sum(o.state == "scored" for o in outcomes)
    notice(f"{name}: {', '.join(averages) or 'nothing scored'} ({n_scored} of {len(tasks)} tasks)")
    for file in ("leaderboard.csv", "leaderboard.md", "leaderboard.html", "scores.json"):
        notice(f"  {options.output_dir / file}")
    return 0 if n_scored else 1


def _load(
    options: argparse.Namespace, workers: int, protocol: ScoringProtocol | None
) -> Embedder | LateInteractionModel:
    from model.late_interaction import load_late_interaction
    from model.loading import load
    from model.qwen.vision import PROTOCOL_MAX_PIXELS, PROTOCOL_MIN_PIXELS
    from model.registry import has_pixel_limits

    device = options.device
    if device == "auto" and workers > 1:
        import torch

        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    if _is_late(options.model_path):
        return load_late_interaction(options.model_path, device=device, dtype=options.dtype)
    more = dict(protocol.load) if protocol else {}
    if options.detail:  # its parts replace those of the protocol
        more["detail"] = ",".join(filter(None, (more.get("detail"), options.detail)))
    limits = {"min_pixels": PROTOCOL_MIN_PIXELS, "max_pixels": PROTOCOL_MAX_PIXELS}
    for name, value in (limits if has_pixel_limits(options.model_path) else {}).items():
        given = getattr(options, name)
        more[name] = more.get(name, value) if given is None else given or None
    return load(options.model_path, device=device, dtype=options.dtype, base=options.base, dim=options.dim, **more)


def _has_own_sizes(options: argparse.Namespace) -> bool:
    """Returns whether the model sees other images, or gives shorter vectors, than for any published figure."""
    from model.qwen.vision import PROTOCOL_MAX_PIXELS, PROTOCOL_MIN_PIXELS

    pixels = (options.min_pixels, PROTOCOL_MIN_PIXELS), (options.max_pixels, PROTOCOL_MAX_PIXELS)
    return bool(options.dim or options.detail) or any(given not in (None, usual) for given, usual in pixels)


def _name(path: str, options: argparse.Namespace) -> str:
    name = path
    if Path(path).is_dir():
        folder = Path(path).resolve()
        name = f"{folder.parent.name}/{folder.name}" if folder.name.startswith("checkpoint") else folder.name
    if options.through_index:
        from eval.product import about_pages

        return f"{name} through Sightline{about_pages(options.rerank)}"
    return f"{name} (reference-compatible)" if options.reference_compatible else name


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("sightline", appauthor=False)) / "mmeb"


if __name__ == "__main__":
    sys.exit(main())
