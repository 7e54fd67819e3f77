"""The text of a page as a person reads it, found and marked where it stands, with both engines."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.media import pdf
from data.media.letters import join_divided_words
from tests.data.media.raw_pdf import lines, page

ACCENTS = (
    "<</Type/Font/Subtype/Type1/BaseFont/Times-Roman/Encoding<</Type/Encoding/BaseEncoding/WinAnsiEncoding"
    "/Differences[1/dotlessi/fi/caron/ring/cedilla/circumflex/tilde/grave/acute/macron/ffi/fl/dotaccent/dieresis]>>>>"
)


@pytest.fixture(params=["pymupdf", "pypdfium2"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip(request.param)
    monkeypatch.setenv("SIGHTLINE_PDF", request.param)
    yield request.param


def glyphs(*parts: tuple[str, float] | tuple[str, float, float]) -> str:
    """Strings at 18 points, each with its place from the left and how far it is raised."""
    return " ".join(f"BT /F1 18 Tf {x} {700 + (rise[0] if rise else 0)} Td ({text}) Tj ET" for text, x, *rise in parts)


def boxes(path: Path, word: str) -> list[tuple[float, ...]]:
    """Boxes of a word in points of a page of Letter size."""
    found = pdf.find_words(path, 1, [word])
    return [tuple(round(v * side) for v, side in zip(box, (612, 792) * 2, strict=True)) for box in found]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (glyphs(("M", 72), ("\\016", 87), ("uller", 87.5)), "Müller"),  # before the letter, as TeX draws it
        (glyphs(("M", 72), ("u", 88), ("\\016", 89), ("ller", 97)), "Müller"),  # after it
        (glyphs(("Das ", 72), ("\\016", 106, 4), ("Uber", 103)), "Das Über"),  # over a capital
        (glyphs(("na", 72), ("\\016", 89.5), ("\\001", 88), ("ve", 93)), "naïve"),  # over a letter without dot
        (glyphs(("voil", 72), ("\\010", 100.5), ("a", 100)), "voilà"),  # a grave as a quote from typewriters
        (glyphs(("\\003", 73, 4), ("Cesk", 72)), "Česk"),
        (glyphs(("gar", 72), ("\\005", 95.5), ("c", 94.6), ("on", 102.5)), "garçon"),  # under it
        (glyphs(("\\004", 76, 4), ("Angstr", 72), ("\\016", 122.5), ("om", 121)), "Ångström"),
        ("BT /F1 18 Tf 72 700 Td [(caf)(\\011)333(e noir)]TJ ET", "café noir"),  # one string that steps back
        (
            glyphs(("Der M", 72), ("\\016", 120.8), ("uller aus Z", 119.5), ("\\016", 198), ("urich", 196.5)),
            "Der Müller aus Zürich",
        ),
    ],
)  # fmt: skip
def test_accents_drawn_apart_are_on_their_letters(tmp_path: Path, content: str, text: str) -> None:
    path = page(tmp_path / "a.pdf", content, font=ACCENTS)
    assert pdf.page_text(path, 1) == text
    assert [word[4] for word in pdf.page_words(path, 1)] == text.split()


def test_the_box_of_a_mended_word_covers_its_letters(tmp_path: Path) -> None:
    path = page(tmp_path / "a.pdf", glyphs(("M", 72), ("\\016", 87), ("uller", 87.5)), font=ACCENTS)
    ((x0, y0, x1, y1),) = boxes(path, "muller")
    assert abs(x0 - 72) < 3 and 115 < x1 < 125 and y0 < 85 < y1 < 110


def test_accents_by_themselves_stay(tmp_path: Path) -> None:
    path = page(tmp_path / "a.pdf", lines("x ^ y ~ z `a` 10^6 ~/.bashrc \xb4 and \xa8 and a\xb4"))
    assert pdf.page_text(path, 1) == "x ^ y ~ z `a` 10^6 ~/.bashrc ´ and ¨ and a´"


def test_ligatures_are_letters(tmp_path: Path) -> None:
    path = page(tmp_path / "a.pdf", lines("The o\\013ce re\\002ned its con\\002dential work\\014ow"), font=ACCENTS)
    assert pdf.page_text(path, 1) == "The office refined its confidential workflow"
    assert len(boxes(path, "refined")) == len(boxes(path, "workflow")) == 1


def test_tex_ligatures_without_names_are_letters(tmp_path: Path) -> None:
    font = "<</Type/Font/Subtype/Type1/BaseFont/Times-Roman/Encoding<</Type/Encoding/Differences[11/G1/G2/G3/G4]>>>>"
    path = page(tmp_path / "a.pdf", lines("an e\\016cient \\014nal e\\013ort"), font=font)
    assert pdf.page_text(path, 1) == "an efficient final effort"
    assert [word[4] for word in pdf.page_words(path, 1)] == ["an", "efficient", "final", "effort"]


@pytest.mark.parametrize("spacing", [2, 3.4, 3.6, 4, 6, 9, 14, 20, 26])
def test_a_heading_that_is_spaced_out_is_words(tmp_path: Path, spacing: float) -> None:
    path = page(tmp_path / "a.pdf", lines("TELESCOPE", "of glass", more=f"{spacing} Tc"))
    assert pdf.page_text(path, 1).splitlines()[0] == "TELESCOPE"
    ((x0, _, x1, _),) = boxes(path, "telescope")
    assert abs(x0 - 72) < 2 and abs(x1 - (72 + 108 + 8 * spacing)) < spacing + 8


def test_words_of_a_spaced_heading_are_parted_by_the_larger_gap(tmp_path: Path) -> None:
    letters = "-300(E)-300(L)-300(E)-300(S)-300(C)-300(O)-300(P)-300(E)-900(M)-300(A)-300(K)-300(E)-300(R)"
    path = page(tmp_path / "a.pdf", f"BT /F1 24 Tf 72 700 Td [(T){letters}]TJ ET")
    assert pdf.page_text(path, 1).split() == ["TELESCOPE", "MAKER"]
    path = page(tmp_path / "b.pdf", lines("T H E   E N D   O F   S U M M E R", "C O N T E N T S", "p r e f a c e"))
    assert pdf.page_text(path, 1).split() == ["THE", "END", "OF", "SUMMER", "CONTENTS", "preface"]


def test_uneven_spacing_is_seen_through(tmp_path: Path) -> None:
    uneven = "[(T)-160(E)-120(L)-160(E)-160(S)-120(C)-160(O)-160(P)-120(E)]"
    path = page(tmp_path / "a.pdf", f"BT /F1 24 Tf 72 700 Td {uneven}TJ ET")
    assert pdf.page_text(path, 1) == "TELESCOPE"


@pytest.mark.parametrize("text", ["A B C D E F G", "vitamins A C D E K", "x y z w v", "N x M x K grid", "1 2 3 4 5 6"])
def test_letters_by_themselves_stay(tmp_path: Path, text: str) -> None:
    assert pdf.page_text(page(tmp_path / "a.pdf", lines(text)), 1) == text


def test_a_divided_word_is_found_and_has_two_boxes(tmp_path: Path) -> None:
    path = page(tmp_path / "a.pdf", lines("The lecture explained how photo-", "synthesis feeds the leaves"))
    assert pdf.page_text(path, 1) == "The lecture explained how photosynthesis feeds the leaves"
    first, second = boxes(path, "photosynthesis")
    assert first[0] > 200 and second[0] < 75 and second[1] > first[1] + 15
    assert [word[4] for word in pdf.page_words(path, 1)][4:6] == ["photo-", "synthesis"]


def test_a_soft_hyphen_divides(tmp_path: Path) -> None:
    path = page(tmp_path / "a.pdf", lines("the maintenance of refrig\\255", "erators and freezers"))
    assert "refrigerators" in pdf.page_text(path, 1) and len(boxes(path, "refrigerators")) == 2


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("PHOTO-\nSYNTHESIS", "PHOTOSYNTHESIS"),
        ("photo\x02synthesis feeds", "photosynthesis feeds"),
        ("photo\ufffesynthesis", "photosynthesis"),
        ("photo\u2010\nsynthesis", "photosynthesis"),
        ("re\xad\nfrig\xad\nerator", "refrigerator"),
        ("refrig\xaderator", "refrigerator"),
        ("Grö-\nße", "Größe"),
        ("фото-\nсинтез", "фотосинтез"),
        ("INV-\n2024", "INV-2024"),
        ("Jean-\nPaul", "Jean-Paul"),
        ("state-of-the-\nart", "state-of-the-art"),
        ("a well-\nknown man is well and known", "a well-known man is well and known"),
        ("user-\ndefined and user-defined", "user-defined and user-defined"),
        ("see http://a.example/b-\nc", "see http://a.example/b-c"),
        ("a list -\nof things", "a list -\nof things"),
        ("1990-\n2000", "1990-\n2000"),
    ],
)
def test_the_hyphen_stays_where_it_belongs_to_the_word(text: str, read: str) -> None:
    assert join_divided_words(text) == read


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_turned_page_is_read_upright(tmp_path: Path, rotation: int) -> None:
    turn = {0: "1 0 0 1 0 0", 90: "0 1 -1 0 612 0", 180: "-1 0 0 -1 612 792", 270: "0 -1 1 0 0 792"}[rotation]
    text = (
        f"q {turn} cm BT /F1 18 Tf 20 TL 60 400 Td (first line of words) Tj T* (M) Tj 15 0 Td (\\016) Tj "
        ".5 0 Td (uller sees photo-) Tj -15.5 -20 Td (synthesis) Tj ET BT /F1 18 Tf 9 Tc 60 300 Td (TELESCOPE) Tj ET Q"
    )
    path = page(tmp_path / "a.pdf", text, font=ACCENTS, entries=f"/Rotate {rotation}")
    assert pdf.page_text(path, 1) == "first line of words\nMüller sees photosynthesis\nTELESCOPE"
    assert [len(boxes(path, word)) for word in ("Müller", "photosynthesis", "telescope")] == [1, 2, 1]
    rows = {word[4]: word for word in pdf.page_words(path, 1)}
    assert rows["first"][0] < rows["line"][0] < rows["words"][0] and rows["first"][1] < rows["synthesis"][1]


@pytest.mark.parametrize(
    ("text", "read"),
    [("東京都立図書館", "東京都立図書館"), ("ＡＢＣ１２３、ﾃﾚﾋﾞ", "ABC123、テレビ"), ("⼀⽂字", "一文字")],
)
def test_forms_of_letters_are_letters(tmp_path: Path, text: str, read: str) -> None:
    import pymupdf

    document = pymupdf.open()
    document.new_page().insert_text((60, 100), text, fontsize=20, fontname="japan")
    document.save(str(tmp_path / "a.pdf"))
    assert pdf.page_text(tmp_path / "a.pdf", 1) == read


@pytest.mark.parametrize(
    "text", ["הספרייה הלאומית נמצאת בירושלים", "کتاب خانه مردم", "Русский текст о погоде", "Ελληνικά"]
)
def test_other_scripts_are_read_in_order(tmp_path: Path, text: str) -> None:
    path = story(tmp_path / "a.pdf", text)
    assert pdf.page_text(path, 1) == text
    assert [word[4] for word in pdf.page_words(path, 1)] == text.split()


def story(path: Path, *paragraphs: str) -> Path:
    """A PDF that MuPDF sets in the fonts that it brings for each script."""
    import html

    import pymupdf

    found = "".join(f"<p dir='auto'>{html.escape(text)}</p>" for text in paragraphs)
    writer = pymupdf.DocumentWriter(str(path))
    setting = pymupdf.Story(html=found)
    more, sheet = 1, pymupdf.paper_rect("a4")
    while more:
        device = writer.begin_page(sheet)
        more, _ = setting.place((36, 36, sheet.x1 - 36, sheet.y1 - 36))
        setting.draw(device)
        writer.end_page()
    writer.close()
    return path


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext (poppler-utils) is not installed")
def test_poppler_reads_the_same_words(tmp_path: Path) -> None:
    paths = [
        page(tmp_path / "a.pdf", lines("The lecture explained how photo-", "synthesis feeds the leaves")),
        page(tmp_path / "b.pdf", glyphs(("M", 72), ("\\016", 87), ("uller", 87.5)), font=ACCENTS),
        page(tmp_path / "c.pdf", lines("two words", "and more"), entries="/Rotate 90"),
    ]
    for path in paths:
        done = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True)
        assert pdf.page_text(path, 1).split() == unicodedata.normalize("NFC", done.stdout).split()


@pytest.mark.skipif(shutil.which("mutool") is None, reason="mutool (mupdf-tools) is not installed")
def test_mutool_reads_and_draws_the_same(tmp_path: Path) -> None:
    layers = "/OCProperties<</OCGs[6 0 R]/D<</OFF[6 0 R]>>>>"
    draft = " /OC /L1 BDC BT /F1 18 Tf 72 500 Td (draftword) Tj ET EMC"
    paths = [
        page(tmp_path / "a.pdf", lines("two words", "and more"), entries="/Rotate 90"),
        page(tmp_path / "b.pdf", lines("a", "narrow page"), box="0 0 300 792"),
        page(
            tmp_path / "c.pdf",
            lines("always here") + draft,
            "<</Type/OCG/Name(Draft)>>",
            root=layers,
            resources="/Properties<</L1 6 0 R>>",
        ),
    ]
    for path in paths:
        done = subprocess.run(["mutool", "draw", "-q", "-F", "txt", path], capture_output=True, text=True, check=True)
        assert pdf.page_text(path, 1).split() == done.stdout.split()
        subprocess.run(["mutool", "draw", "-q", "-r", "36", "-o", tmp_path / "a.png", path, "1"], check=True)
        with Image.open(tmp_path / "a.png") as drawn:
            theirs = np.asarray(drawn.convert("RGB")).astype(int)
        ours = pdf.page_image(path, 1, max(theirs.shape[:2])).astype(int)
        assert ours.shape == theirs.shape and np.abs(ours - theirs).mean() < 3
