"""`make bench-baseline`: what indexing a file of each kind costs, beside the build of 82a8a70 in the same run.

Built around `sightline index`: each build indexes the same folders in an environment of its own, in turns, and the
user and system time of its whole process tree is divided by the files, windows or pages. Of pages, the script that a
person would otherwise write (`plain.py`) runs beside them, and what both find is compared. `python -m
tests.bench.baseline NAME...` measures some kinds; `--environment PYTHON` runs the old build in an environment that
is there, for a quick look.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from indexer.types import Part, Query
from model.lite.build.fetch import TEXT, fetch
from tests.bench import report
from tests.bench.index import scratch
from tests.quality.ranking import Row
from tests.quality.samples import SET

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "82a8a70"
TURNS = 3


class Kind(NamedTuple):
    """The files of one kind below samples/, copied `copies` times, and the most that one may cost of before."""

    pattern: str
    copies: int
    target: float


KINDS = {
    "PDF page": Kind("pdfs/*.pdf", 1, 0.33),
    "JPEG": Kind("images/*.jpg", 12, 1.1),
    "cut-out (PNG with alpha)": Kind("stamps/*.png", 1, 1.1),
    "video window": Kind("videos/*", 8, 1.1),
}


class Use(NamedTuple):
    """What one `sightline index` used: CPU seconds, chunks, the highest sum of the tree's PSS in bytes."""

    cpu_s: float
    chunks: int
    peak: int


def index(python: Path, source: Path, folder: Path, data_dir: Path, ocr: str = "off") -> Use:
    """Run `sightline index` of the source tree `source` with `python`. CPU time is of every process that has ended."""
    command = [python, "-m", "app.cli", "index", folder, "--ocr", ocr, "--json"]
    # Programs that this one starts may read SIGHTLINE_*: nothing of the caller's settings counts.
    # Bytecode is kept, as for a person.
    unwanted = ("SIGHTLINE_", "PYTHONDONTWRITEBYTECODE")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    environment |= {"PYTHONPATH": str(source), "SIGHTLINE_DATA_DIR": str(data_dir), "SIGHTLINE_SPEECH": "off"}
    answer, cpu, peak = _run(command, source, environment)
    return Use(cpu, answer["chunks"], peak)


