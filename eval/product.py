"""Sightline's own search on the benchmark: the product is measured, not only its model.

Built around `score_search`. The candidates of a retrieval task are laid out as files in a folder
(pages as images, clips as videos), Sightline indexes that folder and answers the task's queries
as a person would ask them, without instruction: vectors in its catalogue, its index, words and
meaning together. The answers are scored like any ranking. Only tasks that search a whole
pool with words can be asked this way: the documents and video retrieval.

It reaches Sightline from outside, by command and HTTP (`Product`), or through any callable.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data.mmeb.readers import read_task
from data.mmeb.task import DataVersion, Task
from data.mmeb.task_data import DataBroken, DataMissing, PictureError, TaskData, TaskItem
from eval.embedding import Rank
from eval.metrics import KS, Ranking, Relevance, metrics_at
from eval.runner import ScoringSettings, TaskOutcome, claim, how_to_get, own, slug, write_result
from eval.scoring import DEPTH, Scored, ideal

READERS = ("documents", "video_retrieval")
# Clips made of saved frames last this long, so that each is one window of a library (30 s).
CLIP_S = 16.0

Search = Callable[[str, int], Sequence[str]]
"""Words and how many -> paths, best first; a path may repeat (windows of one clip)."""


class ProductError(Exception):
    """Sightline could not be run. `str(error)` is what it said."""


def can_be_asked(task: Task) -> bool:
    """Whether a task is words against one pool of files."""
    return task.reader in READERS


def lay_out(data: TaskData, folder: Path) -> tuple[dict[str, int], list[dict[str, str]]]:
    """Write every candidate as a file into `folder`: (file name -> column), and what could not be written."""
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, int] = {}
    failed = []
    for column, item in enumerate(data.candidates):
        try:
            path = _write(item, folder / f"{column:06d}")
        except PictureError as error:
            source = {"side": "candidate", "name": data.keys[column], "source": error.source}
            failed.append({**source, "reason": str(error)})
        else:
            names[path.name] = column
    return names, failed


def score_search(task: Task, data: TaskData, names: dict[str, int], search: Search) -> tuple[TaskOutcome, Scored]:
    """Ask every query of the task and score the answers. What is not found is missed."""
    began = time.perf_counter()
    n = len(data.queries)
    columns = np.full((n, DEPTH), -1, dtype=np.int64)
    hits = np.zeros((n, DEPTH), dtype=bool)
    grades = np.zeros((n, DEPTH))
    for i, query in enumerate(data.queries):
        found = [names[Path(p).name] for p in search(query.text, 4 * DEPTH) if Path(p).name in names]
        for place, column in enumerate(list(dict.fromkeys(found))[:DEPTH]):
            columns[i, place] = column
            grade = data.relevant[i].get(column)
            if grade is not None:
                hits[i, place], grades[i, place] = True, grade
    truth = Relevance.of(data.relevant)
    metrics = metrics_at(hits, grades, truth.counts + np.asarray(data.unfound), ideal(data, data.relevant), KS)
    scores = np.where(columns >= 0, -np.arange(DEPTH, dtype=np.float32), -np.inf)
    outcome = TaskOutcome(
        task.name,
        "scored",
        scores={name: float(values.mean()) for name, values in metrics.items()},
        queries=n,
        candidates=len(data.candidates),
        seconds=round(time.perf_counter() - began, 3),
        notes=list(data.notes),
    )
    return outcome, Scored(metrics, Ranking(columns, scores, hits, grades), [])


@dataclass(frozen=True)
class Product:
    """Sightline as installed: one library in `data_dir`, made and asked by its own commands."""

    data_dir: Path
    model: str = "lite"

    def index(self, folder: Path) -> dict[str, int]:
        """`sightline index FOLDER --json`; its counts. Raises `ProductError`."""
        done = self._command("index", str(folder), "--json")
        if done.returncode:
            raise ProductError(f"sightline index: {done.stderr.strip()[-500:]}")
        counts: dict[str, int] = json.loads(done.stdout)
        return counts

    @contextmanager
    def serving(self) -> Iterator[Search]:
        """`sightline serve` on a free port for as long as the block lasts."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = self.data_dir / "serve.log"
        with log.open("w") as output:
            child = subprocess.Popen(
                [*self._call("serve"), "--port", str(port), "--no-browser"], stdout=output, stderr=output
            )
        base = f"http://127.0.0.1:{port}"
        try:
            _wait_until_there(f"{base}/healthz", child, log)
            yield lambda words, k: _ask(base, words, k)
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _call(self, command: str, *more: str) -> list[str]:
        at = ["--data-dir", str(self.data_dir), "--model", self.model]
        return [sys.executable, "-m", "app.cli", command, *more, *at]

    def _command(self, command: str, *more: str) -> subprocess.CompletedProcess[str]:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        return subprocess.run(self._call(command, *more), capture_output=True, text=True, check=False)


