"""Queries against a small library with the real lite model: what comes first, what is called relevant."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.catalogue.copies import packed_people
from indexer.catalogue.schema import Where
from indexer.errors import LibraryError
from indexer.search import text_search
from indexer.types import Filters, Month, Part, Query
from model.lite.embedder import LiteEmbedder
from model.ranking_profile import untuned
from tests.indexer.conftest import new_place
from tests.indexer.written_library import Shelf, drawing, lite

PAGES = {
    "bread.pdf": "Knead the dough for ten minutes, let it rise, then bake the loaf in a hot oven.",
    "rome.pdf": "The Roman republic fell after the civil wars, and Augustus became the first emperor.",
    "router.pdf": "To connect to the wireless network, open the router settings and enter the password.",
    "cells.pdf": "Mitochondria are organelles that produce the energy of the cell in the form of ATP.",
    "whales.pdf": "The blue whale is the largest animal that ever lived; it feeds on krill in cold oceans.",
    "lease.pdf": "The tenant pays the rent on the first day of each month. Contract number LX-88213-B.",
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Six one-page documents, twelve drawings and a film; nothing in these tests changes it."""
    folder = tmp_path_factory.mktemp("library")
    made = Shelf(folder, where=new_place(request, request.param, folder))
    for name, text in PAGES.items():
        made.document(f"papers/{name}", [text], taken="2020-09-13T12:26:40", taken_from="pdf")
    for seed in range(12):
        made.photo(f"pictures/P{seed:04}.png", drawing(seed), taken=f"2022-04-{15 + seed}", taken_from="exif")
    still = [np.stack([drawing(100 + w // 2)] * 2) for w in range(6)]
    made.film("films/sequence.mp4", still, taken="2023-07-22T04:26:40+00:00", taken_from="clock")
    yield made
    made.close()


@pytest.fixture
def own(tmp_path: Path, where: Where) -> Iterator[Shelf]:
    """An empty library, to be filled."""
    made = Shelf(tmp_path, where=where)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "right"),
    [
        ("how to make bread at home", "bread.pdf"),
        ("wifi setup", "router.pdf"),
        ("history of the roman emperors", "rome.pdf"),
        ("marine mammals", "whales.pdf"),
    ],
)
def test_a_page_is_found_by_what_it_means(shelf: Shelf, asked: str, right: str) -> None:
    answer = shelf.ask(asked)
    assert answer.hits[0].title == right and answer.hits[0].relevant
    assert [h.rank for h in answer.hits] == list(range(1, len(answer.hits) + 1))


def test_a_number_in_a_document_is_at_rank_one_with_the_match_marked(shelf: Shelf) -> None:
    first = shelf.ask("LX-88213-B").hits[0]
    assert first.title == "lease.pdf" and first.relevant
    assert (
        "\ue000LX\ue001-\ue00088213\ue001-\ue000B\ue001" in first.snippet or "\ue000LX-88213-B\ue001" in first.snippet
    )


def test_a_file_name_is_found(shelf: Shelf) -> None:
    assert shelf.ask("P0007").hits[0].title == "P0007.png"
    assert shelf.ask("P0007").hits[0].relevant


@pytest.mark.slow
def test_a_dropped_picture_finds_itself(shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "asked.png"
    Image.fromarray(drawing(5)[:, ::-1]).resize((200, 200)).save(file)
    first = shelf.ask(parts=(Part(file=file),)).hits[0]
    assert first.title == "P0005.png" and first.kind == "image"


def test_a_chunk_of_the_library_asks_without_being_embedded_or_found(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(shelf.embedder), "embed", None)  # any call would raise
    photo = next(i for i in shelf.index.ids().tolist() if _title(shelf, i) == "P0003.png")
    answer = shelf.ask(parts=(Part(chunk_id=photo),))
    assert answer.hits and photo not in [h.chunk_id for h in answer.hits]


def _title(shelf: Shelf, chunk_id: int) -> str:
    info = shelf.catalogue.contents.chunk(chunk_id)
    return info.file.path.name if info else ""


def test_what_is_avoided_goes_down(shelf: Shelf) -> None:
    def scores(*parts: Part) -> dict[str, float]:
        hits = shelf.ask("wild creatures", parts=parts, kinds=("pdf",)).hits
        return {h.title: h.score for h in hits}

    plain = scores()
    avoided = scores(Part(text="whales in the ocean", weight=-1.0))
    assert plain["whales.pdf"] > avoided["whales.pdf"] + 1
    assert avoided["cells.pdf"] > avoided["whales.pdf"]


def test_only_what_to_avoid_is_no_question(shelf: Shelf) -> None:
    with pytest.raises(LibraryError, match="what to look for"):
        shelf.ask(parts=(Part(text="whales", weight=-1.0),))


def test_words_and_a_picture_are_one_query(shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "asked.png"
    Image.fromarray(drawing(2)).save(file)
    answer = shelf.ask("bake bread", parts=(Part(file=file, weight=0.5),), k=30)
    titles = [h.title for h in answer.hits]
    assert titles.index("bread.pdf") < titles.index("rome.pdf")
    assert titles.index("P0002.png") < titles.index("P0009.png")


def test_words_beside_a_picture_weigh_as_the_model_says(shelf: Shelf, tmp_path: Path) -> None:
    """Scores of words spread less than those of pictures: with equal weights the words would go unheard."""
    file = tmp_path / "asked.png"
    Image.fromarray(drawing(2)).save(file)
    (text,) = shelf.searcher.vectors(Query((Part(text="bread"),)))
    (picture,) = shelf.searcher.vectors(Query((Part(file=file),)))
    (both,) = shelf.searcher.vectors(Query((Part(text="bread"), Part(file=file))))
    expected = picture + LiteEmbedder.profile.words_beside_image * text
    assert np.allclose(both, expected / np.linalg.norm(expected), atol=1e-5)
    assert LiteEmbedder.profile.words_beside_image > 2


def test_filters_act_inside_both_searches(shelf: Shelf) -> None:
    assert {h.kind for h in shelf.ask("bread", kinds=("image",)).hits} == {"image"}
    assert shelf.titles("bread type:pdf")[0] == "bread.pdf"
    assert shelf.titles("bread in:pictures") == []
    assert {h.kind for h in shelf.ask("bread in:films").hits} == {"video"}
    assert {h.title for h in shelf.ask("anything", under=shelf.folder / "papers", k=50).hits} == set(PAGES)
    assert {h.title for h in shelf.ask("anything name:P000", k=50).hits} == {f"P{n:04}.png" for n in range(10)}
    assert shelf.ask("bread taken:2019").hits == ()
    assert shelf.ask("bread longer:1m", k=50).hits and all(
        h.kind == "video" for h in shelf.ask("bread longer:1m", k=50).hits
    )


def test_required_phrases_and_excluded_words_hold_for_every_hit(shelf: Shelf) -> None:
    assert [h.title for h in shelf.ask('"civil wars"', k=50).hits] == ["rome.pdf"]
    assert [h.title for h in shelf.ask('oven "civil wars"', k=50).hits] == ["rome.pdf"]
    assert "whales.pdf" not in [h.title for h in shelf.ask("animal energy -krill", k=50).hits]
    assert "P0004.png" not in [h.title for h in shelf.ask("drawing -P0004", k=50).hits]


def test_only_filters_list_what_passes_newest_first(shelf: Shelf) -> None:
    answer = shelf.ask("type:image", k=5)
    assert answer.total == 12
    assert [h.title for h in answer.hits] == [f"P{n:04}.png" for n in (11, 10, 9, 8, 7)]
    assert [h.title for h in shelf.ask("type:image", k=5, offset=10).hits] == ["P0001.png", "P0000.png"]


def test_pages_of_an_answer_join_without_gap_or_repetition(shelf: Shelf) -> None:
    whole = [h.chunk_id for h in shelf.ask("the history of animals", k=40).hits]
    parts = [h.chunk_id for n in range(0, 40, 7) for h in shelf.ask("the history of animals", k=7, offset=n).hits]
    assert parts[: len(whole)] == whole and len(set(whole)) == len(whole)


def test_facets_count_what_is_relevant(shelf: Shelf) -> None:
    facets = shelf.ask("type:image").facets
    assert facets["kind"] == {"image": 12} and facets["year"] == {"2022": 12}
    assert list(facets["folder"]) == [str(shelf.folder / "pictures")]


def test_sorting_by_date_keeps_the_line(shelf: Shelf) -> None:
    hits = shelf.ask("energy of animals", sort="date", k=50).hits
    above = [h for h in hits if h.relevant]
    assert hits[: len(above)] == tuple(above)
    dates = [h.taken or "" for h in above]
    assert all(dates) and dates == sorted(dates, reverse=True)


def test_a_file_that_cannot_be_read_is_named(shelf: Shelf, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    with pytest.raises(LibraryError, match=r"broken\.jpg cannot be searched with"):
        shelf.ask(parts=(Part(file=broken),))
    with pytest.raises(LibraryError, match="is not there"):
        shelf.ask(parts=(Part(file=tmp_path / "none.jpg"),))
    text = tmp_path / "a.txt"
    text.write_text("x")
    with pytest.raises(LibraryError, match="not an image, a video or a PDF"):
        shelf.ask(parts=(Part(file=text),))
    with pytest.raises(LibraryError, match="no chunk 999999"):
        shelf.ask(parts=(Part(chunk_id=999_999),))


@pytest.mark.slow
def test_a_search_that_fails_leaves_nothing_running_that_reads_the_library(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection may be closed at once: reading on from a closed one ends the whole program."""
    begun, ended = threading.Event(), threading.Event()

    def slow(*_: object) -> text_search.WordMatches:
        begun.set()
        time.sleep(0.5)
        ended.set()
        return text_search.NOTHING

    def fails(*_: object) -> np.ndarray:
        assert begun.wait(30)
        raise LibraryError("the model is away")

    searcher = shelf.searcher
    monkeypatch.setattr(text_search, "search_chunks", slow)
    monkeypatch.setattr(searcher._query_vectors, "of", fails)
    with pytest.raises(LibraryError, match="away"):
        searcher.search(Query((Part(text="invoice"),)))
    assert ended.is_set()


def test_an_empty_library_answers_with_nothing(own: Shelf) -> None:
    assert own.ask("anything").hits == ()
    assert own.ask("").total == 0


@pytest.mark.slow
def test_a_library_of_four_items_knows_its_answer_and_its_ignorance(own: Shelf) -> None:
    for name in ("bread.pdf", "rome.pdf", "router.pdf", "cells.pdf"):
        own.document(name, [PAGES[name]])
    assert own.titles("baking a loaf of bread") == ["bread.pdf"]
    assert own.titles("an emperor of Rome") == ["rome.pdf"]
    assert own.titles("football world cup final") == []
    assert own.ask("football world cup final").hits  # the nearest, below the line


@pytest.mark.slow
def test_a_copy_is_one_hit_that_names_both_places(own: Shelf) -> None:
    (chunk,) = own.document("a/bread.pdf", [PAGES["bread.pdf"]])
    digest = own.catalogue.contents.of_chunk(chunk)
    assert digest is not None
    from indexer.catalogue.rows import FoundFile

    own.catalogue.files.note(own.root, [FoundFile(f"{own.folder}/b/copy.pdf", "pdf", (1, 1, 1))])
    own.catalogue.queue.hashed([(w, w.stamp, digest[0]) for w in own.catalogue.queue.unhashed(9)])
    (hit,) = own.ask("bread").hits
    assert hit.path.endswith("a/bread.pdf") and [p[-10:] for p in hit.also_at] == ["b/copy.pdf"]
    (hit,) = own.ask("bread in:b").hits
    assert hit.path.endswith("b/copy.pdf")


@pytest.mark.slow
def test_a_file_that_went_is_gone_at_once(own: Shelf) -> None:
    for name, text in PAGES.items():
        own.document(name, [text])
    assert own.titles("bread")[0] == "bread.pdf"
    own.catalogue.files.remove([f"{own.folder}/bread.pdf"])
    assert "bread.pdf" not in [h.title for h in own.ask("bread", k=50).hits]  # the index has not caught up yet
    own.index.catch_up()
    assert "bread.pdf" not in [h.title for h in own.ask("bread", k=50).hits]


@pytest.mark.slow
def test_a_search_does_not_wait_for_a_writer(own: Shelf) -> None:
    for name, text in PAGES.items():
        own.document(name, [text])
    own.ask("bread")
    holding, done = threading.Event(), threading.Event()

    def write() -> None:
        with own.catalogue.database.writer() as c:
            c.exec_driver_sql("UPDATE chunk SET text = text || ' '")
            holding.set()
            done.wait(30)

    writer = threading.Thread(target=write)
    writer.start()
    holding.wait(30)
    answer = own.ask("whales krill")
    assert writer.is_alive() and answer.hits[0].title == "whales.pdf"
    done.set()
    writer.join()


@pytest.mark.slow
def test_a_pdf_asks_with_each_of_its_pages(shelf: Shelf, tmp_path: Path) -> None:
    pymupdf = pytest.importorskip("pymupdf")
    document = pymupdf.open()
    for name in ("whales.pdf", "router.pdf"):
        page = document.new_page()
        page.insert_textbox((50, 50, 500, 700), PAGES[name])
    document.save(tmp_path / "asked.pdf")
    titles = [h.title for h in shelf.ask(parts=(Part(file=tmp_path / "asked.pdf"),), kinds=("pdf",)).hits]
    assert set(titles[:2]) == {"whales.pdf", "router.pdf"}


def test_took_ms_is_measured(shelf: Shelf) -> None:
    started = time.perf_counter()
    answer = shelf.ask("bread")
    assert 0 < answer.took_ms <= (time.perf_counter() - started) * 1000


class Untuned:
    """The real model without what was measured with it."""

    def __init__(self) -> None:
        self.id, self.dim, self.max_frames = "untuned@1", lite().dim, lite().max_frames
        self.embed = lite().embed


@pytest.mark.slow
def test_an_untuned_model_finds_the_same_and_weighs_nothing_by_another_s_numbers(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, Untuned())
    for name, text in PAGES.items():
        shelf.document(name, [text])
    assert shelf.searcher.profile == untuned()
    assert shelf.ask("how to make bread at home").hits[0].title == "bread.pdf"
    file = tmp_path / "asked.png"
    Image.fromarray(drawing(2)).save(file)
    (text,) = shelf.searcher.vectors(Query((Part(text="bread"),)))
    (picture,) = shelf.searcher.vectors(Query((Part(file=file),)))
    (both,) = shelf.searcher.vectors(Query((Part(text="bread"), Part(file=file))))
    assert np.allclose(both, (picture + text) / np.linalg.norm(picture + text), atol=1e-5)
    shelf.close()


def test_people_and_places_are_found_and_counted(own: Shelf) -> None:
    lisbon, oslo = {"lat": 38.72, "lon": -9.14}, {"lat": 59.91, "lon": 10.75}
    own.photo("a.png", drawing(1), people=packed_people(["Anna Łucka", "Bob Ray"]), **lisbon)
    own.photo("b.png", drawing(2), people=packed_people(["Joanna Bobson"]), **lisbon)
    own.photo("c.png", drawing(3), people=packed_people(["Jean-Marie 100%"]), **oslo)
    own.photo("d.png", drawing(4))
    found = {
        "person:anna": {"a.png"}, 'person:"anna łucka"': {"a.png"}, "person:ŁUC person:bob": {"a.png"},
        "person:Bob": {"a.png", "b.png"}, "person:marie": {"c.png"}, 'person:"Jean-Marie 100%"': {"c.png"},
        "person:nna": set(), "person:anna near:Oslo": set(),
    }  # fmt: skip
    assert {asked: set(own.titles(asked)) for asked in found} == found
    assert own.searcher.vocabulary(Filters())["person"][:2] == [("Anna Łucka", 1), ("Bob Ray", 1)]
    places = own.searcher.places(Query((Part(text="kind:image"),)))
    assert (places.placed, places.total) == (3, 4)
    assert [(one.town, one.count) for one in places.clusters] == [("Lisbon, Portugal", 2), ("Oslo, Norway", 1)]
    some = own.searcher.places(Query((Part(text="a drawing near:Lisbon"),)))
    assert [(one.near, one.count) for one in some.clusters] == [("Lisbon, Portugal", 2)]


def test_the_timeline_and_the_values_of_filters_count_what_is_there(shelf: Shelf) -> None:
    months = shelf.searcher.timeline(Query(()))
    assert months == [Month("2023-07", False, 1), Month("2022-04", False, 12), Month("2020-09", False, 6)]
    listed = [hit.taken[:7] for hit in shelf.ask(k=50).hits if hit.taken]
    assert listed == [month.month for month in months for _ in range(month.count)]
    assert shelf.searcher.timeline(Query((), Filters(kinds=("pdf",)))) == months[2:]
    assert [hit.rank for hit in shelf.ask(k=3, offset=17).hits] == [18, 19]
    values = shelf.searcher.vocabulary(Filters())
    assert values["type"] == [("image", 12), ("pdf", 6), ("video", 1)]
    assert values["in"] == [("pictures", 12), ("papers", 6), ("films", 1)]
    assert values["taken"][:3] == [("2023", 1), ("2022", 12), ("2020", 6)]
    assert shelf.searcher.vocabulary(Filters(within=(shelf.folder / "films",)))["type"] == [("video", 1)]
