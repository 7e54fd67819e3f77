"""A run of a model over tasks: read a task, embed what the cache lacks, rank, score, write the result.

Built around `run`. A task needs only its data on disk and the cache, so an interrupted task is repeated without
the embedding. A task with missing or broken data is reported, and the run goes on. It knows nothing of how results
are presented (eval/leaderboard.py) or of how a model works.

Files below `<output>/mmeb/<model>/`: `run.json` (model and settings, so that two runs never mix),
`<task>.json` (all metrics), `<task>.parquet` (every ranking).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.mmeb.readers import read_task
from data.mmeb.sources import PAPER_REPOSITORIES
from data.mmeb.task import DataVersion, Task
from data.mmeb.task_data import DataBroken, DataMissing, ImageError, TaskData, TaskItem
from eval.cache import EmbeddingCache
from eval.embedding import (
    AnyPrompter,
    Embedded,
    Prompter,
    Rank,
    collect,
    embed_missing,
    failed_of,
    items_of,
    keys_of,
    vectors_id,
)
from eval.late_interaction import LatePrompter, RaggedCache, max_sim_scores
from eval.protocols import ScoringProtocol, misfit, of_model
from eval.scoring import Scored, score
from eval.task_list import MODALITIES_V3
from model.embedder import Embedder
from model.late_interaction import LateInteractionModel

RECIPE = 1  # the version of the scoring; a change scores every task again


class RunError(Exception):
    """The run cannot start or go on. The message says what to do."""


@dataclass(frozen=True)
class ScoringSettings:
    """The settings that change a score."""

    reference_compatible: bool = False
    data_version: DataVersion = "current"


@dataclass
class TaskOutcome:
    """The result of one task. `scores` holds fractions, not percent."""

    task: str
    state: str  # "scored", "missing" (data), "broken" (data)
    reason: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    queries: int = 0
    candidates: int = 0
    embedded: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    missed: int = 0
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    reused: bool = False


Report = Callable[[TaskOutcome], None]
Progress = Callable[[str, int, int], None]


def run(
    tasks: Sequence[Task],
    embedder: Embedder | LateInteractionModel,
    data_root: Path,
    output: Path,
    cache_folder: Path,
    *,
    name: str | None = None,
    settings: ScoringSettings | None = None,
    protocol: ScoringProtocol | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
    rank: Rank | None = None,
) -> list[TaskOutcome]:
    """Score `tasks`. Returns one `TaskOutcome` each, in order.

    A second run continues the first: it takes finished tasks from their files, unless their data or settings
    changed, and finished embeddings from the cache. With several workers (torchrun) all embed and the first
    scores; the others return an empty list. `protocol`: how the model is scored, by default as its family is; `tasks`
    must have been selected with its declarations.
    Raises `RunError` (the output folder belongs to another run, the protocol does not fit the model), `CacheError`.
    """
    settings, rank = settings or ScoringSettings(), rank or Rank.from_environment()
    protocol = protocol or of_model(embedder)
    if reason := misfit(protocol, embedder):
        raise RunError(reason)
    is_late = isinstance(embedder, LateInteractionModel)
    prompter: AnyPrompter = (
        LatePrompter(embedder) if isinstance(embedder, LateInteractionModel) else Prompter(embedder, protocol)
    )
    if protocol.clip_rate is not None:
        embedder.clip_rate = protocol.clip_rate  # type: ignore[union-attr]
    cache_class = RaggedCache if is_late else EmbeddingCache
    model_id = vectors_id(embedder)
    folder = output / "mmeb" / slug(name or embedder.id)
    outcomes = []
    with own(output, folder, rank), closing(cache_class(cache_folder, model_id, embedder.dim)) as cache:
        if rank.number == 0:
            about = {"name": name or embedder.id, "model_id": model_id, "dim": embedder.dim}
            claim(folder, {**about, **asdict(settings), "protocol": protocol.name})
            cache.forget_failures()
        rank.wait_for_all()
        for task in tasks:
            start = time.perf_counter()
            outcome = TaskOutcome(task.name, "scored")
            try:
                data = read_task(task, data_root)
            except DataMissing as error:
                outcome = TaskOutcome(task.name, "missing", how_to_get(error, data_root, task))
            except DataBroken as error:
                outcome = TaskOutcome(task.name, "broken", str(error))
            else:
                items = items_of(task, data, protocol)
                stamp = _stamp(task, data, model_id, protocol, settings)
                earlier = _read_result(folder, task, stamp)
                if earlier is not None:
                    outcome = earlier
                else:
                    keys, n_embedded = _embed(task, items, prompter, cache, rank, progress)
                    if rank.number == 0:
                        outcome, scored = _score(task, data, keys, cache, settings)
                        outcome.embedded = n_embedded
                        outcome.seconds = round(time.perf_counter() - start, 3)
                        if reason := _all_unreadable(data, outcome):
                            outcome = TaskOutcome(task.name, "missing", reason)
                        else:
                            write_result(folder, data, outcome, scored, stamp)
            if rank.number == 0:
                outcomes.append(outcome)
                if report is not None:
                    report(outcome)
    return outcomes


def _embed(
    task: Task,
    items: Sequence[TaskItem],
    prompter: AnyPrompter,
    cache: EmbeddingCache,
    rank: Rank,
    progress: Progress | None,
) -> tuple[list[bytes | ImageError], int]:
    """Embed a task's items into the cache. Returns their keys, and the number of vectors of this rank."""
    keys = keys_of(items, prompter, cache)
    task_progress = None if progress is None else (lambda done, total: progress(task.name, done, total))
    n_embedded = embed_missing(items, keys, prompter, cache, rank, task_progress)
    rank.wait_for_all()
    return keys, n_embedded


