"""A model over tasks: read, embed what is not embedded yet, rank, score, write, go on.

Built around `run`. One task is one step; what it needs is its data on disk and the cache, so a
step that was interrupted is simply done again, without the embedding. A task whose data are
missing or broken is reported by name and the rest goes on. It knows nothing of how results
are shown (eval/leaderboard.py) or of how a model works.

Files, under `<output>/mmeb/<model>/`: `run.json` (what was run, so that another model or other
settings are never mixed in), `<task>.json` (all metrics), `<task>.parquet` (every ranking).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data.mmeb.readers import read_task
from data.mmeb.sources import PAPER_REPOSITORIES
from data.mmeb.task import DataVersion, Task
from data.mmeb.task_data import DataBroken, DataMissing, PictureError, TaskData
from eval.cache import EmbeddingCache
from eval.embedding import Prompter, Rank, collect, embed_missing, keys_of, vectors_id
from eval.scoring import Scored, score
from model.embedder import Embedder

RECIPE = 1  # of the scoring; another number scores again


class RunError(Exception):
    """The run cannot start or go on. `str(error)` says what to do."""


@dataclass(frozen=True)
class ScoringSettings:
    """What decides a score besides the model and the data."""

    reference_compatible: bool = False
    data_version: DataVersion = "current"
    prompts: bool = True


@dataclass
class TaskOutcome:
    """What became of one task. `scores` holds fractions, not percent."""

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
    embedder: Embedder,
    data_root: Path,
    output: Path,
    cache_folder: Path,
    *,
    name: str | None = None,
    settings: ScoringSettings | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
    rank: Rank | None = None,
) -> list[TaskOutcome]:
    """Score `tasks`; one `TaskOutcome` each, in order.

    Run again after a kill, it continues: finished tasks are taken from their files if nothing
    that decides them changed, finished embeddings from the cache. With several workers (torchrun)
    all embed and the first scores; the others return an empty list.
    Raises `RunError` (the output folder is another run's) and `CacheError`.
    """
    settings, rank = settings or ScoringSettings(), rank or Rank.here()
    prompter = Prompter(embedder, None if settings.prompts else False)
    model_id = vectors_id(embedder)
    folder = output / "mmeb" / slug(name or embedder.id)
    outcomes = []
    with own(output, folder, rank), _closing(EmbeddingCache(cache_folder, model_id, embedder.dim)) as cache:
        if rank.number == 0:
            about = {"name": name or embedder.id, "model_id": model_id, "dim": embedder.dim}
            claim(folder, {**about, **asdict(settings), "prompts": prompter.prompts})
            cache.forget_failures()
        rank.wait_for_all()
        for task in tasks:
            began = time.perf_counter()
            outcome = TaskOutcome(task.name, "scored")
            try:
                data = read_task(task, data_root)
            except DataMissing as error:
                outcome = TaskOutcome(task.name, "missing", how_to_get(error, data_root, task))
            except DataBroken as error:
                outcome = TaskOutcome(task.name, "broken", str(error))
            else:
                stamp = _stamp(task, data, model_id, prompter, settings)
                done = _finished(folder, task, stamp)
                if done is not None:
                    outcome = done
                else:
                    keys, fresh = _embed(task, data, prompter, cache, rank, progress)
                    if rank.number == 0:
                        outcome, scored = _score(task, data, keys, cache, settings)
                        outcome.embedded = fresh
                        outcome.seconds = round(time.perf_counter() - began, 3)
                        nothing = _nothing_was_readable(data, outcome)
                        if nothing:
                            outcome = TaskOutcome(task.name, "missing", nothing)
                        else:
                            write_result(folder, data, outcome, scored, stamp)
            if rank.number == 0:
                outcomes.append(outcome)
                if report is not None:
                    report(outcome)
    return outcomes


def _embed(
    task: Task, data: TaskData, prompter: Prompter, cache: EmbeddingCache, rank: Rank, progress: Progress | None
) -> tuple[list[bytes | PictureError], int]:
    """All of a task's vectors into the cache: their names there, and how many this rank made."""
    items = [*data.queries, *data.candidates]
    keys = keys_of(items, prompter, cache)
    told = None if progress is None else (lambda done, of: progress(task.name, done, of))
    fresh = embed_missing(items, keys, prompter, cache, rank, told)
    rank.wait_for_all()
    return keys, fresh


def _score(
    task: Task, data: TaskData, keys: Sequence[bytes | PictureError], cache: EmbeddingCache, settings: ScoringSettings
) -> tuple[TaskOutcome, Scored]:
    n = len(data.queries)
    queries, candidates = collect(keys[:n], cache), collect(keys[n:], cache)
    scored = score(task, data, queries, candidates, reference_compatible=settings.reference_compatible)
    failed = [
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
        failed=failed,
        missed=len(queries.failed),
        warnings=scored.warnings,
        notes=list(data.notes),
    )
    return outcome, scored


def _nothing_was_readable(data: TaskData, outcome: TaskOutcome) -> str:
    """A reason, where every picture or clip of a task failed: its media are not there; that is no score."""
    visual = sum(item.visual is not None for item in (*data.queries, *data.candidates))
    if not visual or len(outcome.failed) < visual:
        return ""
    first = outcome.failed[0]
    return f"none of its {visual} pictures or clips can be read, first: {first['source']} {first['reason']}"


def slug(model: str) -> str:
    """A folder name for a model name, path or id."""
    return re.sub(r"[^A-Za-z0-9._@-]+", "_", model).strip("_")[-100:]


def claim(folder: Path, about: dict[str, Any]) -> None:
    """Say in `run.json` what this folder holds. Raises `RunError` if it holds something else."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.json"
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        other = [k for k in about if before.get(k) != about[k]]
        if other:
            said = "; ".join(f"{k} was {before.get(k)!r} and is {about[k]!r}" for k in other)
            raise RunError(
                f"{folder} holds results of another run ({said}). Choose another --output_dir or --name, or delete it."
            )
    _replace(path, json.dumps(about, indent=1))


@contextmanager
def own(output: Path, folder: Path, rank: Rank) -> Iterator[None]:
    """One run at a time in an output folder. The lock goes with the process, however it ends."""
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
        import os

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


@contextmanager
def _closing(cache: EmbeddingCache) -> Iterator[EmbeddingCache]:
    try:
        yield cache
    finally:
        cache.close()


def _stamp(task: Task, data: TaskData, model_id: str, prompter: Prompter, settings: ScoringSettings) -> str:
    """Changes when anything that decides the scores may have changed, but for the bytes of a picture.

    Which pictures there are counts: clips and frames that were unpacked since make other candidates.
    """
    tables = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in data.tables]
    said = repr((RECIPE, task, model_id, prompter.prompts, asdict(settings), tables))
    digest = hashlib.blake2b(said.encode(), digest_size=12)
    for item in (*data.queries, *data.candidates):
        if item.visual is not None:
            shown = [item.visual.video or "", *(p.source for p in item.visual.pictures)]
            digest.update("\0".join(map(str, shown)).encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


def _finished(folder: Path, task: Task, stamp: str) -> TaskOutcome | None:
    path = folder / f"{task.name}.json"
    if not path.exists() or not (folder / f"{task.name}.parquet").exists():
        return None
    try:
        written = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    if written.pop("stamp", None) != stamp or written["failed"]:
        return None  # what failed is tried again: the file may have been repaired
    return TaskOutcome(**{**written, "reused": True})


def write_result(folder: Path, data: TaskData, outcome: TaskOutcome, scored: Scored, stamp: str) -> None:
    """`<task>.parquet` and `<task>.json`; the second last, since it says that both are there."""
    _write_rankings(folder / f"{outcome.task}.parquet", data, scored)
    _replace(folder / f"{outcome.task}.json", json.dumps({"stamp": stamp, **asdict(outcome)}, indent=1))


def _write_rankings(path: Path, data: TaskData, scored: Scored) -> None:
    """One row a query: what was asked, what is relevant, the top of the ranking, its metrics."""
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
    """What is missing, and the command that fetches it."""
    names = f"eval/{task.name}"
    if task.source.repo == PAPER_REPOSITORIES.get(task.name):
        names += f" paper/{task.name}"
    return f"{error}; python -m data.download --root {root} --only {names}"