def _run(command: list[object], folder: Path, environment: dict[str, str]) -> tuple[Any, float, int]:
    """What a program answers as JSON, the CPU seconds of its tree, and its peak memory in bytes."""
    before = os.times()
    with subprocess.Popen(
        [str(part) for part in command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        peak = PeakMemory(program.pid)
        peak.start()
        answer, _ = program.communicate()
    peak.join()
    after = os.times()
    if program.returncode:
        raise RuntimeError(f"{command} ended with {program.returncode}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return json.loads(answer), cpu, peak.bytes


class Plain:
    """The plain script over pages, and the questions that both are asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        fetch([TEXT], folder)
        self._model = folder / Path(TEXT.member).parent
        self._file = folder / "questions.json"
        self._right: dict[str, list[str]] = json.loads(SET.read_text("utf-8"))["text_to_page"]
        self._file.write_text(json.dumps(list(self._right)), "utf-8")
        self.costs: list[float] = []
        self.ranks: list[float] = []

    def run(self, files: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        command = [sys.executable, "-m", "tests.bench.plain", self._model, files, self._file]
        answer, cpu, _ = _run(command, ROOT, environment)
        self.costs.append(cpu / answer["pages"] * 1000)
        found = [[f"{stem.partition('-')[2]}_{page}" for stem, page in row] for row in answer["found"]]
        self.ranks = [_rank(row, right) for row, right in zip(found, self._right.values(), strict=True)]

    def beside(self, costs: list[float], data_dir: Path) -> str:
        """A sentence about today's build, by its costs at each turn and the library that it made."""
        own, other = Row.of(self.ranks_of(data_dir)), Row.of(self.ranks)
        share = statistics.median(now / plain for plain, now in zip(self.costs, costs, strict=True))
        return (
            "\n\nPages beside PyMuPDF, sentence-transformers and FAISS in forty lines, by vectors alone: "
            f"{statistics.median(self.costs):.0f} ms of CPU there, today {share:.2f} of it; MRR of {own.n} questions "
            f"{other.mrr:.3f} there and {own.mrr:.3f} today, Hit@1 {other.hit_1:.3f} and {own.hit_1:.3f}."
        )

    def ranks_of(self, data_dir: Path) -> list[float]:
        """What the library of today's build finds by vectors alone."""
        from indexer.library import Library

        with Library.open(data_dir, ocr="off", speech="off") as library:
            searcher = library.searcher()
            with library.catalogue.database.reader() as c:
                sql = "SELECT k.id, f.name, k.page FROM chunk k JOIN file f ON f.content_hash = k.content_hash"
                rows = c.exec_driver_sql(sql).fetchall()
            item = {number: f"{Path(name).stem.partition('-')[2]}_{page}" for number, name, page in rows}
            ranks = []
            for text, right in self._right.items():
                _, ids = searcher.index.search(searcher.vectors(Query((Part(text=text),))), len(item))
                ranks.append(_rank([item[number] for number in ids[0].tolist() if number >= 0], right))
            return ranks


def _rank(found: list[str], right: list[str]) -> float:
    return next((float(place) for place, item in enumerate(found, 1) if item in right), float("inf"))


class PeakMemory(threading.Thread):
    """Sums the PSS of a process and its descendants five times a second; `bytes` is the highest sum."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.bytes = pid, 0

    def run(self) -> None:
        try:
            root = psutil.Process(self.pid)
            while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
                self.bytes = max(self.bytes, sum(map(pss, [root, *root.children(recursive=True)])))
                time.sleep(0.2)
        except psutil.NoSuchProcess:
            return


def pss(process: psutil.Process) -> int:
    """Returns bytes; 0 if the process has ended."""
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def plant(kind: Kind, folder: Path) -> Path:
    """Copies of the samples of a kind; each copy has a byte of its own at its end, so that it is another content."""
    folder.mkdir(parents=True)
    for path in sorted((ROOT / "samples").glob(kind.pattern)):
        for n in range(kind.copies):
            (folder / f"{n}-{path.name}").write_bytes(path.read_bytes() + bytes([n]) * bool(n))
    return folder


def checkout(folder: Path) -> Path:
    """The source tree of the old commit."""
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=archive, check=True)
    return folder


def environment_of(source: Path) -> Path:
    """The interpreter of an environment that the old build's own `make setup` makes."""
    subprocess.run(["make", "setup"], cwd=source, check=True, stdout=subprocess.DEVNULL)
    return source / ".venv" / "bin" / "python"


def main(names: Iterable[str], python: Path | None) -> None:
    rows: list[list[object]] = []
    with scratch() as folder:
        source = checkout(folder / "before")
        beside = ""
        builds = {"before": (python or environment_of(source), source), "today": (Path(sys.executable), ROOT)}
        for name in names or KINDS:
            files = plant(KINDS[name], folder / "files" / re.sub(r"\W", "", name))
            costs: dict[str, list[float]] = {build: [] for build in builds}
            plain = Plain(folder / "plain") if name == "PDF page" else None
            for turn in range(TURNS):
                if plain is not None:
                    plain.run(files)
                for build, (interpreter, tree) in sorted(builds.items(), reverse=bool(turn % 2)):
                    use = index(interpreter, tree, files, folder / f"{build} {name} {turn}")
                    costs[build].append(use.cpu_s / use.chunks * 1000)
                    print(name, build, f"{costs[build][-1]:.1f} ms, {use.chunks} chunks", file=sys.stderr, flush=True)
            pairs = [now / old for old, now in zip(costs["before"], costs["today"], strict=True)]
            figures = [statistics.median(costs[build]) for build in builds]
            if plain is not None:
                beside = plain.beside(costs["today"], folder / f"today {name} 0")
            spread = f"{min(pairs):.2f}–{max(pairs):.2f}"
            rows.append([name, use.chunks, *figures, statistics.median(pairs), f"≤ {KINDS[name].target}", spread])
        memory = {}
        if not names:
            everything = plant(Kind("[ipv]*s/*.*", 1, 1), folder / "files" / "all")
            for build, (interpreter, tree) in builds.items():
                memory[build] = index(interpreter, tree, everything, folder / f"{build} all", "auto").peak / 2**20
    text = f"What indexing one chunk costs in CPU time, beside an earlier build (commit {COMMIT}).\n\n"
    text += report.table(
        ("kind", "chunks", "before, ms", "today, ms", "today / before", "target", "ratio of each pair"), rows
    )
    text += (
        "\n\nUser and system time of the whole tree of `sightline index --ocr off`, start and end included, by chunk."
    )
    text += beside
    if memory:
        text += (
            "\n\nHighest summed PSS of the tree while indexing photos, videos and PDFs of the sample set with OCR:"
            f" {memory['today']:.0f} MB (target 600; {COMMIT}: {memory['before']:.0f} MB)."
        )
        report.write("baseline", text)
    else:
        print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *KINDS], help="the kinds to measure")
    parser.add_argument("--environment", type=Path, metavar="PYTHON", help="the interpreter for the old build")
    options = parser.parse_args()
    main(options.names, options.environment)
