"""`make bench-cli`: what one `sightline search` costs, cold and beside a server that has the library open.

Built around the command in a process of its own: user and system time of its whole tree, and the time until it ends.
The library is that of `make bench-ui`, smaller; the first run reads files into the disk's cache and does not count.
CPU time has the targets, as a busy machine changes it little.
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

from tests.bench import report
from tests.bench.ui import Served, fill, phrases

CHUNKS, RUNS = 1000, 9
COLD_S, BESIDE_S = 0.7, 0.15
"""Targets in CPU seconds."""


def cost(arguments: Sequence[str]) -> tuple[float, float]:
    """(CPU seconds, seconds) of `sightline` with these arguments."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SIGHTLINE_")}
    before, begun = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments], env=environment, stdout=subprocess.DEVNULL, check=True
    )
    after, ended = os.times(), time.perf_counter()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, ended - begun


def searches(data_dir: Path) -> list[tuple[float, float]]:
    """The costs of RUNS searches, each for other words."""
    runs = [cost(["search", words, "--data-dir", str(data_dir)]) for words in phrases(11, RUNS + 1)]
    return runs[1:]


def row(name: str, runs: Sequence[tuple[float, float]], target: float) -> list[object]:
    cpu, wall = ([run[n] for run in runs] for n in (0, 1))
    spread = f"{min(cpu):.2f}–{max(cpu):.2f}"
    return [name, f"{statistics.median(cpu):.2f}", spread, f"≤ {target}", f"{statistics.median(wall):.2f}"]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-cli-") as scratch:
        data_dir = Path(scratch) / "library"
        fill(data_dir, Path(scratch) / "photos", CHUNKS)
        bare = [cost(["--version"]) for _ in range(RUNS)]
        cold = searches(data_dir)
        served = Served(data_dir)
        served.answers()
        served.gradio()
        beside = searches(data_dir)
        served.stop()
    rows = [row("cold", cold, COLD_S), row("beside a server", beside, BESIDE_S), row("`--version`", bare, BESIDE_S)]
    text = f"`sightline search WORDS` on a library of {CHUNKS:,} images, median of {RUNS} runs, model lite.\n\n"
    report.write("cli", text + report.table(("", "CPU s", "from–to", "target", "s"), rows))


if __name__ == "__main__":
    main()
