"""What a person types is taken apart in one place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.gazetteer import distance_km, locate
from indexer.errors import QueryError
from indexer.search.query_syntax import parse, period, seconds, size
from indexer.types import Filters


def test_everything_at_once() -> None:
    typed = parse('dog "in the snow" -cat -"red car" taken:2023-07 camera:pixel type:pdf in:Invoices')
    assert typed.meaning == "dog in the snow"
    assert (typed.words, typed.phrases, typed.excluded) == (("dog",), ("in the snow",), ("cat", "red car"))
    assert typed.filters == Filters(
        kinds=("pdf",), folders=("Invoices",), cameras=("pixel",), after="2023-07", before="2023-08"
    )


@pytest.mark.parametrize(
    "text", ["well-known e-mail", "http://example.org/a:b", "16:9 ratio", "note: buy milk", "C++ & C#", "a - b"]
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    typed = parse(text)
    assert typed.meaning == text and typed.filters == Filters() and not typed.excluded


@given(st.text(max_size=60))
def test_any_text_at_all_is_taken_apart(text: str) -> None:
    try:
        typed = parse(text)
    except QueryError:
        return
    assert all(w.strip() for w in (*typed.words, *typed.phrases, *typed.excluded))


@pytest.mark.slow
def test_a_place_is_found_by_its_names_near_and_far() -> None:
    (lisbon,) = parse("near:Lisbon").filters.near
    assert distance_km(lisbon[0], lisbon[1], np.array([38.71]), np.array([-9.14])) < 5
    assert parse("near:lisboa").filters.near == (lisbon,)
    (munich,) = parse('near:"München/80km"').filters.near
    assert munich[2] == 80 and abs(munich[0] - 48.14) < 0.05
    assert parse("near:48.1,-11.5").filters.near[0][:2] == (48.1, -11.5)
    (paris,) = parse('near:"Paris, US"').filters.near
    assert paris[:2] == locate("Paris, United States") != locate("Paris")


@pytest.mark.parametrize(
    "typed",
    [
        "near:Lisbon/1e300",
        "near:Lisbon/inf",
        "near:Lisbon/-5",
        "near:38.7,-9.1/nan",
        "near:91,0",
        "near:0,181",
        "larger:99999999999TB",
        f"smaller:{'9' * 400}",
        f"longer:{'9' * 400}h",
        f"longer:{'9' * 5000}:00",
        "shorter:99999999999",
    ],
)
def test_a_number_out_of_bounds_is_refused(typed: str) -> None:
    with pytest.raises(QueryError) as error:
        parse(typed)
    assert len(str(error.value)) < 200


def test_dates_are_periods() -> None:
    assert period("2023") == ("2023", "2024")
    assert period("2024-2") == ("2024-02", "2024-03") and period("2024-12") == ("2024-12", "2025-01")
    assert period("2023-12-31") == ("2023-12-31", "2024-01-01")
    assert period("2022-11..2023-02") == ("2022-11", "2023-03")
    assert period("..2020") == ("", "2021") and period("2020..") == ("2020", "")


def test_filters_that_are_typed_narrow_those_that_are_given() -> None:
    given_ = Filters(after="2023-03-01", before="2023-10")
    typed = parse("x taken:2023", given_)
    assert (typed.filters.after, typed.filters.before) == (given_.after, given_.before)


def test_lengths_and_sizes() -> None:
    assert [seconds(v) for v in ("90", "90s", "5m", "1h30m", "1:30", "1:00:05")] == [90, 90, 300, 5400, 90, 3605]
    assert [size(v) for v in ("500kB", "10MB", "2GB", "123", "1.5 mb")] == [
        500_000, 10_000_000, 2_000_000_000, 123, 1_500_000,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("taken:soon", "write 2023"),
        ("taken:2023-13", "write 2023"),
        ("near:Atlantisville", "near:38.72,-9.14"),
        ("near:Lisbon/far", "near:Lisbon/50"),
        ("longer:ages", "1h30m"),
        ("larger:big", "10MB"),
        ("type:photograph", "type:image"),
    ],
)
def test_what_cannot_be_understood_is_said_with_advice(text: str, advice: str) -> None:
    with pytest.raises(QueryError, match=advice.replace(".", r"\.")):
        parse(text)
