"""`make bench-cli`: what one `sightline search` costs, cold and beside a server that has the library open.

Built around the command in a process of its own: user and system time of its whole tree, and the time until it ends.
The library is that of `make bench-ui`, smaller, with its vectors' file, as indexing leaves it; the first run of each
kind reads files into the disk's cache, writes Python's bytecode (into a folder of its own: the environment stays as it
is) and does not count. CPU time has the targets, as a busy machine changes it less.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from indexer.library import Library
from tests.bench import report
from tests.bench.ui import Served, fill, phrases

CHUNKS, RUNS = 1000, 9
COLD_S, BESIDE_S = 0.7, 0.15
"""Targets in CPU seconds."""


SIGHTLINE = ("-m", "app.cli")


def cost(arguments: Sequence[str], bytecode: Path) -> tuple[float, float]:
    """(CPU seconds, seconds) of Python with these arguments."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SIGHTLINE_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    before, begun = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    after, ended = os.times(), time.perf_counter()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, ended - begun


def costs(bytecode: Path, *runs: Sequence[str]) -> list[tuple[float, float]]:
    """The costs of all runs but the first."""
    return [cost(run, bytecode) for run in runs][1:]


def searches(data_dir: Path, bytecode: Path) -> list[tuple[float, float]]:
    """The costs of RUNS searches, each for other words."""
    words = phrases(11, RUNS + 1)
    return costs(bytecode, *([*SIGHTLINE, "search", text, "--data-dir", str(data_dir)] for text in words))


def row(name: str, runs: Sequence[tuple[float, float]], target: float | None = None) -> list[object]:
    cpu, wall = ([run[n] for run in runs] for n in (0, 1))
    spread = f"{min(cpu):.2f}–{max(cpu):.2f}"
    asked = None if target is None else f"≤ {target}"
    return [name, f"{statistics.median(cpu):.2f}", spread, asked, f"{statistics.median(wall):.2f}"]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-cli-") as scratch:
        data_dir = Path(scratch) / "library"
        bytecode = Path(scratch) / "bytecode"
        fill(data_dir, Path(scratch) / "photos", CHUNKS)
        with Library.open(data_dir) as library:
            library.index()
        bare = costs(bytecode, *[("-c", "pass")] * (RUNS + 1))
        version = costs(bytecode, *[(*SIGHTLINE, "--version")] * (RUNS + 1))
        help_ = costs(bytecode, *[(*SIGHTLINE, "--help")] * (RUNS + 1))
        cold = searches(data_dir, bytecode)
        served = Served(data_dir)
        served.answers()
        served.gradio()
        beside = searches(data_dir, bytecode)
        served.stop()
    rows = [
        row("`search WORDS`, cold", cold, COLD_S),
        row("`search WORDS`, beside a server", beside, BESIDE_S),
        row("`--help`", help_, BESIDE_S),
        row("`--version`", version, BESIDE_S),
        row("`python -c pass`", bare),
    ]
    text = (
        f"`sightline` on a library of {CHUNKS:,} images, median of {RUNS} runs, model lite, English words; Python's"
        f" bytecode is there, as after the first call. Load of the machine: {os.getloadavg()[0]:.0f} processes on"
        f" {os.cpu_count()} cores.\n\n"
    )
    report.write("cli", text + report.table(("", "CPU s", "from–to", "target", "s"), rows))


if __name__ == "__main__":
    main()
