"""What a request asks: its fields as a query, and where its files go."""

from __future__ import annotations

import pytest

from app.web.requests import BadRequest, build_query, moment, safe_name
from indexer.search.query_syntax import beginning


def test_dates_are_days_or_seconds() -> None:
    assert moment("1700000000", "after") == "2023-11-14T22:13:20"
    assert moment("2024-06-01T12:00:00Z", "after") == moment("2024-06-01T12:00:00+09:00", "after")
    assert moment("", "after") is None


def test_dates_are_read_as_in_a_query() -> None:
    for text, whole in (("2024", "2024"), ("2024-6", "2024-06"), ("2024-6-1", "2024-06-01")):
        assert moment(text, "after") == moment(whole, "after") == beginning(text)


def test_a_query_is_made_of_all_its_parts() -> None:
    query = build_query({"q": ["dog"], "avoid": ["cat", "rain"], "like": ["7"], "unlike": ["8"], "kind": ["pdf,image"]})
    assert [(p.text, p.chunk_id, p.weight) for p in query.parts] == [
        ("dog", None, 1.0),
        ("cat", None, -1.0),
        ("rain", None, -1.0),
        (None, 7, 1.0),
        (None, 8, -1.0),
    ]
    assert query.filters.kinds == ("image", "pdf")


def test_a_visitor_names_a_reranker_and_no_folder() -> None:
    assert build_query({"q": ["dog"], "rerank": ["colpali"]}).rerank == "colpali"
    assert build_query({"q": ["dog"], "rerank": [""]}).rerank is None
    with pytest.raises(BadRequest, match="rerank is one of colpali, colqwen2"):
        build_query({"q": ["dog"], "rerank": ["/home/me/model"]})


@pytest.mark.parametrize(
    "given, kept",
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\dog.jpg", "dog.jpg"),
        ("a\0b\n.png", "ab.png"),
        ("", "file"),
        (".png", "png"),
        ("x" * 500 + ".jpeg", "x" * 80 + ".jpeg"),
    ],
)
def test_an_upload_s_name_leads_nowhere(given: str, kept: str) -> None:
    assert safe_name(given) == kept
