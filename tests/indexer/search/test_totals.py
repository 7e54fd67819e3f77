"""The total of an answer: the same on each of its pages, and the number of hits that they have together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.catalogue.rows import FoundFile
from indexer.search import searcher
from indexer.types import Answer, Filters, Fold, Part, Query
from tests.indexer.conftest import new_place
from tests.indexer.written_library import Shelf, drawing

WORDS = ("a drawing", "krill", "the blue whale", "contract of lease", "P00", "w3", '"blue whale"', "whale -krill", "")
FILTERS = st.builds(
    Filters,
    kinds=st.sampled_from([(), ("image",), ("pdf",), ("video",), ("image", "video")]),
    after=st.sampled_from([None, "2022-04-10"]),
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "milvus"])
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """A library on each engine: of the catalogue, of the vectors."""
    folder = tmp_path_factory.mktemp("totals")
    if request.param == "milvus":
        made = Shelf(folder, vectors=request.getfixturevalue("milvus").url("totals"))
    else:
        made = Shelf(folder, where=new_place(request, request.param, folder))
    fill(made)
    yield made
    made.close()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """The same library on the engines that need no server."""
    made = Shelf(tmp_path_factory.mktemp("embedded"))
    fill(made)
    yield made
    made.close()


def fill(made: Shelf) -> None:
    """Forty drawings, six documents of seven pages and three films: more than the candidates of one list below."""
    for seed in range(40):
        made.photo(f"P{seed:04}.png", drawing(seed), taken=f"2022-04-{1 + seed % 28:02}", taken_from="exif")
    for n in range(6):
        pages = [f"The blue whale eats krill, w{n} w{page}. Contract of page {page}." for page in range(7)]
        made.document(f"whales {n}.pdf", pages, taken="2022-04-20", taken_from="pdf")
    for n in range(3):
        made.film(f"film {n}.mp4", [np.stack([drawing(100 + 9 * n + w // 2)] * 2) for w in range(6)])


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bounds=st.sampled_from([(5, 10), (5, 1000), (200, 1000)]),
    text=st.sampled_from(WORDS),
    filters=FILTERS,
    fold=st.sampled_from([None, "max", "centroid"]),
    newest=st.booleans(),
    k=st.sampled_from([5, 20]),
)
def test_every_page_of_an_answer_says_the_total_that_its_pages_have(
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    bounds: tuple[int, int],
    text: str,
    filters: Filters,
    fold: Fold | None,
    newest: bool,
    k: int,
) -> None:
    monkeypatch.setattr(searcher, "DEPTH", bounds[0])
    monkeypatch.setattr(searcher, "MOST", bounds[1])
    query = Query((Part(text=text),) if text else (), filters, "date" if newest else "relevance", fold)
    pages = pages_of(shelf, query, k)
    pages.append(shelf.searcher.search(query, k, 9000))
    assert len({(page.total, page.matches, page.at_least, str(page.facets)) for page in pages}) == 1
    hits = [hit for page in pages for hit in page.hits]
    assert [hit.rank for hit in hits] == list(range(1, pages[0].total + 1))
    assert len({hit.chunk_id for hit in hits}) == len(hits)
    above = [hit.relevant for hit in hits]
    assert above == sorted(above, reverse=True) and sum(above) == pages[0].matches


def pages_of(shelf: Shelf, query: Query, k: int) -> list[Answer]:
    """All pages of an answer, the last one empty."""
    pages: list[Answer] = [shelf.searcher.search(query, k)]
    while pages[-1].hits:
        pages.append(shelf.searcher.search(query, k, k * len(pages)))
    return pages


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [(5, 10), (200, 1000)])
def test_every_engine_says_what_the_embedded_ones_say_on_each_page(
    shelf: Shelf, embedded: Shelf, monkeypatch: pytest.MonkeyPatch, bounds: tuple[int, int]
) -> None:
    monkeypatch.setattr(searcher, "DEPTH", bounds[0])
    monkeypatch.setattr(searcher, "MOST", bounds[1])
    filters = Filters(kinds=("image", "pdf")), Filters(after="2022-04-10"), Filters()
    for text, one in product(WORDS, filters):
        query = Query((Part(text=text),) if text else (), one)
        here, there = (
            [(page.total, page.matches, page.at_least, len(page.hits)) for page in pages_of(on, query, 7)]
            for on in (embedded, shelf)
        )
        assert here == there, (text, one)


@pytest.mark.slow
def test_all_that_is_relevant_is_in_the_answer_or_the_total_says_at_least(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query((Part(text="the blue whale eats krill"),), Filters(kinds=("pdf",)))
    whole = shelf.searcher.search(query, 50)
    assert whole.total == 42 and not whole.at_least and all(hit.relevant for hit in whole.hits)
    monkeypatch.setattr(searcher, "DEPTH", 4)
    deepened = shelf.searcher.search(query, 4)
    assert (deepened.total, deepened.at_least, deepened.facets) == (42, False, whole.facets)
    monkeypatch.setattr(searcher, "MOST", 8)
    bounded = shelf.searcher.search(query, 4)
    assert 8 <= bounded.total < 42 and bounded.at_least


def test_what_is_not_read_yet_is_said_by_kind_and_nothing_matches_is_not(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.document("papers/bread.pdf", ["Knead the dough."])
    paths = {"films/a.mp4": "video", "films/b.mp4": "video", "papers/c.pdf": "pdf"}
    found = [FoundFile(f"{shelf.folder}/{name}", kind, (1000, 1, 0)) for name, kind in paths.items()]
    shelf.catalogue.files.note(shelf.root, found)
    (first, *_) = shelf.catalogue.queue.unhashed(10)
    shelf.catalogue.queue.hashed([(first, first.stamp, b"x" * 32)])  # its content is known and not read
    nothing = shelf.ask("type:video")
    assert nothing.unread == {"video": 2}
    assert nothing.notice == "Nothing that has been read matches; 2 videos are still to be read."
    assert shelf.ask("in:papers -dough").notice == "Nothing that has been read matches; 1 PDF is still to be read."
    assert shelf.ask("dough").unread == {"video": 2, "pdf": 1} and shelf.ask("dough").notice is None
    assert shelf.ask("type:image").notice is None
    assert shelf.ask("dough", within=(shelf.folder / "films",)).unread == {"video": 2}
    shelf.close()
