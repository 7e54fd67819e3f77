"""The outlines of the map on the page: Natural Earth's, from npm's `world-atlas`, as two SVG paths.

Run by hand when the outlines are renewed, with the package's countries-110m.json:
    python deploy/world_map.py countries-110m.json app/static/vendor/world.json
Built around TopoJSON's arcs, of which a border that two countries share is one. It knows nothing of the page.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

UNIT = 20
"""Units of a path in a degree: a twentieth is 5 km, and the outlines are coarser."""

ROUND = 360 * UNIT
Point = tuple[int, int]


def paths(topology: dict[str, Any]) -> dict[str, str]:
    """Returns the land as one filled path and the borders of countries as another, x to the east, y to the south."""
    (kx, ky), (x0, y0) = topology["transform"]["scale"], topology["transform"]["translate"]

    def decoded(arc: list[list[int]]) -> list[Point]:
        steps = accumulate(arc, lambda at, step: [at[0] + step[0], at[1] + step[1]])
        return [(round((x * kx + x0) * UNIT), round(-(y * ky + y0) * UNIT)) for x, y in steps]

    arcs = [decoded(arc) for arc in topology["arcs"]]

    def ring(numbers: Iterable[int]) -> list[Point]:
        return _unrolled([point for n in numbers for point in (arcs[n] if n >= 0 else arcs[~n][::-1])])

    land = "".join(
        _path(points) + "z" for numbers in _rings(topology["objects"]["land"]) for points in _seen(ring(numbers))
    )
    uses = Counter(max(n, ~n) for numbers in _rings(topology["objects"]["countries"]) for n in numbers)
    return {"land": land, "borders": "".join(_path(arcs[n]) for n, times in uses.items() if times > 1)}


def _unrolled(points: list[Point]) -> list[Point]:
    """Returns a ring that goes on to the east of 180 degrees instead of jumping to the west; one around the pole is
    closed along the pole."""
    turns, ring = 0, points[:1]
    for (before, _), (x, y) in pairwise(points):
        turns += (x < before - ROUND // 2) - (x > before + ROUND // 2)
        ring.append((x + turns * ROUND, y))
    (first, _), (last, _) = ring[0], ring[-1]
    return ring if first == last else [*ring, (last, ROUND // 4), (first, ROUND // 4)]


def _seen(ring: list[Point]) -> list[list[Point]]:
    """Returns a ring as often as a part of it lies between 180 degrees west and east."""
    west, east = min(x for x, _ in ring), max(x for x, _ in ring)
    shifts = [n * ROUND for n in (-1, 0, 1) if west + n * ROUND < ROUND // 2 and east + n * ROUND > -ROUND // 2]
    return [[(x + shift, y) for x, y in ring] for shift in shifts]


def _rings(shape: dict[str, Any]) -> list[list[int]]:
    """Returns the rings of a shape, each as the numbers of its arcs."""
    if shape["type"] == "GeometryCollection":
        return [ring for part in shape["geometries"] for ring in _rings(part)]
    polygons = shape["arcs"] if shape["type"] == "MultiPolygon" else [shape["arcs"]]
    return [ring for polygon in polygons for ring in polygon]


def _path(points: list[Point]) -> str:
    """Returns points as a path of relative steps; one that does not leave its unit is left out."""
    (x, y), steps = points[0], []
    for to_x, to_y in points[1:]:
        if (to_x, to_y) != (x, y):
            steps.append(f"{to_x - x} {to_y - y}".replace(" -", "-"))
            x, y = to_x, to_y
    return f"M{points[0][0]} {points[0][1]}l{' '.join(steps)}" if steps else ""


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(paths(json.loads(Path(sys.argv[1]).read_text())), separators=(",", ":")))
