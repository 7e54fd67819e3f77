"""What is measured with one model travels with it, and with no other."""

from __future__ import annotations

from model.lite.embedder import LiteEmbedder
from model.lite.profile import PROFILE
from model.lite.projection import StudentEmbedder


def test_lite_brings_its_own_and_a_student_trained_on_lite_does_not() -> None:
    assert LiteEmbedder.profile is PROFILE
    assert not hasattr(StudentEmbedder, "profile")
