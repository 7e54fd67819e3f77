"""Names and positions without a network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.gazetteer import TABLE, distance_km, locate, nearest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("position", "name"),
    [
        ((38.7139, -9.1394), "Lisbon, Portugal"),
        ((48.8584, 2.2945), "Paris, France"),
        ((37.8199, -122.4783), "San Francisco, United States"),
        ((-33.8568, 151.2153), "Sydney, Australia"),
        ((0.0, -30.0), None),
        ((-80.0, 10.0), None),
    ],
)
def test_a_position_has_the_name_of_its_town(position: tuple[float, float], name: str | None) -> None:
    assert nearest(*position) == name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("Lisbon", (38.72, -9.15)),
        ("lisboa", (38.72, -9.15)),
        ("  MÜNCHEN ", (48.14, 11.57)),
        ("Munchen", (48.14, 11.57)),
        ("東京", (35.69, 139.69)),
        ("Москва", (55.75, 37.62)),
        ("São Paulo", (-23.55, -46.64)),
        ("new york", (40.71, -74.01)),
        ("Paris", (48.85, 2.35)),
        ("Paris, United States", (33.66, -95.56)),
        ("Paris, us", (33.66, -95.56)),
    ],
)
def test_a_town_is_found_by_the_names_people_use(name: str, position: tuple[float, float]) -> None:
    assert locate(name) == pytest.approx(position, abs=0.1)


@pytest.mark.parametrize("name", ["", "Xanaduville", "Paris, Mars", ",", "🦄"])
def test_an_unknown_name_is_none(name: str) -> None:
    assert locate(name) is None


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180))
def test_distance_is_symmetric_and_within_half_the_globe(a: float, b: float, c: float, d: float) -> None:
    there = distance_km(a, b, np.array([c]), np.array([d]))[0]
    back = distance_km(c, d, np.array([a]), np.array([b]))[0]
    assert there == pytest.approx(back, abs=1e-3) and 0 <= there <= 20_016


def test_the_distance_of_two_cities() -> None:
    (found,) = distance_km(52.52, 13.405, np.array([48.8566]), np.array([2.3522]))
    assert found == pytest.approx(878, rel=0.01)


def test_the_table_is_small() -> None:
    assert TABLE.stat().st_size < 1_000_000
