"""What is taken for a distractor cannot answer a question by its words."""

from pathlib import PurePosixPath

import numpy as np

from tests.quality.distractors import Answers, Distractor, padded

ASKED = ("a ginger cat", "selling Debian CDs commercially", "two red apples")


def test_a_name_with_the_thing_that_is_asked_for_is_no_distractor() -> None:
    answers = Answers(ASKED)
    assert answers.named(PurePosixPath("actions/cat_01.png"))
    assert answers.named(PurePosixPath("actions/redApple.png"))
    assert answers.named(PurePosixPath("apples/icon.png"))
    assert Answers(["an oil painting"]).named(PurePosixPath("paintings/icon.png"))
    assert not answers.named(PurePosixPath("actions/red_arrow.png"))  # a colour decides nothing


def test_what_shows_an_answer_under_another_name_is_no_distractor_nor_is_what_was_made_of_it() -> None:
    answers = Answers(ASKED)
    assert answers.held_by(Distractor("image", "gimp-help-en/tutorials/quickie-crop-step1.png"))
    of = ("a/b.png", "oxygen-icon-theme/apps/ktip.png")
    assert answers.held_by(Distractor("image", "dcim/IMG_1.jpg", made_of=of))
    assert not answers.held_by(Distractor("image", "gimp-help-en/dialogs/layers.png"))


def test_a_page_with_all_words_of_a_question_is_no_distractor() -> None:
    answers = Answers(ASKED)
    assert answers.written("Debian sells CDs; commercial vendors are selling them commercially.")
    assert not answers.written("The Debian archive.")


def test_what_is_mixed_in_fills_up_to_the_number_and_keeps_to_its_kind() -> None:
    facts = [Distractor("image", "a/1.png"), Distractor("image", "a/2.png"), Distractor("pdf", "b.pdf", 0, 1, "x y")]
    vectors = np.eye(3, 8, dtype=np.float32)
    more, rows = padded(facts, vectors, 50)
    assert len(more) == len(rows) == 50
    assert more[:3] == facts
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for fact, row in zip(more[3:], rows[3:], strict=True):
        page = row[2] > 0.5
        assert (fact.kind == "pdf") == page
    assert len({fact.path for fact in more}) == 50
