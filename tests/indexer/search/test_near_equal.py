"""Which images are near-equal: one picture twice, and shots of one burst."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from indexer.search.near_equal import BURST_S, candidate_pairs, first_of_each, is_near, seconds


@dataclass(frozen=True)
class Shot:
    picture_hash: bytes | None
    own_time: str | None = None
    width: int | None = 400
    height: int | None = 300


OWN = random.Random(1).randbytes(48)
AT = "2024-05-01T10:00:0"


def with_bits(waves: int, steps: int = 0, colour: int = 0) -> bytes:
    """OWN with some bits of each part changed."""
    head = int.from_bytes(OWN[:8]) ^ ((1 << waves) - 1)
    middle = int.from_bytes(OWN[8:40]) ^ ((1 << steps) - 1)
    tail = bytes(value + colour if value < 128 else value - colour for value in OWN[40:])
    return head.to_bytes(8) + middle.to_bytes(32) + tail


def test_a_picture_is_near_itself_within_the_bounds_and_no_further() -> None:
    own = Shot(OWN)
    assert is_near(own, Shot(with_bits(6, 48, 12)))
    for bits in ((7,), (6, 49), (6, 48, 13)):
        assert not is_near(own, Shot(with_bits(*bits)))
    assert not is_near(own, Shot(OWN, width=300, height=400)), "turned"
    assert not is_near(own, Shot(b"")) and not is_near(Shot(None), Shot(None)), "too flat, and not read yet"


def test_shots_of_one_burst_may_differ_more() -> None:
    moved = with_bits(16, 100)
    assert is_near(Shot(OWN, AT + "1"), Shot(moved, AT + "4"))
    assert not is_near(Shot(OWN, AT + "1"), Shot(moved, AT + "4.5"))
    assert not is_near(Shot(OWN, "2024-05-01"), Shot(moved, "2024-05-01")), "a day is no time"
    assert not is_near(Shot(OWN, AT + "1"), Shot(moved))


def test_each_picture_stands_under_the_first_that_it_is_near_to() -> None:
    rest = [Shot(random.Random(n).randbytes(48)) for n in range(2, 5)]
    pictures = [rest[0], Shot(OWN), rest[1], Shot(with_bits(4)), Shot(b""), Shot(with_bits(2)), rest[2]]
    assert first_of_each(enumerate(pictures)) == {3: 1, 5: 1}


@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, 3), st.integers(0, 9)), max_size=12))
def test_no_near_pair_is_missed(shots: list[tuple[int, int, int]]) -> None:
    pictures = [Shot(with_bits(waves, steps), AT + str(second)) for waves, steps, second in shots]
    pairs = candidate_pairs([one.picture_hash or b"" for one in pictures], [seconds(one.own_time) for one in pictures])
    waves = [(one.picture_hash or b"")[:8] for one in pictures]
    for a, b in combinations(range(len(pictures)), 2):
        first = waves.index(waves[a]), waves.index(waves[b])  # equal waves are compared through the first of them
        if is_near(pictures[a], pictures[b]):
            assert (a, b) in pairs or (min(first), max(first)) in pairs or first[0] == first[1]


def test_the_bounds_of_a_burst_are_inclusive() -> None:
    hashes = [OWN, with_bits(16)]
    assert candidate_pairs(hashes, [0.0, BURST_S]) == {(0, 1)} and candidate_pairs(hashes, [0.0, BURST_S + 1]) == set()


def test_the_first_of_a_set_is_compared_with_all_of_a_set_of_nearly_its_waves() -> None:
    pairs = candidate_pairs([OWN, with_bits(2), with_bits(2, 3)], [None] * 3)
    assert {(0, 1), (0, 2), (1, 2)} == pairs
