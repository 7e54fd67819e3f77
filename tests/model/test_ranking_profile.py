"""What is measured with one model travels with it, and with no other."""

from __future__ import annotations

from model.lite.embedder import LiteEmbedder
from model.lite.profile import PROFILE
from model.lite.projection import StudentEmbedder
from model.ranking_profile import LINE, untuned


def test_lite_brings_its_own_and_a_student_trained_on_lite_does_not() -> None:
    assert LiteEmbedder.profile is PROFILE
    assert not hasattr(StudentEmbedder, "profile")


def test_the_line_of_an_untuned_model_rises_with_the_library() -> None:
    lines = [untuned(size).sure for size in (0, 1, 100, 10_000, 1_000_000)]
    assert lines == sorted(lines) and lines[0] == lines[1] == LINE
    assert 3.2 < lines[2] < 3.4 and 4.4 < lines[3] < 4.5 and 5.2 < lines[4] < 5.4