def run_product(task: Task, data: TaskData, model: str, work: Path, keep: bool = False) -> tuple[TaskOutcome, Scored]:
    """Lay out, index, serve, ask, score: one task through Sightline. `work` is removed unless `keep`."""
    files, library = work / task.name / "files", work / task.name / "library"
    try:
        names, failed = lay_out(data, files)
        product = Product(library, model)
        counts = product.index(files)
        with product.serving() as search:
            outcome, scored = score_search(task, data, names, search)
    finally:
        if not keep:
            shutil.rmtree(work / task.name, ignore_errors=True)
    outcome.failed = failed
    if counts.get("failed"):
        outcome.warnings.append(f"{task.name}: Sightline could not index {counts['failed']} of {len(names)} files")
    return outcome, scored


def run(
    tasks: Sequence[Task],
    model: str,
    data_root: Path,
    output: Path,
    *,
    name: str,
    version: DataVersion = "current",
    report: Callable[[TaskOutcome], None] | None = None,
) -> list[TaskOutcome]:
    """Every task of `tasks` through Sightline; those that cannot be asked are left out by name."""
    folder = output / "mmeb" / slug(name)
    outcomes = []
    with own(output, folder, Rank()):
        claim(
            folder,
            {"name": name, "model_id": f"sightline with {model}", **asdict(ScoringSettings(data_version=version))},
        )
        for task in tasks:
            outcome = TaskOutcome(task.name, "missing", "searches no pool of files with words")
            if can_be_asked(task):
                try:
                    data = read_task(task, data_root)
                    outcome, scored = run_product(task, data, model, output / "through-index")
                    write_result(folder, data, outcome, scored, f"through {model}")
                except DataMissing as error:
                    outcome = TaskOutcome(task.name, "missing", how_to_get(error, data_root, task))
                except (DataBroken, ProductError) as error:
                    outcome = TaskOutcome(task.name, "broken", str(error))
            outcomes.append(outcome)
            if report is not None:
                report(outcome)
    return outcomes


def _ask(base: str, words: str, k: int) -> list[str]:
    query = urllib.parse.urlencode({"q": words, "k": k})
    try:
        with urllib.request.urlopen(f"{base}/api/search?{query}", timeout=120) as answer:
            return [hit["path"] for hit in json.load(answer)["hits"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProductError(f"Sightline did not answer {words[:60]!r} ({error})") from error


def _wait_until_there(url: str, child: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if child.poll() is not None:
            raise ProductError(f"sightline serve ended: {log.read_text('utf-8', errors='replace').strip()[-500:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise ProductError(f"sightline serve did not answer within {seconds:.0f} s; see {log}")


def _write(item: TaskItem, stem: Path) -> Path:
    visual = item.visual
    assert visual is not None
    if visual.kind == "image":
        data = visual.pictures[0].data()
        path = stem.with_suffix(".jpg" if data[:3] == b"\xff\xd8\xff" else ".png")
        path.write_bytes(data)
        return path
    if visual.video is not None:
        path = stem.with_suffix(visual.video.suffix)
        try:
            os.link(visual.video, path)
        except OSError:
            shutil.copy(visual.video, path)
        return path
    return _as_video(visual.read(), stem.with_suffix(".mp4"))


def _as_video(frames: list[np.ndarray], path: Path) -> Path:
    """The shown frames as a clip of `CLIP_S` seconds, each for the same time, at 4 frames a second."""
    import av

    height, width = (max(64, side // 2 * 2) for side in frames[0].shape[:2])
    rate, total = 4, int(4 * CLIP_S)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(total):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[i * len(frames) // total]), "rgb24")
            container.mux(stream.encode(picture.reformat(width, height, "yuv420p")))
        container.mux(stream.encode())
    return path
