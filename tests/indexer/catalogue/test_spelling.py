"""What counts as a slip of the fingers, and what as another word."""

import pytest

from indexer.catalogue.text.spelling import edits


@pytest.mark.parametrize(
    "typed, meant, slips",
    [
        ("recieve", "receive", 1),  # swapped
        ("adress", "address", 1),  # left out
        ("cammera", "camera", 1),  # put in
        ("invoive", "invoice", 1),  # the neighbouring key
        ("calender", "calendar", 1),  # sounds alike
        ("seperate", "separate", 1),
        ("mountian", "mountain", 1),
    ],
)
def test_slips_of_fingers_and_ears_are_one_edit(typed: str, meant: str, slips: int) -> None:
    assert edits(typed, meant, 2) == slips
    assert edits(meant, typed, 2) == slips


@pytest.mark.parametrize(
    "asked, there", [("tower", "power"), ("tower", "towel"), ("house", "mouse"), ("tiger", "timer")]
)
def test_another_word_is_no_slip(asked: str, there: str) -> None:
    """Words of five letters are forgiven one edit: these are farther than that."""
    assert edits(asked, there, 1) > 1


def test_a_long_word_may_have_two_slips() -> None:
    assert edits("accomodattion", "accommodation", 2) == 2
    assert edits("photograpy", "photography", 2) == 1
    assert edits("experiment", "expectant", 2) > 2
