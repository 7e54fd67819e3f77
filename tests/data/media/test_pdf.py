"""PDFs, with both engines: pages, words and their places, reasons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data.media import pdf, pdf_engines
from data.media.kinds import MediaError
from tests.media import draw_pdf, picture


@pytest.fixture(params=["pymupdf", "pypdfium2"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip(request.param)
    monkeypatch.setenv("SIGHTLINE_PDF", request.param)
    yield request.param


def ink(page: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """Share of dark pixels inside a relative box."""
    height, width = page.shape[:2]
    x0, y0, x1, y1 = box
    part = page[int(y0 * height) : int(np.ceil(y1 * height)), int(x0 * width) : int(np.ceil(x1 * width))]
    return float((part.min(axis=2) < 128).mean())


def test_the_engine_is_the_one_asked_for(engine: str) -> None:
    assert pdf_engines.engine_name() == engine


def test_pages_have_pictures_and_text(tmp_path: Path) -> None:
    path = draw_pdf(tmp_path / "a.pdf", ["The first page.", "Grüße, naïve café"], image=picture("x", seed=2))
    assert pdf.page_count(path) == 2
    page = pdf.page_image(path, 1, 800)
    assert page.dtype == np.uint8 and page.shape == (800, 565, 3)
    assert (page[5, 5] == 255).all() and (page[500:700].std(axis=(0, 1)) > 5).all()
    assert pdf.page_text(path, 1) == "The first page." and pdf.page_text(path, 2) == "Grüße, naïve café"


@pytest.mark.parametrize("rotation", [0, 90])
def test_a_page_reads_alike_whether_or_not_it_was_drawn_before(tmp_path: Path, rotation: int) -> None:
    texts = ["Alpha beta\nGrüße, naïve café", "efficient office files\nhyphen-\nated"]
    path = draw_pdf(tmp_path / "a.pdf", texts, rotation=rotation)
    for number in (1, 2):
        with pdf.open_pdf(path) as document:
            text, boxes = document.text(number), document.word_boxes(number)
        with pdf.open_pdf(path) as document:
            assert document.image(number, 320).shape[2] == 3
            assert (document.text(number), document.word_boxes(number)) == (text, boxes) and len(boxes) > 3


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_word_is_where_its_box_says(tmp_path: Path, rotation: int) -> None:
    path = draw_pdf(tmp_path / "a.pdf", ["Alpha beta\ngamma Invoices INV-2024-001"], rotation=rotation)
    page = pdf.page_image(path, 1, 1200)
    words = pdf.page_words(path, 1)
    assert {w[4] for w in words} == {"Alpha", "beta", "gamma", "Invoices", "INV-2024-001"}
    for *box, _ in words:
        x0, y0, x1, y1 = box
        assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
        assert ink(page, (x0, y0, x1, y1)) > 0.04
    total = ink(page, (0, 0, 1, 1))
    inside = sum(ink(page, w[:4]) * (w[2] - w[0]) * (w[3] - w[1]) for w in words) * page.shape[0] * page.shape[1]
    assert inside > 0.9 * total, "nearly all ink lies in the boxes"


def test_words_are_found_despite_case_accents_and_endings(tmp_path: Path) -> None:
    path = draw_pdf(tmp_path / "a.pdf", ["Café Invoices, category cat INV-2024-001 Straße"])
    words = {w[4]: w[:4] for w in pdf.page_words(path, 1)}

    def found(*asked: str) -> list[str]:
        boxes = pdf.find_words(path, 1, asked)
        return [name for name, box in words.items() if box in boxes]

    assert found("cafe") == ["Café"]
    assert found("INVOICE") == ["Invoices,"]
    assert found("cat") == ["cat"], "short words match whole words only"
    assert found("inv-2024-001") == ["INV-2024-001"] == found("2024")
    assert found("strasse") == ["Straße"]
    assert found("", "!", "nothing") == []


def test_a_scan_has_no_words(tmp_path: Path) -> None:
    path = draw_pdf(tmp_path / "a.pdf", [""], image=picture("scan"))
    assert pdf.page_text(path, 1) == "" and pdf.page_words(path, 1) == []


def test_chinese_is_found_within_its_line(tmp_path: Path) -> None:
    import pymupdf

    document = pymupdf.open()
    document.new_page(width=400, height=200).insert_text((20, 50), "我们在北京看到了熊猫", fontname="china-s")
    document.save(str(tmp_path / "a.pdf"))
    assert "北京" in pdf.page_text(tmp_path / "a.pdf", 1)
    ((x0, _, x1, _),) = pdf.find_words(tmp_path / "a.pdf", 1, ["北京"])
    line = pdf.page_words(tmp_path / "a.pdf", 1)[0]
    assert line[0] < x0 < x1 < line[2] and x1 - x0 < 0.35 * (line[2] - line[0])


def test_reasons_are_plain(tmp_path: Path) -> None:
    good = draw_pdf(tmp_path / "good.pdf", ["x"] * 3)
    data = good.read_bytes()
    cases = {
        "e.pdf": (None, "the PDF is encrypted; save a copy without password", "encrypted"),
        "z.pdf": (b"", "the file is empty (0 bytes)", "empty"),
        "t.pdf": (b"Dear diary\n" * 99, "this is not a PDF: the file holds text", "wrong kind"),
        "d.pdf": (b"%PDF-1.7\n" + bytes(range(1, 256)) * 40, "the PDF is damaged and cannot be opened", "damaged"),
        "p.pdf": (b"\x89PNG\r\n\x1a\n" + data, "this is an image, although its name ends in .pdf; rename it", None),
    }
    draw_pdf(tmp_path / "e.pdf", password="secret")
    for name, (content, reason, cause) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError) as caught:
            pdf.page_count(tmp_path / name)
        assert str(caught.value) == reason
        assert caught.value.cause == (cause or "wrong kind")
    for page in (0, 4, -1):
        with pytest.raises(MediaError, match=f"there is no page {page}; the PDF has 3"):
            pdf.page_image(good, page)


@pytest.mark.slow
def test_a_million_pages_of_one_object_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pages_of_one_object(1_000_000))
    with pytest.raises(
        MediaError, match=r"1,000,000 pages, more than Sightline reads|impossible number of pages"
    ) as caught:
        pdf.page_count(path)
    assert caught.value.cause == "too large"


def pages_of_one_object(count: int) -> bytes:
    kids = b"3 0 R " * count
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (count, kids),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = len(out)
    out += b"xref\n0 4\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % xref


def test_a_page_of_a_giant_poster_is_drawn_small(tmp_path: Path) -> None:
    path = draw_pdf(tmp_path / "a.pdf", ["poster"], size=(14_000, 9_000))
    assert pdf.page_image(path, 1, 640).shape == (412, 640, 3)
