"""Clusters on the map: every place is in one, and the filter of each finds all of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.search.filters import KM_PER_DEGREE
from indexer.search.places import CELLS, clusters
from indexer.search.query_syntax import parse_query
from indexer.types import Part, Query

POINTS = st.lists(st.tuples(st.floats(-85, 85), st.floats(-180, 180)), min_size=1, max_size=60)


def near(value: str) -> tuple[float, float, float]:
    (place,) = parse_query(Query((Part(text=f'near:"{value}"'),))).filters.near
    return place


@given(POINTS)
def test_every_place_is_in_one_cluster_and_its_filter_finds_as_many(places: list[tuple[float, float]]) -> None:
    points = np.array(places)
    found = clusters(points)
    assert sum(cluster.count for cluster in found) == len(points)
    assert [cluster.count for cluster in found] == sorted((cluster.count for cluster in found), reverse=True)
    for cluster in found:
        lat, lon, km = near(cluster.near)
        east = (180 - np.abs(np.abs(points[:, 1] - lon) - 180)) * np.cos(np.radians(lat))
        inside = np.hypot(points[:, 0] - lat, east) * KM_PER_DEGREE <= km
        assert inside.sum() >= cluster.count


@pytest.mark.parametrize("scale", [10.0, 20.0])
def test_many_places_become_few_clusters(scale: float) -> None:
    points = np.random.default_rng(1).uniform(-scale, scale, (2000, 2)) + np.array((48.0, 11.0))
    found = clusters(points)
    assert CELLS < len(found) <= CELLS * CELLS / 2
    (one,) = clusters(np.repeat([[38.72, -9.14]], 5, axis=0))
    assert (one.town, one.near, one.count) == ("Lisbon, Portugal", "Lisbon, Portugal", 5)
    assert clusters(np.empty((0, 2))) == ()


def test_places_that_the_map_cannot_part_are_one_cluster() -> None:
    walk = np.linspace([59.90, 10.70], [59.95, 10.80], 9)
    (oslo,) = clusters(walk)
    assert (oslo.count, oslo.town) == (9, "Oslo, Norway")
