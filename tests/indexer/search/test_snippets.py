"""The words of a query are marked in whole texts, as the search finds them."""

from __future__ import annotations

import re

import pytest

from indexer.search.snippets import marked


@pytest.mark.parametrize(
    "query, text, marks",
    [
        ("boat", "Boats, a boat; boating in the boathouse.", ["Boats", "boat", "boating"]),
        ("cities", "One city, two cities, and a citizen.", ["city", "cities"]),
        ("baking", "She bakes what he baked; they bake.", ["bakes", "baked", "bake"]),
        ("running glass", "To run, he runs: glasses.", ["run", "runs", "glasses"]),
        ("cafe", "Das CAFÉ am Meer.", ["CAFÉ"]),
        ('"the old" house -boat in:Films', "The old house, a boat, films.", ["old", "house"]),
        ("to be or not", "To be, or not to be.", ["not"]),
        ("the", "The end.", ["The"]),
        ("海辺", "きのう海辺で海を見た。", ["海辺"]),
        ("", "Nothing.", []),
        ("...", "Nothing...", []),
    ],
)  # fmt: skip
def test_words_are_marked_in_all_their_forms(query: str, text: str, marks: list[str]) -> None:
    untouched, result = marked(["…", text], query)
    assert re.findall("\ue000(.*?)\ue001", result) == marks
    assert re.sub("[\ue000\ue001]", "", result) == text and untouched == "…"
