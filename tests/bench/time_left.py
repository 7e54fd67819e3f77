"""`python -m tests.bench.time_left FOLDER`: what is told of the time that is left, beside the time that it took.

Built around `sightline run` on a folder, with OCR, in a process of its own: its status is read every two seconds until
nothing is left to do. After each further quarter of a minute a row says how long was told, over all and for each kind
and step, and how long it then took; after the first minute it is to be within a factor of two.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.bench.report import table, write
from tests.bench.ui import Served

EACH_S, ROW_S, FIRST_S = 2.0, 15.0, 60.0


def watched(folder: Path, data_dir: Path) -> list[tuple[float, list[dict[str, Any]]]]:
    """(seconds since the start, what was left then), until nothing is."""
    served = Served(data_dir, "run", str(folder))
    served.answers()
    rows: list[tuple[float, list[dict[str, Any]]]] = []
    idle = 0
    with httpx.Client(base_url=served.url, timeout=30) as client:
        while idle < 5:  # between two steps there may be nothing for a moment
            time.sleep(EACH_S)
            work = client.get("/api/status").json()["work"]
            rows.append((time.perf_counter() - served.began, work))
            idle = 0 if work or not any(before for _, before in rows) else idle + 1
    served.stop()
    return rows[:-idle]


def compared(rows: list[tuple[float, list[dict[str, Any]]]]) -> list[list[object]]:
    """A row for each quarter of a minute: the time told, the time it took, and what was told of each step."""
    end, table_rows, due = rows[-1][0], [], ROW_S
    for at, work in rows:
        if at < due:
            continue
        due += ROW_S
        told = [one["seconds_left"] for one in work if one["left"]]
        steps = ", ".join(
            f"{one['kind'] or one['step']} {one['left']}: {_seconds(one['seconds_left'])}" for one in work
        )
        took = end - at
        ratio = None if None in told else f"{sum(told) / max(took, 1):.2f}"
        table_rows.append([f"{at:.0f}", None if None in told else f"{sum(told):.0f}", f"{took:.0f}", ratio, steps])
    return table_rows


def _seconds(told: float | None) -> str:
    return "–" if told is None else f"{told:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory(prefix="bench-time-left-") as scratch:
        rows = watched(folder, Path(scratch) / "library")
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    write(
        "time-left",
        f"`sightline run` on {files:,} files, with OCR, until nothing was left: {rows[-1][0]:.0f} s. Told after"
        f" {FIRST_S:.0f} s, it is to be within a factor of two.\n\n"
        + table(["at, s", "told, s", "took, s", "ratio", "told of each"], compared(rows)),
    )


if __name__ == "__main__":
    main()
