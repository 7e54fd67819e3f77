"""PDFs inside a PDF: documents of their own, whose pages follow those of the PDF itself; both engines."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from PIL import Image

from data.media import pdf
from data.media.kinds import MediaError
from data.reader import decode, make_thumbnail, outline
from data.span import PdfPart
from tests.data.media.raw_pdf import lines, page, stream
from tests.data.media.test_pdf import ink


@pytest.fixture(params=["pymupdf", "pypdfium2"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip(request.param)
    monkeypatch.setenv("SIGHTLINE_PDF", request.param)
    yield request.param


def document(*texts: str, title: str = "") -> bytes:
    """A PDF with a page for each text."""
    out = pymupdf.open()
    for text in texts:
        out.new_page(width=300, height=400).insert_text((30, 60), text)
    out.set_metadata({"title": title})
    return bytes(out.tobytes())


def around(data: bytes, files: Sequence[tuple[str, bytes]], pinned: Sequence[tuple[str, bytes]] = ()) -> bytes:
    """A PDF with files inside it, and others pinned to its pages, one a page from the last page on."""
    out = pymupdf.open(stream=data, filetype="pdf")
    for i, (name, content) in enumerate(files):
        out.embfile_add(f"{i:03d}", content, filename=name, ufilename=name)
    for i, (name, content) in enumerate(pinned):
        out[-1 - i].add_file_annot((200, 200), content, name)
    return bytes(out.tobytes())


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


COVER = document("the cover sheet", "its second page")


def texts(path: Path) -> list[str]:
    found = outline(path, "pdf")
    return [chunk.text for chunk in decode(path, "pdf", found.chunks)]


def test_pages_of_pdfs_inside_follow_those_of_the_pdf(tmp_path: Path) -> None:
    invoice = document("an invoice for anvils", "payable by Tuesday", title="Invoice 12")
    files = [("invoice.pdf", invoice), ("remarks.txt", b"handle with care"), ("letter.pdf", document("dear aunt"))]
    path = write(tmp_path / "bundle.pdf", around(COVER, files))
    found = outline(path, "pdf")
    assert found.pages == 5 and [chunk.span.page for chunk in found.chunks] == [1, 2, 3, 4, 5]
    assert found.parts == (PdfPart("invoice.pdf", 3), PdfPart("letter.pdf", 5)) and found.note is None
    chunks = decode(path, "pdf", found.chunks)
    assert [chunk.text.split("\n") for chunk in chunks] == [
        ["the cover sheet", "invoice.pdf", "remarks.txt", "handle with care", "letter.pdf"],
        ["its second page"],
        ["invoice.pdf", "an invoice for anvils"],
        ["payable by Tuesday"],
        ["letter.pdf", "dear aunt"],
    ]
    assert [chunk.title for chunk in chunks] == ["", "", "Invoice 12", "Invoice 12", ""]
    assert [chunk.unread for chunk in chunks] == [True, True, False, False, True]


def test_a_page_inside_is_drawn_marked_and_handed_out_as_its_own_file(tmp_path: Path) -> None:
    sheet = page(tmp_path / "inner.pdf", lines("quarterly walrus census"), box="0 0 800 792").read_bytes()
    path = write(tmp_path / "a.pdf", around(COVER, [("inner.pdf", sheet)]))
    assert pdf.page_count(path) == 3
    assert pdf.page_image(path, 3, 400).shape == (396, 400, 3)
    assert np.array_equal(pdf.page_image(path, 3, 400), pdf.page_image(tmp_path / "inner.pdf", 1, 400))
    assert ink(pdf.page_image(path, 3, 400), (0.05, 0.05, 0.6, 0.2)) > 0.005
    assert len(make_thumbnail(path, "pdf", outline(path, "pdf").chunks[2]))
    assert [word[4] for word in pdf.page_words(path, 3)] == ["quarterly", "walrus", "census"]
    assert pdf.find_words(path, 3, ["walrus"]) == pdf.find_words(tmp_path / "inner.pdf", 1, ["walrus"])
    assert pdf.part_of(path, 3) == sheet
    with pytest.raises(MediaError, match="not of a PDF inside"):
        pdf.part_of(path, 2)
    with pytest.raises(MediaError, match="there is no page 4; the PDF has 3"):
        pdf.page_image(path, 4)


def test_scans_inside_are_left_to_ocr(tmp_path: Path) -> None:
    inner = around(document("", "a page whose text layer is long enough to be believed"), [])
    path = write(
        tmp_path / "a.pdf", around(document("a cover with a text layer that is long enough"), [("a.pdf", inner)])
    )
    assert pdf.unread_pages(path) == [2]


def test_a_pdf_pinned_to_a_page_comes_after_the_files_of_the_document(tmp_path: Path) -> None:
    pins = [("bill.pdf", document("forty ducats")), ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(40))]
    path = write(tmp_path / "a.pdf", around(COVER, [("letter.pdf", document("dear aunt"))], pins))
    assert outline(path, "pdf").parts == (PdfPart("letter.pdf", 3), PdfPart("bill.pdf", 4))
    assert texts(path)[2:] == ["letter.pdf\ndear aunt", "bill.pdf\nforty ducats"]
    assert pdf.part_of(path, 4) == pins[0][1]


def test_pdfs_inside_pdfs_inside(tmp_path: Path) -> None:
    data, names = document("the innermost"), ["d.pdf", "c.pdf", "b.pdf", "a.pdf"]
    for name, next_text in zip(names, ["fourth", "third", "second", "first"], strict=True):
        data = around(document(f"the {next_text}"), [(name, data), (f"copy of {name}", data)])
    found = outline(write(tmp_path / "x.pdf", data), "pdf")
    assert [part.name for part in found.parts] == ["a.pdf", "a.pdf › b.pdf", "a.pdf › b.pdf › c.pdf"]
    assert texts(tmp_path / "x.pdf")[3].endswith("the fourth\nd.pdf\ncopy of d.pdf")
    assert found.note == "a.pdf › b.pdf › c.pdf › d.pdf, inside, is not shown: it lies more than 3 PDFs deep"


def test_equal_pdfs_inside_are_shown_once_and_wrong_names_do_not_matter(tmp_path: Path) -> None:
    letter = document("dear aunt")
    files = [("letter.pdf", letter), ("again.pdf", letter), ("notes.pdf", b"plain text"), ("scan.dat", COVER)]
    found = outline(write(tmp_path / "a.pdf", around(COVER, files)), "pdf")
    assert found.parts == (PdfPart("letter.pdf", 3), PdfPart("scan.dat", 4)) and found.note is None


def test_a_broken_or_encrypted_pdf_inside_costs_itself_alone_and_is_told(tmp_path: Path) -> None:
    locked = pymupdf.open(stream=COVER, filetype="pdf").tobytes(
        encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret", owner_pw="secret"
    )
    broken = b"%PDF-1.7\n" + bytes(range(1, 256)) * 4
    files = [("broken.pdf", broken), ("locked.pdf", locked), ("letter.pdf", document("dear aunt"))]
    found = outline(write(tmp_path / "a.pdf", around(COVER, files)), "pdf")
    assert found.parts == (PdfPart("letter.pdf", 3),) and found.pages == 3
    assert found.note is not None and found.note.startswith("broken.pdf, inside, is not shown: ")
    assert found.note.endswith(" (and 1 more)")
    assert [text.split("\n")[0] for text in texts(tmp_path / "a.pdf")] == [
        "the cover sheet",
        "its second page",
        "letter.pdf",
    ]


def test_their_number_and_their_pages_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(f"{i}.pdf", document(*(f"sheet {i}.{j}" for j in range(i + 1)))) for i in range(5)]
    path = write(tmp_path / "a.pdf", around(COVER, files))
    monkeypatch.setattr(pdf, "MAX_INSIDE", 2)
    found = outline(path, "pdf")
    assert [part.name for part in found.parts] == ["0.pdf", "1.pdf"]
    assert found.note == "2.pdf, inside, and what follows is not shown: it is more than Sightline opens"
    monkeypatch.setattr(pdf, "MAX_INSIDE", 500)
    monkeypatch.setattr(pdf, "MAX_PAGES", 6)
    path = write(tmp_path / "b.pdf", path.read_bytes())
    found = outline(path, "pdf")
    assert [part.name for part in found.parts] == ["0.pdf", "1.pdf"] and found.pages == 5
    assert found.note is not None and found.note.startswith("2.pdf, inside, is not shown: the PDF and those inside")
    assert found.note.endswith("(and 2 more)")


def test_a_pin_in_an_encrypted_pdf_that_everybody_may_open(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    out = pymupdf.open(stream=around(COVER, [], [("bill.pdf", document("forty ducats"))]), filetype="pdf")
    out.save(str(path), encryption=pymupdf.PDF_ENCRYPT_AES_256, owner_pw="secret", user_pw="", use_objstms=1)
    assert outline(path, "pdf").parts == (PdfPart("bill.pdf", 3),)


def test_an_attachment_as_old_programs_write_it(tmp_path: Path) -> None:
    inner = page(tmp_path / "inner.pdf", lines("The quarterly walrus census")).read_bytes()
    path = page(
        tmp_path / "a.pdf",
        lines("open this in a newer program"),
        "<</Type/Filespec/F(inner.pdf)/EF<</F 7 0 R>>>>",
        stream(inner, "/Type/EmbeddedFile/Subtype/application#2Fpdf"),
        root="/Collection<</Type/Collection/View/D>>/Names<</EmbeddedFiles<</Names[(inner)6 0 R]>>>>",
    )
    assert outline(path, "pdf").parts == (PdfPart("inner.pdf", 2),)
    assert texts(path)[1].endswith("The quarterly walrus census")


@pytest.mark.parametrize("name, content", [("F", "F"), ("F", "UF"), ("UF", "F"), ("UF", "UF")])
def test_a_name_and_its_bytes_under_different_keys(name: str, content: str, tmp_path: Path, engine: str) -> None:
    path = page(
        tmp_path / "a.pdf",
        lines("a letter with an enclosure"),
        f"<</Type/Filespec/{name}(inner.pdf)/EF<</{content} 7 0 R>>>>",
        stream(page(tmp_path / "i.pdf", lines("The quarterly walrus census")).read_bytes(), "/Type/EmbeddedFile"),
        root="/Names<</EmbeddedFiles<</Names[(inner)6 0 R]>>>>",
    )
    assert pdf.attachment_names(path) == ["inner.pdf"]
    found = outline(path, "pdf")
    if name != content and (engine == "pypdfium2" or name == "F"):
        assert not found.parts and found.note is not None and "inner.pdf" in found.note
    else:
        assert found.parts == (PdfPart("inner.pdf", 2),)


def test_names_of_all_scripts_in_a_tree_of_names(tmp_path: Path) -> None:
    inner = [page(tmp_path / "i.pdf", lines(f"The census of {what}")).read_bytes() for what in ("walruses", "seals")]
    names = [f"<FEFF{name.encode('utf-16-be').hex()}>" for name in ("Rechnung №7 für.pdf", "請求書.pdf")]
    path = page(
        tmp_path / "a.pdf",
        lines("a portfolio"),
        "<</Limits[(a)(a)]/Names[(a)8 0 R]>>",
        "<</Limits[(b)(b)]/Names[(b)9 0 R]>>",
        *(f"<</Type/Filespec/F(x.pdf)/UF{name}/EF<</F {10 + i} 0 R>>>>" for i, name in enumerate(names)),
        *(stream(data, "/Type/EmbeddedFile") for data in inner),
        "<</Type/Annot/Subtype/FileAttachment/Rect[72 600 90 620]/P 3 0 R/FS 13 0 R>>",
        f"<</Type/Filespec/F(x.pdf)/UF{names[0]}/EF<</F 14 0 R>>>>",
        stream(page(tmp_path / "i.pdf", lines("The census of gulls")).read_bytes(), "/Type/EmbeddedFile"),
        root="/Names<</EmbeddedFiles<</Kids[6 0 R 7 0 R]>>>>",
        entries="/Annots[12 0 R]",
    )
    found = ["Rechnung №7 für.pdf", "請求書.pdf", "Rechnung №7 für.pdf"]
    assert pdf.attachment_names(path) == found
    assert [part.name for part in outline(path, "pdf").parts] == found
    assert [text.split()[-1] for text in texts(path)[1:]] == ["walruses", "seals", "gulls"]
    if shutil.which("pdfdetach"):
        listed = subprocess.run(["pdfdetach", "-list", path], capture_output=True, text=True, check=True).stdout
        assert re.findall(r"^\d+: (.*)$", listed, re.MULTILINE)[:2] == found[:2]


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", around(COVER, [("letter.pdf", document("dear aunt"))]))
    assert [part.name for part in outline(path, "pdf").parts] == ["letter.pdf"]
    write(path, around(COVER, [("longer name.pdf", document("dear uncle"))]))
    assert texts(path)[2:] == ["longer name.pdf\ndear uncle"]


def test_images_inside_are_pages_of_their_own(tmp_path: Path) -> None:
    photo, scan, icon = io.BytesIO(), io.BytesIO(), io.BytesIO()
    colours = [(200, 30, 30), (30, 30, 200)]
    first, second = (Image.new("RGB", (300, 200), colour) for colour in colours)
    first.save(photo, "JPEG")
    first.save(scan, "TIFF", save_all=True, append_images=[second])
    first.resize((32, 32)).save(icon, "PNG")
    files = [("stain.jpg", photo.getvalue()), ("logo.png", icon.getvalue()), ("scan.tif", scan.getvalue())]
    path = write(tmp_path / "claim.pdf", around(COVER, [*files, ("cut.jpg", photo.getvalue()[:200])]))
    found = outline(path, "pdf")
    assert found.parts == (PdfPart("stain.jpg", 3), PdfPart("scan.tif", 4)) and found.pages == 5
    assert found.note is not None and "cut.jpg" in found.note
    for page_number, colour in ((3, colours[0]), (4, colours[0]), (5, colours[1])):
        pixels = pdf.page_image(path, page_number, 200)
        assert pixels.shape[1] == 200 and abs(pixels.shape[0] - 133) <= 1
        assert np.abs(pixels.mean((0, 1)) - colour).max() < 6
    assert {3, 4, 5} <= set(pdf.unread_pages(path))
    assert pdf.part_of(path, 4).startswith(b"%PDF")
