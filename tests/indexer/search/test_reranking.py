"""Re-ranking of pages by a tiny random ColPali over a real, indexed library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import LibraryError
from indexer.library import Library
from indexer.search import reranking
from indexer.types import Hit, Part, Query
from model.late_interaction import load_late_interaction, max_sim
from tests import media

sys.path.append(str(Path(__file__).parents[2] / "model"))

TEXT = "how the stove is heated"
PAGES = [f"Chapter {n}. The stove of cabin {n} is heated with dry birch {'and ' * n} wood." for n in range(1, 8)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    import tiny_models

    return tiny_models.colpali(tmp_path_factory.mktemp("tiny") / "colpali")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("files")
    media.draw_pdf(folder / "handbook.pdf", PAGES)
    media.draw_pdf(folder / "other.pdf", ["Water pipes freeze in winter.", "The stove again."])
    media.draw_image(folder / "stove.jpg")
    with Library.open(tmp_path_factory.mktemp("library"), ocr="off", nice=False) as library:
        assert library.index([folder]).failed == 0
        yield library


def hits(library: Library, query: Query) -> list[Hit]:
    return list(library.search(query, k=50).hits)


def page_of(hit: Hit) -> tuple[str, int | None]:
    return hit.title, hit.span.page


@pytest.mark.slow
def test_pages_are_dealt_anew_over_their_places_and_all_else_stays(library: Library, checkpoint: Path) -> None:
    query = Query((Part(TEXT),))
    before, after = hits(library, query), hits(library, replace(query, rerank=str(checkpoint)))
    assert [h.kind for h in after] == [h.kind for h in before] and {"pdf", "image"} <= {h.kind for h in before}
    assert [h.score for h in after] == [h.score for h in before]
    assert [h.relevant for h in after] == [h.relevant for h in before]
    assert [h for h in after if h.kind != "pdf"] == [h for h in before if h.kind != "pdf"]

    model = load_late_interaction(str(checkpoint))
    pages = [h for h in before if h.kind == "pdf"]
    from data import reader

    images = [
        reader.decode(Path(h.path), "pdf", [reader.ChunkSpec(0, h.span)], max_side=reranking.SIDE)[0].frames[0]
        for h in pages
    ]
    scores = max_sim(model.embed_queries([TEXT])[0], [model.embed_pages([image])[0] for image in images])
    expected = [page_of(pages[n]) for n in np.argsort(-scores, kind="stable")]
    assert [page_of(h) for h in after if h.kind == "pdf"] == expected
    assert expected != [page_of(h) for h in pages]


@pytest.mark.slow
def test_only_the_first_pages_are_compared_and_each_is_embedded_once(
    library: Library, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reranking, "PAGES", 3)
    query = Query((Part(TEXT),))
    before = [page_of(h) for h in hits(library, query) if h.kind == "pdf"]
    reranker = reranking.Reranker(library.sandbox)
    ranking = library.searcher().rank(query)
    after = reranker.order(str(checkpoint), TEXT, ranking)
    pages = [(p.fact.files[0].name, p.span.page) for p in after if p.fact.kind == "pdf"]
    assert sorted(pages[:3]) == sorted(before[:3]) and pages[3:] == before[3:]

    model = reranker._models[str(checkpoint)]
    monkeypatch.setattr(model, "embed_pages", lambda images: pytest.fail("a page was embedded twice"))
    assert reranker.order(str(checkpoint), TEXT, ranking) == after


@pytest.mark.slow
def test_a_page_whose_file_left_its_place_follows_the_others(checkpoint: Path, tmp_path: Path) -> None:
    media.draw_pdf(tmp_path / "files" / "a.pdf", ["The stove is heated with birch."])
    media.draw_pdf(tmp_path / "files" / "b.pdf", ["A stove is heated with coal."])
    with Library.open(tmp_path / "library", ocr="off", nice=False) as library:
        library.index([tmp_path / "files"])
        query = Query((Part(TEXT),), rerank=str(checkpoint))
        first = hits(library, query)[0]
        Path(first.path).rename(tmp_path / "moved.pdf")
        library.searcher()._reranker._pages.clear()
        assert [h.title for h in hits(library, query)][-1] == first.title


def test_without_the_model_one_sentence_says_what_to_fetch(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(LibraryError, match="colpali is not on this machine: fetch it with `hf download vidore/colpali"):
        library.search(Query((Part(TEXT),), rerank="colpali"))