def _score(
    task: Task, data: TaskData, keys: Sequence[bytes | ImageError], cache: EmbeddingCache, settings: ScoringSettings
) -> tuple[TaskOutcome, Scored]:
    n = len(data.queries)
    scores_of_all = None
    if isinstance(cache, RaggedCache):
        queries, candidates = (
            Embedded(np.zeros((len(part), 0), np.float32), failed_of(part, cache)) for part in (keys[:n], keys[n:])
        )
        scores_of_all = max_sim_scores(keys[:n], keys[n:], cache, padded=settings.reference_compatible)
    else:
        queries, candidates = collect(keys[:n], cache), collect(keys[n:], cache)
    scored = score(
        task, data, queries, candidates, reference_compatible=settings.reference_compatible, scores_of_all=scores_of_all
    )
    failures = [
        {"side": side, "name": names[i], "source": error.source, "reason": str(error)}
        for side, names, part in (("query", data.ids, queries), ("candidate", data.keys, candidates))
        for i, error in part.failed.items()
    ]
    outcome = TaskOutcome(
        task.name,
        "scored",
        scores={key: float(values.mean()) for key, values in scored.metrics.items()},
        queries=n,
        candidates=len(data.candidates),
        failed=failures,
        missed=len(queries.failed),
        warnings=scored.warnings,
        notes=list(data.notes),
    )
    return outcome, scored


def _all_unreadable(data: TaskData, outcome: TaskOutcome) -> str:
    """Returns a reason if every image or clip of a task failed, which makes a score meaningless; else an empty text."""
    visual = sum(item.visual is not None for item in (*data.queries, *data.candidates))
    if not visual or len(outcome.failed) < visual:
        return ""
    first = outcome.failed[0]
    return f"none of its {visual} images or clips can be read, first: {first['source']} {first['reason']}"


def slug(model: str) -> str:
    """Returns a folder name for a model name, path or id."""
    return re.sub(r"[^A-Za-z0-9._@-]+", "_", model).strip("_")[-100:]


