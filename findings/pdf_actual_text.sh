#!/bin/sh
# pypdfium2 5.15.2 and PyMuPDF 1.28.2, ActualText: the text that stands for what a span of a page draws (ISO 32000-2,
# 14.9.4). Writers leave it empty for what should not be copied, and nest spans.
#
# Guess: where both follow ActualText, the span's text is the ActualText: nothing where it is empty, the outer one where
# one is in another.
# Behaviour: both follow a plain one. An empty one PDFium passes over, and gives the drawn letters. Of a nested pair both
# give a mixture of the two, each its own. MuPDF deals the letters out among the drawn ones, so that the replacement of
# a word that is divided at a line's end is divided, too.
#
# Seen (MuPDF; PDFium):
#   plain: 'real end'; 'real end'
#   empty: ' end'; 'drawn end'
#   nested: 'outer innerter end'; 'outerinnerouter end'
#   over two lines: 're\nal end'; 'real\n end'
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pypdfium2==5.15.2 pymupdf==1.28.2
cd "$place"
"$place/venv/bin/python" - <<'PY'
import pymupdf, pypdfium2

def span(text, content):
    return f"/Span << /ActualText ({text}) >> BDC {content} EMC "

def document(content):
    made = pymupdf.open()
    page = made.new_page(width=300, height=200)
    page.insert_text((-50, -50), "x", fontname="helv")  # brings the font, off the page
    made.update_stream(page.get_contents()[0], f"BT /helv 18 Tf 20 150 Td {content}( end) Tj ET".encode())
    return made.tobytes()

cases = {
    "plain": (span("real", "(drawn) Tj"), "real end", "real end"),
    "empty": (span("", "(drawn) Tj"), " end", "drawn end"),
    "nested": (
        span("outer", "(gl) Tj " + span("inner", "(yph) Tj") + "(x) Tj"), "outer innerter end", "outerinnerouter end"
    ),
    "over two lines": (span("real", "(gl) Tj 0 -20 Td (yph) Tj"), "re\nal end", "real\n end"),
}
for name, (content, *expected) in cases.items():
    file = document(content)
    mupdf = pymupdf.open(stream=file)[0].get_text().removesuffix("\n")
    pdfium = pypdfium2.PdfDocument(file)[0].get_textpage().get_text_range().replace("\r\n", "\n")
    print(f"{name}: {mupdf!r}; {pdfium!r}")
    assert [mupdf, pdfium] == expected
PY
