"""Sightline's own search on the benchmark: the score of the whole product.

Built around `score_search`. `lay_out` writes the candidates of a retrieval task as files (pages as images, clips as
videos), Sightline indexes that folder and answers the task's queries without instruction, as it answers a person.
Its hits are scored like any ranking. Only tasks with text queries and one pool of candidates fit: the documents and
video retrieval. It knows Sightline only by its commands and HTTP (`Product`), or as any callable.
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
from data.mmeb.task_data import DataBroken, DataMissing, ImageError, TaskData, TaskItem
from eval.embedding import Rank
from eval.metrics import KS, Ranking, Relevance, metrics_at
from eval.runner import ScoringSettings, TaskOutcome, claim, how_to_get, own, slug, write_result
from eval.scoring import DEPTH, Scored, ideal

READERS = ("documents", "video_retrieval")
# The duration of clips made of saved frames: each is one window of a library (30 s).
CLIP_S = 16.0

NO_RERANKING = "none"
"""Pages as PDFs in the order that they have: what a run with re-ranking is compared with."""

Search = Callable[[str, int], Sequence[str]]
"""(words, number of hits) -> paths, best first; a path may repeat (windows of one clip)."""


class ProductError(Exception):
    """A Sightline command failed. The message is the command's."""


def lay_out(data: TaskData, folder: Path, as_pdf: bool = False) -> tuple[dict[str, int], list[dict[str, str]]]:
    """Write every candidate as a file into `folder`, a page of a document as an image or, `as_pdf`, as a PDF.

    Returns file name -> column, and the failures."""
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, int] = {}
    failures = []
    for column, item in enumerate(data.candidates):
        try:
            path = _write(item, folder / f"{column:06d}", as_pdf)
        except ImageError as error:
            source = {"side": "candidate", "name": data.keys[column], "source": error.source}
            failures.append({**source, "reason": str(error)})
        else:
            names[path.name] = column
    return names, failures


def score_search(task: Task, data: TaskData, names: dict[str, int], search: Search) -> tuple[TaskOutcome, Scored]:
    """Search every query of the task and score the hits."""
    start = time.perf_counter()
    n = len(data.queries)
    columns = np.full((n, DEPTH), -1, dtype=np.int64)
    hits = np.zeros((n, DEPTH), dtype=bool)
    grades = np.zeros((n, DEPTH))
    for i, query in enumerate(data.queries):
        ranking = [names[Path(p).name] for p in search(query.text, 4 * DEPTH) if Path(p).name in names]
        for place, column in enumerate(list(dict.fromkeys(ranking))[:DEPTH]):
            columns[i, place] = column
            grade = data.relevant[i].get(column)
            if grade is not None:
                hits[i, place], grades[i, place] = True, grade
    truth = Relevance.of(data.relevant)
    metrics = metrics_at(hits, grades, truth.counts + np.asarray(data.missing), ideal(data, data.relevant), KS)
    scores = np.where(columns >= 0, -np.arange(DEPTH, dtype=np.float32), -np.inf)
    outcome = TaskOutcome(
        task.name,
        "scored",
        scores={name: float(values.mean()) for name, values in metrics.items()},
        queries=n,
        candidates=len(data.candidates),
        seconds=round(time.perf_counter() - start, 3),
        notes=list(data.notes),
    )
    return outcome, Scored(metrics, Ranking(columns, scores, hits, grades), [])


@dataclass(frozen=True)
class Product:
    """The installed Sightline: one library in `data_dir`, indexed and searched by Sightline's commands.

    `rerank`: the model with late interaction that puts the first pages in a new order; None: none does."""

    data_dir: Path
    model: str = "lite"
    rerank: str | None = None

    def index(self, folder: Path) -> dict[str, int]:
        """Run `sightline index FOLDER --json`. Returns its counts. Raises `ProductError`."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = self._command("index", str(folder), "--json")
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ProductError(f"sightline index: {result.stderr.strip()[-500:]}")
        counts: dict[str, int] = json.loads(result.stdout)
        return counts

    @contextmanager
    def serving(self) -> Iterator[Search]:
        """Run `sightline serve` on a free port for the duration of the block."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = self.data_dir / "serve.log"
        with log.open("w") as output:
            command = [*self._command("serve"), "--port", str(port), "--no-browser", "--no-token"]
            child = subprocess.Popen(command, stdout=output, stderr=output)
        base = f"http://127.0.0.1:{port}"
        try:
            _wait_for_server(f"{base}/healthz", child, log)
            yield lambda words, k: _search(base, words, k, self.rerank)
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _command(self, *arguments: str) -> list[str]:
        options = ["--data-dir", str(self.data_dir), "--model", self.model]
        return [sys.executable, "-m", "app.cli", *arguments, *options]