def claim(folder: Path, about: dict[str, Any]) -> None:
    """Write `run.json`. Raises `RunError` if the folder holds the results of another run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.json"
    if path.exists():
        old = json.loads(path.read_text("utf-8"))
        changes = [f"{k} was {old.get(k)!r} and is {about[k]!r}" for k in about if old.get(k) != about[k]]
        if changes:
            raise RunError(
                f"{folder} holds results of another run ({'; '.join(changes)}). "
                "Choose another --output_dir or --name, or delete it."
            )
    _replace(path, json.dumps(about, indent=1))


@contextmanager
def own(output: Path, folder: Path, rank: Rank) -> Iterator[None]:
    """Lock an output folder for one run. The lock ends with the process. Raises `RunError`."""
    if rank.number > 0:
        yield
        return
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".mmeb.lock").open("a+") as lock:
        if not _locked(lock):
            lock.seek(0)
            holder = lock.read().strip() or "?"
            raise RunError(f"Another run (process {holder}) is writing to {output}; choose another --output_dir.")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _locked(file: Any) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _stamp(task: Task, data: TaskData, model_id: str, protocol: ScoringProtocol, settings: ScoringSettings) -> str:
    """Returns a hash of everything that decides the scores, except the bytes of images.

    The hash includes the paths of images: files that were unpacked since the last run are new candidates.
    """
    tables = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in data.tables]
    fields = repr((RECIPE, task, model_id, protocol.name, asdict(settings), tables))
    digest = hashlib.blake2b(fields.encode(), digest_size=12)
    for item in (*data.queries, *data.candidates):
        if item.visual is not None:
            paths = [item.visual.video or "", *(p.source for p in item.visual.images)]
            digest.update("\0".join(map(str, paths)).encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


def _read_result(folder: Path, task: Task, stamp: str) -> TaskOutcome | None:
    """Returns the result of an earlier run; None if it has another stamp or failed items."""
    path = folder / f"{task.name}.json"
    if not path.exists() or not (folder / f"{task.name}.parquet").exists():
        return None
    try:
        fields = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    if fields.pop("stamp", None) != stamp or fields["failed"]:
        return None  # a file may have been repaired since
    return TaskOutcome(**{**fields, "reused": True})


def write_result(folder: Path, data: TaskData, outcome: TaskOutcome, scored: Scored, stamp: str) -> None:
    """Write `<task>.parquet`, then `<task>.json`, which marks the result as complete."""
    _write_rankings(folder / f"{outcome.task}.parquet", data, scored)
    _replace(folder / f"{outcome.task}.json", json.dumps({"stamp": stamp, **asdict(outcome)}, indent=1))


def _write_rankings(path: Path, data: TaskData, scored: Scored) -> None:
    """Write one row per query: its text, the relevant items, the top of the ranking, the metrics."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    top = [[data.keys[c] for c in columns if c >= 0] for columns in scored.ranking.columns.tolist()]
    table = pa.table(
        {
            "query": pa.array(data.ids, pa.string()),
            "text": pa.array([q.text for q in data.queries], pa.string()),
            "relevant": pa.array([[data.keys[c] for c in r] for r in data.relevant], pa.list_(pa.string())),
            "grades": pa.array([list(r.values()) for r in data.relevant], pa.list_(pa.float32())),
            "ranking": pa.array(top, pa.list_(pa.string())),
            "scores": pa.array(
                [s[: len(t)].tolist() for s, t in zip(scored.ranking.scores, top, strict=True)], pa.list_(pa.float32())
            ),
            **{name: pa.array(values) for name, values in scored.metrics.items()},
        }
    )
    part = path.with_suffix(".part")
    pq.write_table(table, part)
    part.replace(path)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(path)


def how_to_get(error: DataMissing, root: Path, task: Task) -> str:
    """Returns the error's message and the command that fetches the data."""
    if task.modality in MODALITIES_V3:
        place = root / task.source.repo
        return f"{error}; hf download {task.source.repo} --repo-type dataset --local-dir {place}"
    names = f"eval/{task.name}"
    if task.source.repo == PAPER_REPOSITORIES.get(task.name):
        names += f" paper/{task.name}"
    return f"{error}; python -m data.download --root {root} --only {names}"
