"""Keep a benchmark's table in docs/benchmarks.md: one section a benchmark, replaced at each run.

Knows nothing of what is measured. `machine` names what the figures were taken on.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"

_HEAD = """\
# Benchmarks

Each section is written by `make bench-NAME` and replaced when it runs again. Ratios compare with a bare
baseline in the same run on the same machine; absolute figures are that machine's.
"""


def write(section: str, markdown: str, page: Path = PAGE) -> None:
    """Print `markdown` and put it under `## section` of the page, with the machine and the date."""
    body = f"## {section}\n\n{machine()}, {time.strftime('%Y-%m-%d')}.\n\n{markdown.strip()}\n"
    print(body)
    text = page.read_text("utf-8") if page.exists() else _HEAD
    parts = re.split(r"(?m)^(?=## )", text)
    kept = [part.strip() + "\n" for part in parts if not part.startswith(f"## {section}\n")]
    page.write_text("\n".join([*kept, body]), "utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; floats with three digits, None as a dash."""

    def cell(value: object) -> str:
        if value is None:
            return "–"
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def machine() -> str:
    """Processor, cores this process may use, memory, system: "Intel Xeon, 2 cores, 24 GB, Linux"."""
    import psutil

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        match = re.search(r"model name\s*:\s*(.+)", info.read_text())
        name = match[1].strip() if match else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    return f"{name}, {cores} cores, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"
