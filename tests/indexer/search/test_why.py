"""How near a chunk is to a query among its kind."""

import numpy as np

from indexer.search.calibration import SAMPLE
from indexer.search.why import nearness
from indexer.types import Nearness


def circle(degrees: np.ndarray) -> np.ndarray:
    """Unit vectors in the plane, float32 [n, 2]."""
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1).astype(np.float32)


def test_of_a_few_the_place_is_told_of_many_the_share() -> None:
    query, few = circle(np.array([0.0])), circle(np.array([5.0, 20.0, 40.0, 80.0]))
    assert nearness(query, few[1], few) == Nearness(0.5, 2, 4)
    assert nearness(query, few[0], few) == Nearness(0.75, 1, 4)
    many = circle(np.linspace(10, 90, SAMPLE))
    assert nearness(query, circle(np.array([1.0]))[0], many) == Nearness(1.0, None, None)
    assert nearness(query, circle(np.array([50.0]))[0], many) == Nearness(0.5, None, None)


def test_of_several_queries_the_nearest_counts() -> None:
    queries, few = circle(np.array([0.0, 90.0])), circle(np.array([45.0, 88.0]))
    assert nearness(queries, few[1], few).rank == 1
