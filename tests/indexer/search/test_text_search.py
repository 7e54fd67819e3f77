"""Search by words over the catalogue's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.span import Span
from indexer.catalogue import schema
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.connections import Connections
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.catalogue.schema import Where
from indexer.errors import QueryError
from indexer.search import query_syntax, text_search
from indexer.search.snippets import snippets
from indexer.search.text_search import ALL, EXACT, SOME
from indexer.types import MARK, UNMARK

TEXTS = {
    "invoice": "Invoice number INV-2023-0417. Payment is due within thirty days of receipt.",
    "letter": "We are running a library for children; the payment of fees was suspended.",
    "chinese": "我们在北京大学学习机器学习和信息检索。",
    "japanese": "東京タワーの写真を撮りました。",
    "german": "Die Straßenbahn fährt über die Brücke nach München.",
    "greek": "Η γρήγορη αλεπού πηδάει πάνω από τον σκύλο.",
    "short": "NO PARKING",
    "hindi": "एक कटोरी पीली दाल और चावल",
    "tamil": "பால் நல்லது",
    "thai": "นำเข้าสินค้า",
    "khmer": "ការងារថ្មី",
    "burmese": "ကောင်းသောနေ့",
}


class Texts:
    def __init__(self, where: Where) -> None:
        self.catalogue = Catalogue(where)
        self.connections = Connections(where)
        model = self.catalogue.models.add("m@1", 4)
        root = self.catalogue.files.set_root(Path("/docs"))
        self.ids: dict[str, int] = {}
        for name, text in TEXTS.items():
            digest = name.encode().ljust(32, b"0")
            self.catalogue.files.note(root, [FoundFile(f"/docs/Holiday_2019/{name}_scan.pdf", "pdf", (1, 1, 1))])
            self.catalogue.queue.hashed([(w, w.stamp, digest) for w in self.catalogue.queue.unhashed(9)])
            chunk = NewChunk(0, np.ones(4) / 2, span=Span(page=1), text=text)
            (self.ids[name],) = self.catalogue.contents.write(digest, {}, [chunk], model.id)

    def find(self, *asked: str, phrases: tuple[str, ...] = ()) -> dict[str, int]:
        """Tier by name of text, best first."""
        found = text_search.search_chunks(self.connections.get(), asked, phrases, 20)
        names = {i: n for n, i in self.ids.items()}
        return {names[i]: t for i, t in zip(found.ids.tolist(), found.tiers.tolist(), strict=True)}

    def snippet(self, name: str, *asked: str) -> str:
        marks = text_search.expressions(self.connections.get(), asked, (), "words").some
        return snippets(self.connections.get(), [self.ids[name]], marks, asked, self.ids.values())[self.ids[name]]


@pytest.fixture
def texts(where: Where) -> Iterator[Texts]:
    made = Texts(where)
    yield made
    made.connections.close()
    made.catalogue.close()


@pytest.mark.slow
def test_the_whole_query_ranks_before_all_words_before_some(texts: Texts) -> None:
    assert texts.find("payment", "is", "due") == {"invoice": EXACT, "letter": SOME}
    assert texts.find("due", "payment") == {"invoice": ALL, "letter": SOME}


@pytest.mark.slow
def test_one_word_is_exact_where_it_is_all_there_is(texts: Texts) -> None:
    assert texts.find("library") == {"letter": ALL}
    assert texts.find("parking") == {"short": EXACT}


def test_among_few_texts_a_word_counts_whole_however_many_hold_it(texts: Texts) -> None:
    """In a small library every word is frequent: "payment" stands in two of seven texts, "the" aside."""
    found = text_search.search_chunks(texts.connections.get(), ("payment",), (), 20)
    assert {n for n, i in texts.ids.items() if i in found.ids} == {"invoice", "letter"}
    assert found.coverage.tolist() == [1.0, 1.0]
    partly = text_search.search_chunks(texts.connections.get(), ("payment", "library"), (), 20)
    assert partly.coverage[0] == 1.0 > partly.coverage[1]


@pytest.mark.slow
def test_words_are_found_in_other_forms(texts: Texts) -> None:
    assert texts.find("run", "libraries") == {"letter": ALL}


def test_numbers_and_codes_are_found_as_written(texts: Texts) -> None:
    assert texts.find("INV-2023-0417") == {"invoice": EXACT}
    assert texts.find("INV-2023-0418").get("invoice") != EXACT


@pytest.mark.slow
def test_quoted_phrases_are_required(texts: Texts) -> None:
    assert texts.find("payment", phrases=("thirty days",)) == {"invoice": EXACT}
    assert texts.find("payment", phrases=("days thirty",)) == {}


@pytest.mark.slow
def test_a_typing_error_is_forgiven_in_long_words_only(texts: Texts) -> None:
    assert texts.find("paymnet") == {"invoice": ALL, "letter": ALL}
    assert texts.find("recieved") == {} or "invoice" in texts.find("recieved")
    assert texts.find("lirbary") == {"letter": ALL}
    assert texts.find("feez") == {}


@pytest.mark.slow
def test_a_word_that_nobody_wrote_is_not_taken_for_a_near_one(texts: Texts) -> None:
    """ "tower" is no mistyped "power" although one letter makes it so; "pwoer" is."""
    digest = b"powered".ljust(32, b"0")
    catalogue = texts.catalogue
    catalogue.files.note(catalogue.files.set_root(Path("/docs")), [FoundFile("/docs/p.pdf", "pdf", (2, 2, 2))])
    catalogue.queue.hashed([(w, w.stamp, digest) for w in catalogue.queue.unhashed(9)])
    model = catalogue.models.answering()
    assert model is not None
    text = "The pump is powered by the sun."
    (texts.ids["pump"],) = catalogue.contents.write(
        digest, {}, [NewChunk(0, np.ones(4) / 2, span=Span(page=1), text=text)], model.id
    )
    assert texts.find("powered") == {"pump": ALL}
    assert texts.find("powerde") == {"pump": ALL}
    assert texts.find("tower") == {}
    assert texts.find("church", "tower") == {}


@pytest.mark.slow
def test_the_beginning_of_a_word_is_enough(texts: Texts) -> None:
    assert texts.find("suspen") == {"letter": ALL}


@pytest.mark.slow
def test_accents_and_case_do_not_matter(texts: Texts) -> None:
    assert texts.find("munchen") == {"german": ALL}
    assert texts.find("ΑΛΕΠΟΎ") == {"greek": ALL}


@pytest.mark.slow
def test_scripts_without_blanks_are_found_by_any_part(texts: Texts) -> None:
    assert texts.find("北京") == {"chinese": ALL}
    assert texts.find("机器学习") == {"chinese": ALL}
    assert texts.find("机学") == {}
    assert texts.find("タワー") == {"japanese": ALL}
    assert texts.find("京") == {"chinese": ALL, "japanese": ALL}
    assert MARK + "北京" + UNMARK in texts.snippet("chinese", "北京")


@pytest.mark.slow
def test_deleted_and_reread_texts_are_not_found_by_their_old_words(texts: Texts) -> None:
    digest = b"chinese".ljust(32, b"0")
    texts.catalogue.contents.write_ocr(digest, {texts.ids["chinese"]: "上海"}, 1, {})
    assert texts.find("北京") == {}
    assert texts.find("上海") == {"chinese": EXACT}
    texts.catalogue.files.remove(["/docs/Holiday_2019/invoice_scan.pdf"])
    texts.catalogue.contents.sweep(kept_s=-1)
    assert "invoice" not in texts.find("payment", "due")


def test_names_and_folders_are_words_too(texts: Texts) -> None:
    connection = texts.connections.get()
    found = text_search.search_names(connection, ["japanese", "scan"], (), 10)
    assert found.tiers[0] == EXACT and len(found) >= 1
    assert len(text_search.search_names(connection, ["holiday"], (), 20)) == len(TEXTS)


def test_a_name_is_found_in_the_singular_the_plural_and_other_forms(texts: Texts) -> None:
    root = texts.catalogue.files.set_root(Path("/photos"))
    texts.catalogue.files.note(root, [FoundFile(f"/photos/Trips/{n}.jpg", "image", (1, 1, 1)) for n in ("cats", "run")])
    connection = texts.connections.get()
    for asked in (["cat"], ["cats"]):
        found = text_search.search_names(connection, asked, (), 10)
        assert found.tiers.tolist() == [EXACT]
    assert len(text_search.search_names(connection, ["running"], (), 10)) == 1
    assert len(text_search.search_names(connection, ["trip"], (), 10)) == 2
    assert len(text_search.search_names(connection, ["catalogue"], (), 10)) == 0


@pytest.mark.slow
def test_snippets_mark_what_was_found_and_nothing_else(texts: Texts) -> None:
    snippet = texts.snippet("invoice", "payment")
    assert f"{MARK}Payment{UNMARK} is due" in snippet
    assert snippet.count(MARK) == snippet.count(UNMARK) == 1
    assert texts.snippet("short", "payment") == "NO PARKING"


def test_nothing_in_a_query_is_taken_for_syntax(texts: Texts) -> None:
    for asked in ('"', "AND", "a OR b", "NEAR(", "x*", "(", "text:payment", "^", "-", "''", "\0", "{}"):
        texts.find(asked)
        texts.find("payment", asked, phrases=(asked,))


def test_a_word_that_all_texts_hold_is_looked_for_beside_no_rarer_one(
    texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_search, "COMMON_LEAST", 1)
    monkeypatch.setattr(text_search, "COMMON_SHARE", 0.0)
    connection = texts.connections.get()
    assert text_search.expressions(connection, ["payment", "invoice"], (), "words").some == '"invoice"'
    assert text_search.expressions(connection, ["payment"], (), "words").some == '"payment"'


SCRIPTS = (
    "图书馆",
    "東京都",
    "ひらがな",
    "ห้องสมุด",
    "ຫໍສະໝຸດ",
    "បណ្ណាល័យ",
    "စာကြည့်တိုက်",
    "도서관",
    "दिल",
    "நூலகம்",
    "مكتبة",
    "ספריה",
)
QUERIES = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(categories=["Lo", "Mn", "Mc", "Cs", "So", "Sm"]), max_size=12),
    st.lists(st.sampled_from([*SCRIPTS, '"', "-", ":", "*", "AND", "NOT", "a", "\ud800", "\0", "_"]), max_size=6).map(
        "".join
    ),
)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(query=QUERIES)
def test_no_query_breaks_the_search(texts: Texts, query: str) -> None:
    try:
        parsed = query_syntax.parse(query)
    except QueryError:
        return
    connection = texts.connections.get()
    for search in (text_search.search_chunks, text_search.search_names):
        search(connection, parsed.words, parsed.phrases, 20)


@pytest.mark.slow
@pytest.mark.parametrize("query", SCRIPTS)
def test_words_of_every_script_are_looked_for(texts: Texts, query: str) -> None:
    """A word of a script without blanks once met a table that keeps nothing of it, and broke the search."""
    assert texts.find(query) == {}
    assert len(text_search.search_names(texts.connections.get(), (query,), (), 20)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "word", "other"),
    [
        ("hindi", "दाल", "दिल"),
        ("tamil", "பால்", "பல்"),
        ("thai", "นำ", "น้ำ"),
        ("khmer", "ការ", "កូរ"),
        ("burmese", "ကောင်း", "ကင်း"),
    ],
)
def test_words_that_differ_in_a_sign_are_different_words(texts: Texts, name: str, word: str, other: str) -> None:
    assert list(texts.find(word)) == list(texts.find(phrases=(word,))) == [name]
    assert texts.find(other) == texts.find(phrases=(other,)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("word", ["京", "北京", "タ", "中文", "ไทย", "น"])
def test_one_and_two_characters_are_found_in_names(texts: Texts, word: str) -> None:
    root = texts.catalogue.files.set_root(Path("/photos"))
    file = FoundFile("/photos/北京タワー中文ไทยน.jpg", "image", (1, 1, 1))
    texts.catalogue.files.note(root, [file])
    assert len(text_search.search_names(texts.connections.get(), (word,), (), 10)) == 1


def test_a_guess_for_what_is_a_word_of_its_own_is_no_match_of_all_words(texts: Texts) -> None:
    find = text_search.search_chunks
    connection = texts.connections.get()
    suspended, both = find(connection, ("suspen",), (), 9), find(connection, ("library", "suspen"), (), 9)
    assert (suspended.guessed, both.guessed) == (("suspen",), ("suspen",))
    assert suspended.doubted({"suspen"}.__contains__).tiers.tolist() == [SOME]
    assert suspended.doubted({"suspended"}.__contains__).tiers.tolist() == [ALL]
    assert both.doubted({"suspen"}.__contains__).tiers.tolist() == [SOME]
    as_typed = find(connection, ("suspended",), (), 9)
    assert as_typed.guessed == () and as_typed.doubted(lambda word: True).tiers.tolist() == [ALL]


def test_one_word_as_typed_is_told_from_one_that_was_completed(texts: Texts) -> None:
    connection = texts.connections.get()
    typed = {w: text_search.search_chunks(connection, (w,), (), 9) for w in ("suspended", "suspen", "parking", "京")}
    assert {word: found.literal for word, found in typed.items()} == {
        "suspended": True,
        "suspen": False,
        "parking": True,
        "京": True,
    }
    assert typed["suspen"].coverage.max() < typed["suspended"].coverage.max()
    assert not text_search.search_chunks(connection, ("no", "parking"), (), 9).literal


def test_words_that_a_step_of_the_ladder_emptied_are_made_anew(texts: Texts, where: Where) -> None:
    if isinstance(where, Path):
        return  # in SQLite the step itself does that (test_database.py)
    (step,) = (sql for number, sql in schema.migrations("postgresql") if number == 10)
    with texts.catalogue.database.writer() as c:
        c.exec_driver_sql(step)
    assert texts.find("payment") == {}
    Catalogue(where).close()
    assert texts.find("payment") == {"invoice": ALL, "letter": ALL}
    assert texts.find("北京") == {"chinese": ALL}
    assert len(text_search.search_names(texts.connections.get(), ["holiday"], (), 20)) == len(TEXTS)
