"""`python -m tests.bench.time_left FOLDER`: what is told of the time that is left, beside the time that it took.

Built around `sightline run` on a folder, with OCR, in a process of its own: its status is read every two seconds until
nothing is left to do. After each further half minute a row says how long was told, over all and for each kind
and step, and how long it then took; after the first minute it is to be within a factor of two, until ten seconds before
the end. `--made NAME` makes a folder of `tests.bench.time_left_folders` there first; `--arriving OTHER` adds the files
of another one after half a minute; `--model NAME` then changes to another model, and watches that.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.bench.report import table, write
from tests.bench.time_left_folders import make
from tests.bench.ui import Served

EACH_S, ROW_S, ARRIVES_S = 2.0, 30.0, 30.0
FIRST_S, LAST_S = 60.0, 10.0
"""Between these seconds from the start and to the end the ratios are judged."""

Row = tuple[float, float | None, list[dict[str, Any]]]
"""Seconds since the start; the seconds told to the end, and what was left, then."""


def watched(folder: Path, data_dir: Path, *options: str, arriving: Path | None = None) -> list[Row]:
    """What was left, until nothing is."""
    served = Served(data_dir, "run", str(folder), *options)
    served.answers()
    rows: list[Row] = []
    idle = 0
    with httpx.Client(base_url=served.url, timeout=30) as client:
        while idle < 5:  # between two steps there may be nothing for a moment
            time.sleep(EACH_S)
            at = time.perf_counter() - served.began
            if arriving is not None and at > ARRIVES_S:
                shutil.copytree(arriving, folder / arriving.name)
                arriving = None
            status = client.get("/api/status").json()
            work = status["work"]
            rows.append((at, status["all_seconds_left"], work))
            if len(rows) % 15 == 1:
                print(f"{at:.0f} s: {_seconds(rows[-1][1])} left", file=sys.stderr, flush=True)
            idle = 0 if work or not any(before for *_, before in rows) else idle + 1
    served.stop()
    return rows[:-idle]


def compared(rows: list[Row]) -> list[list[object]]:
    """A row for each half minute: the time told, the time it took, and what was told of each step."""
    end, table_rows, due = rows[-1][0], [], ROW_S
    for at, told, work in rows:
        if at < due:
            continue
        due += ROW_S
        steps = ", ".join(
            f"{one['kind'] or one['step']} {one['left']}: {_seconds(one['seconds_left'])}" for one in work
        )
        took = end - at
        ratio = None if told is None else f"{told / max(took, 1):.2f}"
        table_rows.append([f"{at:.0f}", None if told is None else f"{told:.0f}", f"{took:.0f}", ratio, steps])
    return table_rows


def summary(rows: list[Row]) -> str:
    """The ratios after a minute, half-way from there, and ten seconds before the end; the least and the most."""
    end = rows[-1][0]
    counted = [(at, told) for at, told, _ in rows if at >= FIRST_S and end - at > LAST_S]
    if not counted:
        return "It took less than a minute."
    ratios = [0.0 if told is None else told / (end - at) for at, told in counted]
    return (
        f"{end:.0f} s. Told by taken: after a minute {ratios[0]:.2f}, half-way from there"
        f" {ratios[len(ratios) // 2]:.2f}, near the end {ratios[-1]:.2f};"
        f" at least {min(ratios):.2f}, at most {max(ratios):.2f}."
    )


def _seconds(told: float | None) -> str:
    return "–" if told is None else f"{told:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--made", help="make this folder first")
    parser.add_argument("--arriving", type=Path, help="whose files are added")
    parser.add_argument("--model", help="to change to")
    args = parser.parse_args()
    if args.made:
        make(args.made, args.folder)
    name = f"time-left, {args.folder.name}" + (", growing" if args.arriving else "")
    with tempfile.TemporaryDirectory(prefix="bench-time-left-") as scratch:
        folder = Path(scratch) / args.folder.name
        shutil.copytree(args.folder, folder)
        report(name, folder, watched(folder, Path(scratch) / "library", arriving=args.arriving))
        if args.model:
            rows = watched(folder, Path(scratch) / "library", "--model", args.model)
            report(f"{name}, another model", folder, rows)


def report(name: str, folder: Path, rows: list[Row]) -> None:
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    head = ["at, s", "told, s", "took, s", "ratio", "told of each"]
    write(
        name,
        f"`sightline run` on {files:,} files, with OCR, until nothing was left. {summary(rows)} It is to be within a"
        f" factor of two.\n\n{table(head, compared(rows))}",
    )


if __name__ == "__main__":
    main()
