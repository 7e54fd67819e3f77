"""A spreadsheet calculates no cell of ours."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from data.span import Span
from indexer.features.csv_rows import as_text, row_of
from indexer.features.edit_list import ReelClip, write_csv
from indexer.features.export import answer_csv
from indexer.types import MARK, UNMARK, Answer, Hit, Query


@pytest.mark.parametrize("first", "=+-@\t\r\n")
def test_a_text_that_begins_like_a_formula_stays_a_text(first: str) -> None:
    assert as_text(f"{first}1+1.jpg") == f"'{first}1+1.jpg"


def test_numbers_and_other_texts_are_as_they_were() -> None:
    row = {"title": "a=1.jpg", "score": -1.5, "page": None}
    assert row_of(row) == row


def test_an_edit_list_and_an_answer_are_written_so(tmp_path: Path) -> None:
    clips = [ReelClip("=cmd|x.mp4", Span(start_s=1.0, end_s=2.0), 0.0, 0.5)]
    write_csv(clips, tmp_path / "reel.csv")
    with (tmp_path / "reel.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["path"] == "'=cmd|x.mp4"
    hit = Hit(
        1, 0.5, True, "image", "/photos/=1+1.jpg", (), 1, 1, Span(), None, None, None, None, None, None,
        title="=1+1.jpg", snippet=f"{MARK}+{UNMARK}1",
    )  # fmt: skip
    answer = Answer(Query(()), "lite", 0.0, 1, (hit,))
    (row,) = csv.DictReader(answer_csv(answer).splitlines())
    assert (row["title"], row["snippet"]) == ("'=1+1.jpg", "'+1")
