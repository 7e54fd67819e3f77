"""What a PDF holds beside the text of its pages: fields, notes, bookmarks, files inside, layers; both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data.media import pdf
from data.media.kinds import MediaError
from tests.data.media.raw_pdf import lines, page, stream
from tests.data.media.test_pdf import ink


@pytest.fixture(params=["pymupdf", "pypdfium2"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip(request.param)
    monkeypatch.setenv("SIGHTLINE_PDF", request.param)
    yield request.param


FORM = "/AcroForm<</NeedAppearances true/Fields[{fields}]/DA(/Helv 12 Tf 0 g)/DR<</Font<</Helv 5 0 R>>>>>>"


def form(path: Path, *fields: str, appearance: bytes | None = None) -> Path:
    """A page of these fields, below each other from 680 points up."""
    numbers = [6 + i for i in range(len(fields))]
    places = " ".join(f"{number} 0 R" for number in numbers)
    widgets = [
        f"<</Type/Annot/Subtype/Widget/Rect[72 {680 - 40 * i} 272 {700 - 40 * i}]/F 4/P 3 0 R"
        f"/DA(/Helv 12 Tf 0 g){field}>>"
        for i, field in enumerate(fields)
    ]
    more = [appearance] if appearance is not None else []
    return page(
        path,
        lines("Breakfast", size=14),
        *widgets,
        *more,
        root=FORM.format(fields=places),
        entries=f"/Annots[{places}]",
    )


def region(path: Path, box: tuple[float, float, float, float]) -> float:
    """Share of ink in a box that is given in points from the bottom left of a Letter page."""
    x0, y0, x1, y1 = box
    return ink(pdf.page_image(path, 1, 1200), (x0 / 612, 1 - y1 / 792, x1 / 612, 1 - y0 / 792))


@pytest.mark.parametrize("appearance", [False, True])
def test_what_a_field_holds_is_read_drawn_and_marked(tmp_path: Path, appearance: bool) -> None:
    drawn = stream(
        "/Tx BMC q BT /Helv 12 Tf 2 5 Td (marmalade) Tj ET Q EMC",
        "/Type/XObject/Subtype/Form/BBox[0 0 200 20]/Resources<</Font<</Helv 5 0 R>>>>",
    )
    path = form(
        tmp_path / "a.pdf",
        f"/FT/Tx/T(fav)/V(marmalade){'/AP<</N 7 0 R>>' if appearance else ''}",
        appearance=drawn if appearance else None,
    )
    assert pdf.page_text(path, 1).split() == ["Breakfast", "marmalade"]
    assert region(path, (72, 680, 140, 700)) > 0.03
    ((x0, y0, x1, y1),) = pdf.find_words(path, 1, ["marmalade"])
    assert 0.1 < x0 < x1 < 0.46 and 0.1 < y0 < y1 < 0.16


def test_chosen_and_ticked_fields_are_read(tmp_path: Path) -> None:
    path = form(
        tmp_path / "a.pdf",
        "/FT/Ch/Ff 131072/T(combo)/V(b)/Opt[[(a)(apricot jam)][(b)(bramble jelly)]]",
        "/FT/Ch/Ff 2097152/T(list)/V[(honey)(treacle)]/I[0 1]/Opt[(honey)(treacle)(syrup)]",
        "/FT/Btn/T(diet)/V/Vegetarian/AS/Vegetarian/AP<</N<</Vegetarian 11 0 R/Off 11 0 R>>>>",
        "/FT/Btn/T(agree)/V/Yes/AS/Yes/AP<</N<</Yes 11 0 R/Off 11 0 R>>>>",
        "/FT/Btn/T(not)/V/Off/AS/Off/AP<</N<</Carnivore 11 0 R/Off 11 0 R>>>>",
        appearance=stream("", "/Type/XObject/Subtype/Form/BBox[0 0 20 20]"),
    )
    words = pdf.page_text(path, 1).split()
    assert {"bramble", "jelly", "honey", "treacle", "Vegetarian"} <= set(words)
    assert not {"apricot", "Carnivore", "Yes", "Off"} & set(words)


def test_a_ticked_box_has_its_name_from_the_list_of_its_group(tmp_path: Path) -> None:
    box = "<</Type/Annot/Subtype/Widget/Parent 6 0 R/Rect[72 {y} 90 {z}]/AS/{state}/AP<</N<</{on} 9 0 R/Off 9 0 R>>>>>>"
    path = page(
        tmp_path / "a.pdf",
        lines("Pie"),
        "<</T(filling)/FT/Btn/Ff 49152/V/1/Opt[(Strawberry)(Gooseberry)]/Kids[7 0 R 8 0 R]>>",
        box.format(y=600, z=620, state="Off", on=0),
        box.format(y=560, z=580, state=1, on=1),
        stream("", "/Type/XObject/Subtype/Form/BBox[0 0 20 20]"),
        root=FORM.format(fields="6 0 R"),
        entries="/Annots[7 0 R 8 0 R]",
    )
    assert pdf.page_text(path, 1).split() == ["Pie", "Gooseberry"]


def test_passwords_and_hidden_fields_are_not_read(tmp_path: Path) -> None:
    path = form(tmp_path / "a.pdf", "/FT/Tx/Ff 8192/T(pw)/V(sesame)", "/FT/Tx/F 2/T(hid)/V(invisible)/F 2")
    assert pdf.page_text(path, 1) == "Breakfast"


XFA = (
    '<xdp:xdp xmlns:xdp="http://ns.adobe.com/xdp/"><template><field name="job"><caption>Occupation</caption></field>'
    '</template><xfa:datasets xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data><f><!-- none -->'
    "<job>beekeeper &amp; cooper</job><town>K\xf8ge</town>"
    "<photo contentType='image/png'>iVBORw0KGgoAAA</photo></f></xfa:data></xfa:datasets></xdp:xdp>"
)


@pytest.mark.parametrize("whole", [True, False])
def test_the_data_of_an_xfa_form_is_read(tmp_path: Path, whole: bool) -> None:
    head, _, rest = XFA.partition("<xfa:datasets")
    packets = [XFA] if whole else [head, f"<xfa:datasets{rest.removesuffix('</xdp:xdp>')}"]
    root = "6 0 R" if whole else "[(template)6 0 R(datasets)7 0 R]"
    path = page(
        tmp_path / "a.pdf",
        lines("Please wait..."),
        *(stream(packet.encode()) for packet in packets),
        root=f"/NeedsRendering true/AcroForm<</Fields[]/XFA {root}>>",
    )
    assert pdf.page_text(path, 1) == "Please wait...\nbeekeeper & cooper\nKøge"


def notes(path: Path, *annots: str) -> Path:
    places = " ".join(f"{6 + i} 0 R" for i in range(len(annots)))
    objects = [f"<</Type/Annot/P 3 0 R/Rect[72 {600 - 40 * i} 300 {620 - 40 * i}]{a}>>" for i, a in enumerate(annots)]
    return page(path, lines("Minutes of the meeting"), *objects, entries=f"/Annots[{places}]")


def test_notes_are_read_and_marked(tmp_path: Path) -> None:
    path = notes(
        tmp_path / "a.pdf",
        "/Subtype/Text/Contents(ask the plumber about the geyser)",
        "/Subtype/FreeText/F 4/DA(/Helv 12 Tf 0 g)/Contents(approved by the treasurer)",
        "/Subtype/Highlight/QuadPoints[72 540 300 540 72 520 300 520]/C[1 1 0]/Contents(check this figure)",
        "/Subtype/Text/Contents<FEFF005A00FC0072006900630068>",
        "/Subtype/Text/F 2/Contents(hidden remark)",
        "/Subtype/Link/Contents(to the web)/A<</S/URI/URI(http://x.example)>>",
    )
    text = pdf.page_text(path, 1)
    assert text.splitlines()[0] == "Minutes of the meeting"
    for note in ("ask the plumber about the geyser", "approved by the treasurer", "check this figure", "Zürich"):
        assert text.count(note) == 1
    assert "hidden" not in text and "web" not in text
    ((x0, y0, _, y1),) = pdf.find_words(path, 1, ["plumber"])
    assert abs(x0 - 72 / 612) < 0.02 and 0.2 < y0 < y1 < 0.26
    assert region(path, (72, 560, 300, 580)) > 0.02, "free text is drawn"


@pytest.mark.parametrize(
    ("rich", "words"),
    [
        (
            "/RC(<body><p>water <b>the</b> <i>fern</i>s</p><p>twice &amp; well</p></body>)",
            "water the ferns\ntwice & well",
        ),
        ("/RC<FEFF003C0070003E005A00FC0072006900630068003C002F0070003E>", "Zürich"),
        ("/Contents(plain words)/RC(<p>formatted words</p>)", "plain words"),
        ("/RC(<p> </p>)", ""),
    ],
)
@pytest.mark.parametrize("kind", ["/Text", "/FreeText/F 4/DA(/Helv 12 Tf 0 g)", "/Square"])
def test_a_note_with_formatted_words_alone(tmp_path: Path, kind: str, rich: str, words: str) -> None:
    path = notes(tmp_path / "a.pdf", f"/Subtype{kind}{rich}")
    text = pdf.page_text(path, 1)
    if kind.startswith("/FreeText"):  # MuPDF draws it, too
        assert set(words.split()) <= set(text.split())
    else:
        assert text.splitlines()[1:] == words.splitlines()


def test_bookmarks_are_text_of_the_page_that_they_lead_to(tmp_path: Path) -> None:
    import pymupdf

    document = pymupdf.open()
    for i in range(3):
        sheet = document.new_page()
        if i == 1:
            sheet.insert_text((72, 100), "Submarines and their crews")
    document.set_toc([[1, "The zeppelin", 1], [2, "Its gas", 1], [1, "Submarines", 2], [1, "Velocipedes", 3]])
    document.save(str(tmp_path / "a.pdf"))
    texts = [pdf.page_text(tmp_path / "a.pdf", n) for n in (1, 2, 3)]
    assert texts == ["The zeppelin\nIts gas", "Submarines and their crews", "Velocipedes"]
    with pdf.open_pdf(tmp_path / "a.pdf") as opened:
        assert [opened.needs_ocr(n) for n in (1, 2, 3)] == [True, False, True], "OCR may still look at them"


def test_files_inside_are_listed_handed_out_and_found(tmp_path: Path) -> None:
    inner = page(tmp_path / "inner.pdf", lines("The quarterly walrus census")).read_bytes()
    picture = b"\x89PNG\r\n\x1a\n" + bytes(40)
    names = "(inner.pdf)6 0 R(photo.png)8 0 R(remarks.txt)10 0 R"
    path = page(
        tmp_path / "a.pdf",
        lines("open this in a newer program"),
        "<</Type/Filespec/F(inner.pdf)/UF(inner.pdf)/EF<</F 7 0 R>>>>",
        stream(inner, "/Type/EmbeddedFile/Subtype/application#2Fpdf"),
        "<</Type/Filespec/F(photo.png)/UF(photo.png)/EF<</F 9 0 R>>>>",
        stream(picture, "/Type/EmbeddedFile"),
        "<</Type/Filespec/F(remarks.txt)/UF(remarks.txt)/EF<</F 11 0 R>>>>",
        stream("caf\xc3\xa9 by the pier", "/Type/EmbeddedFile"),
        "<</Type/Annot/Subtype/FileAttachment/Rect[72 600 90 620]/P 3 0 R/FS 13 0 R/Contents(the bill)>>",
        "<</Type/Filespec/F(bill.txt)/UF(bill.txt)/EF<</F 14 0 R>>>>",
        stream("forty ducats", "/Type/EmbeddedFile"),
        root=f"/Collection<</Type/Collection/View/D>>/Names<</EmbeddedFiles<</Names[{names}]>>>>",
        entries="/Annots[12 0 R]",
    )
    assert pdf.attachment_names(path) == ["inner.pdf", "photo.png", "remarks.txt", "bill.txt"]
    contents = [pdf.attachment(path, i) for i in range(4)]
    assert contents == [inner, picture, "café by the pier".encode(), b"forty ducats"]
    text = pdf.page_text(path, 1)
    assert "walrus" not in text and pdf.page_text(path, 2) == "inner.pdf\nThe quarterly walrus census"
    for found in ("inner.pdf", "photo.png", "café by the pier", "the bill", "forty ducats"):
        assert found in text
    with pytest.raises(MediaError, match="there is no file 4; the PDF holds 4"):
        pdf.attachment(path, 4)


def test_a_broken_file_inside_costs_itself_alone(tmp_path: Path) -> None:
    path = page(
        tmp_path / "a.pdf",
        lines("the cover"),
        "<</Type/Filespec/F(bad.pdf)/UF(bad.pdf)/EF<</F 7 0 R>>>>",
        stream(b"%PDF-1.7\n" + bytes(range(1, 256)) * 4, "/Type/EmbeddedFile"),
        root="/Names<</EmbeddedFiles<</Names[(bad.pdf)6 0 R]>>>>",
    )
    assert pdf.page_text(path, 1) == "the cover\nbad.pdf"


OFF = {
    "off": "/OFF[6 0 R]",
    "base state": "/BaseState/OFF/ON[7 0 R]",
    "usage": "/AS[<</Event/View/Category[/View]/OCGs[6 0 R 7 0 R]>>]",
}


@pytest.mark.parametrize("kind", OFF)
@pytest.mark.parametrize("how", ["marked", "membership", "drawing"])
def test_layers_that_are_off_are_left_out_of_text_and_picture(tmp_path: Path, kind: str, how: str) -> None:
    draft = "BT /F1 18 Tf 72 650 Td (draftword) Tj ET"
    marked = {"marked": f"/OC /L1 BDC {draft} EMC", "membership": f"/OC /M BDC {draft} EMC", "drawing": "/X1 Do"}[how]
    path = page(
        tmp_path / "a.pdf",
        f"BT /F1 18 Tf 72 700 Td (always) Tj ET {marked} /OC /L2 BDC BT /F1 18 Tf 72 600 Td (finalword) Tj ET EMC",
        "<</Type/OCG/Name(Draft)/Usage<</View<</ViewState/OFF>>>>>>",
        "<</Type/OCG/Name(Final)/Usage<</View<</ViewState/ON>>>>>>",
        "<</Type/OCMD/OCGs 6 0 R>>",
        stream(draft, "/Type/XObject/Subtype/Form/BBox[0 0 612 792]/OC 6 0 R/Resources<</Font<</F1 5 0 R>>>>"),
        root=f"/OCProperties<</OCGs[6 0 R 7 0 R]/D<</Order[6 0 R 7 0 R]{OFF[kind]}>>>>",
        resources="/Properties<</L1 6 0 R/L2 7 0 R/M 8 0 R>>/XObject<</X1 9 0 R>>",
    )
    assert pdf.page_text(path, 1).split() == ["always", "finalword"]
    assert [word[4] for word in pdf.page_words(path, 1)] == ["always", "finalword"]
    assert region(path, (72, 640, 200, 670)) == 0
    assert region(path, (72, 595, 200, 620)) > 0.02 and region(path, (72, 695, 200, 720)) > 0.02


def test_notes_on_a_layer_that_is_off_are_left_out(tmp_path: Path, engine: str) -> None:
    note = "<</Type/Annot/Subtype/Text/Rect[72 {y} 90 {z}]/OC {layer} 0 R/Contents({words})>>"
    path = page(
        tmp_path / "a.pdf",
        lines("always"),
        "<</Type/OCG/Name(Draft)>>",
        "<</Type/OCG/Name(Final)>>",
        note.format(y=600, z=620, layer=6, words="draftword"),
        note.format(y=500, z=520, layer=7, words="finalword"),
        root="/OCProperties<</OCGs[6 0 R 7 0 R]/D<</OFF[6 0 R]>>>>",
        entries="/Annots[8 0 R 9 0 R]",
    )
    expected = ["always", "finalword"] if engine == "pymupdf" else ["always", "draftword", "finalword"]
    assert pdf.page_text(path, 1).split() == expected, "docs/media.md tells the difference"


def test_words_that_a_stamp_alone_draws(tmp_path: Path, engine: str) -> None:
    stamp = "/Type/XObject/Subtype/Form/BBox[0 0 228 40]/Resources<</Font<</F1 5 0 R>>>>"
    path = page(
        tmp_path / "a.pdf",
        lines("Minutes"),
        "<</Type/Annot/Subtype/Stamp/Rect[72 600 300 640]/Contents(received)/AP<</N 7 0 R>>>>",
        stream("BT /F1 12 Tf 2 5 Td (VALPARAISO) Tj ET", stamp),
        entries="/Annots[6 0 R]",
    )
    words = set(pdf.page_text(path, 1).split())
    assert words == {"Minutes", "received"} | ({"VALPARAISO"} if engine == "pymupdf" else set())


def test_a_picture_of_a_page_with_a_form_is_drawn_after_its_text(tmp_path: Path) -> None:
    path = form(tmp_path / "a.pdf", "/FT/Tx/T(fav)/V(marmalade)")
    with pdf.open_pdf(path) as document:
        before = document.image(1, 400)
        assert "marmalade" in document.text(1)
        assert np.array_equal(before, document.image(1, 400))
