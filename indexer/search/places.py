"""Where the hits of a query were taken, as clusters for a map.

Built around positions in degrees, one a content, and a grid over the part of the earth that they take up: the fuller a
square, the sooner its neighbours join it. It knows nothing of maps and of how hits are found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.gazetteer import locate, nearest
from indexer.catalogue.dialects import Reading
from indexer.search.browse import CHUNKS
from indexer.search.filters import KM_PER_DEGREE, Restriction
from indexer.search.query_syntax import NEAR_KM
from indexer.types import Cluster, Places

CELLS = 14
"""Squares of the grid along its longer side."""
FINEST = 1.0
"""The smallest square in degrees: the outlines of the map are coarse, and it never shows less than 14 degrees
(`app/static/map.js`), where nearer clusters would lie upon each other."""
BATCH = 500


def positions(connection: Reading, allowed: Restriction, contents: Sequence[bytes] | None) -> np.ndarray:
    """Returns latitude and longitude of the contents that pass and say where they were taken, float64 [n, 2].
    `contents`: these alone; None for all."""
    condition, values = allowed.chunk
    condition = (
        f"f.lat IS NOT NULL AND f.lon IS NOT NULL AND {allowed.file[0]} AND c.orphaned_at IS NULL AND {condition}"
    )
    values = [*allowed.file[1], *values]
    starts = range(0, 1 if contents is None else len(contents), BATCH)
    rows: list[tuple[float, float]] = []
    for batch in ((contents or ())[at : at + BATCH] for at in starts):
        these = f"c.hash IN ({', '.join('?' * len(batch))}) AND " if batch else ""
        rows += connection.execute(
            "SELECT p.lat, p.lon FROM file p WHERE p.id IN (SELECT min(f.id) FROM"
            f" {CHUNKS} JOIN file f ON f.content_hash = c.hash WHERE {these}{condition} GROUP BY c.hash)",
            [*batch, *values],
        ).fetchall()
    return np.array(rows, np.float64).reshape(-1, 2)


def clusters(points: np.ndarray) -> tuple[Cluster, ...]:
    """Returns positions [n, 2] as clusters, the fullest first."""
    if not len(points):
        return ()
    shrink = np.array(
        [1.0, max(0.2, float(np.cos(np.radians(points[:, 0].mean()))))]
    )  # a degree of longitude is shorter
    flat = (points - points.min(0)) * shrink
    side = max(float(flat.max()) / CELLS, FINEST)
    squares, of_point = np.unique(np.floor(flat / side), axis=0, return_inverse=True)
    of_point = of_point.reshape(-1)
    counts = np.bincount(of_point)
    middles = np.stack([np.bincount(of_point, flat[:, axis]) / counts for axis in (0, 1)], 1)
    cluster_of = np.full(len(squares), -1)
    for square in np.argsort(-counts, kind="stable"):
        if cluster_of[square] < 0:
            close = np.hypot(*(middles - middles[square]).T) <= side
            cluster_of[close & (cluster_of < 0)] = square
    members = cluster_of[of_point]
    found = [_cluster(points[members == square], points[of_point == square].mean(0)) for square in np.unique(members)]
    return tuple(sorted(found, key=lambda cluster: -cluster.count))


def _cluster(points: np.ndarray, densest: np.ndarray) -> Cluster:
    """`densest`: the middle of the fullest square; the town there names the cluster."""
    lat, lon = (round(float(degrees), 4) for degrees in points.mean(0))
    name = nearest(*densest.tolist())
    town = locate(name) if name is not None else None
    if name and town and _radius_km(*town, points) < NEAR_KM:
        near = name
    else:
        near = f"{lat:.4f},{lon:.4f}/{int(_radius_km(lat, lon, points)) + 1}"
    return Cluster(lat, lon, len(points), name, near)


def _radius_km(lat: float, lon: float, points: np.ndarray) -> float:
    """Returns the distance of the farthest of the points, as the filter `near:` measures it."""
    east = (180 - np.abs(np.abs(points[:, 1] - lon) - 180)) * np.cos(np.radians(lat))
    return float(np.hypot(points[:, 0] - lat, east).max()) * KM_PER_DEGREE


def places_of(points: np.ndarray, total: int) -> Places:
    """Returns the places of an answer with `total` contents, of which `points` [n, 2] say where they were taken."""
    return Places(clusters(points), len(points), total)