def run_product(
    task: Task, data: TaskData, model: str, work: Path, rerank: str | None = None
) -> tuple[TaskOutcome, Scored]:
    """Lay out, index, serve, search and score one task. It deletes its files below `work`."""
    files, library = work / task.name / "files", work / task.name / "library"
    try:
        names, failures = lay_out(data, files, as_pdf=rerank is not None)
        product = Product(library, model, None if rerank == NO_RERANKING else rerank)
        counts = product.index(files)
        with product.serving() as search:
            outcome, scored = score_search(task, data, names, search)
    finally:
        shutil.rmtree(work / task.name, ignore_errors=True)
    outcome.failed = failures
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
    rerank: str | None = None,
    report: Callable[[TaskOutcome], None] | None = None,
) -> list[TaskOutcome]:
    """Score `tasks` through Sightline. With `rerank` pages are PDFs, and the first ones are in the order of that model
    (`NO_RERANKING`: as they were). Returns one outcome per task; a task that does not fit is "missing"."""
    folder = output / "mmeb" / slug(name)
    outcomes = []
    with own(output, folder, Rank()):
        claim(
            folder, {"name": name, "model_id": model_id(model, rerank), **asdict(ScoringSettings(data_version=version))}
        )
        for task in tasks:
            outcome = TaskOutcome(task.name, "missing", "searches no pool of files with words")
            if task.reader in READERS:
                try:
                    data = read_task(task, data_root)
                    outcome, scored = run_product(task, data, model, output / "through-index", rerank)
                    write_result(folder, data, outcome, scored, f"through {model}")
                except DataMissing as error:
                    outcome = TaskOutcome(task.name, "missing", how_to_get(error, data_root, task))
                except (DataBroken, ProductError) as error:
                    outcome = TaskOutcome(task.name, "broken", str(error))
            outcomes.append(outcome)
            if report is not None:
                report(outcome)
    return outcomes


def model_id(model: str, rerank: str | None) -> str:
    return f"sightline with {model}{about_pages(rerank)}"


def about_pages(rerank: str | None) -> str:
    """Returns what a run's name says of `rerank`."""
    if rerank is None:
        return ""
    return ", pages as PDFs" + ("" if rerank == NO_RERANKING else f", re-ranked by {rerank}")


def _search(base: str, words: str, k: int, rerank: str | None = None) -> list[str]:
    query = urllib.parse.urlencode({"q": words, "k": k} | ({"rerank": rerank} if rerank else {}))
    try:
        # The first search with re-ranking loads that model and embeds fifty pages.
        with urllib.request.urlopen(f"{base}/api/search?{query}", timeout=3600 if rerank else 120) as response:
            return [hit["path"] for hit in json.load(response)["hits"]]
    except urllib.error.HTTPError as error:
        raise ProductError(f"Sightline did not answer {words[:60]!r} ({error}: {_detail(error)})") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProductError(f"Sightline did not answer {words[:60]!r} ({error})") from error


def _detail(error: urllib.error.HTTPError) -> str:
    """Returns the sentence of an answer that is an error."""
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return error.reason


def _wait_for_server(url: str, child: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise ProductError(f"sightline serve ended: {log.read_text('utf-8', errors='replace').strip()[-500:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise ProductError(f"sightline serve did not answer within {seconds:.0f} s; see {log}")


def _write(item: TaskItem, stem: Path, as_pdf: bool) -> Path:
    from PIL import Image

    visual = item.visual
    assert visual is not None
    if as_pdf and item.kind == "pdf":
        path = stem.with_suffix(".pdf")
        Image.fromarray(visual.read()[0]).save(path, quality=95, resolution=150)
        return path
    if visual.kind == "image":
        data = visual.images[0].data()
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
    """Write a clip of `CLIP_S` seconds at 4 frames a second; every frame has the same share of it."""
    import av

    height, width = (max(64, side // 2 * 2) for side in frames[0].shape[:2])
    rate, total = 4, int(4 * CLIP_S)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(total):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[i * len(frames) // total]), "rgb24")
            container.mux(stream.encode(frame.reformat(width, height, "yuv420p")))
        container.mux(stream.encode())
    return path
