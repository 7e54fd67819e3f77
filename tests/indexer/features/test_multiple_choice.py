"""Questions that are answered by choosing."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import LibraryError
from indexer.features import multiple_choice
from indexer.search.searcher import Searcher


def test_an_answer_is_chosen_for_a_document(searcher: Searcher, folder: Path) -> None:
    choices = ["a whale", "a locomotive", "a bicycle"]
    ranked = multiple_choice.answer(searcher, "Which is the largest animal?", choices, folder / "whales.pdf")
    assert ranked[0].text == "a whale"
    assert [c.score for c in ranked] == sorted((c.score for c in ranked), reverse=True)
    with pytest.raises(LibraryError, match="two answers"):
        multiple_choice.answer(searcher, "What?", ["one"], folder / "whales.pdf")
