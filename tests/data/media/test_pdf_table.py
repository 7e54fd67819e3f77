"""The table of PDFs in docs/media.md: each row is a test, which runs with both engines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCS = HERE.parents[2] / "docs" / "media.md"
NOT_TESTED = 6
"""The last rows say what one engine does not do."""

ROWS = {
    "accents drawn apart, before, after, over and under the letter": "test_pdf_text accents_drawn_apart_are_on_their",
    "ligatures, wide and half-width forms, radicals": "test_pdf_text forms_of_letters_are_letters",
    "words divided at a line's end, two boxes each": "test_pdf_text a_divided_word_is_found_and_has_two_boxes",
    "headings that are spaced out": "test_pdf_text a_heading_that_is_spaced_out_is_words",
    "pages turned by `/Rotate`": "test_pdf_text a_turned_page_is_read_upright",
    "text layers that are no text, left to OCR": "test_legible a_page_whose_font_lies_is_a_page_without_text",
    "form fields: text, choices, ticked boxes": "test_pdf_notes chosen_and_ticked_fields_are_read",
    "XFA: what was filled in": "test_pdf_notes the_data_of_an_xfa_form_is_read",
    "sticky notes, free text, comments on marked text": "test_pdf_notes notes_are_read_and_marked",
    "bookmarks, as text of the page that they lead to": "test_pdf_notes bookmarks_are_text_of_the_page",
    "files inside, of the document and of a page: names and words": "test_pdf_notes files_inside_are_listed",
    "PDFs inside, as documents of their own": "test_pdf_inside pages_of_pdfs_inside_follow_those_of_the_pdf",
    "layers that are off, left out of text and picture": "test_pdf_notes layers_that_are_off_are_left_out",
}


def table() -> list[list[str]]:
    section = DOCS.read_text(encoding="utf-8").split("## PDFs, thing by thing", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in section.splitlines()]
    return [row for row in rows if len(row) == 3 and not re.fullmatch("-+", row[0])][1:]


def test_the_table_has_every_row() -> None:
    rows = table()
    assert [row[0] for row in rows[:-NOT_TESTED]] == list(ROWS)
    assert all(row[1:] == ["yes", "yes"] for row in rows[:-NOT_TESTED])
    assert all("yes" in row[1:] and row[1] != row[2] for row in rows[-NOT_TESTED:])


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_a_test_with_both_engines(row: str) -> None:
    file, name = ROWS[row].split()
    text = (HERE / f"{file}.py").read_text(encoding="utf-8")
    assert re.search(rf"^def test_{name}\w*\(", text, re.MULTILINE)
    assert '@pytest.fixture(params=["pymupdf", "pypdfium2"]' in text
