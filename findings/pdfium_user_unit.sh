#!/bin/sh
# pypdfium2 5.15.2 and PyMuPDF 1.28.2, a page with a UserUnit (ISO 32000, table 31), as large plans have: its numbers
# count in units of 1/72 inch times the UserUnit.
#
# Guess: a reader's page size is in points of 1/72 inch, UserUnit counted in, so that a resolution in dots an inch holds.
# Behaviour: MuPDF multiplies. PDFium does not look at it: size, pictures and boxes are those of a page without one, so
# that a plan of 100 inches is drawn, "at 72 dpi", with 1440 pixels.
#
# Seen (UserUnit: width in points, pixels at scale 1):
#   1: MuPDF 1440, 1440; PDFium 1440, 1440
#   5: MuPDF 7200, 7200; PDFium 1440, 1440
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pypdfium2==5.15.2 pymupdf==1.28.2
cd "$place"
"$place/venv/bin/python" - <<'PY'
import pymupdf, pypdfium2

for unit, expected in ((1, 1440), (5, 7200)):
    document = pymupdf.open()
    page = document.new_page(width=1440, height=100)
    document.xref_set_key(page.xref, "UserUnit", str(unit))
    file = document.tobytes()
    mupdf, pdfium = pymupdf.open(stream=file)[0], pypdfium2.PdfDocument(file)[0]
    by_mupdf = round(mupdf.rect.width), mupdf.get_pixmap().width
    by_pdfium = round(pdfium.get_width()), pdfium.render(scale=1).width
    print(f"{unit}: MuPDF {by_mupdf[0]}, {by_mupdf[1]}; PDFium {by_pdfium[0]}, {by_pdfium[1]}")
    assert by_mupdf == (expected, expected) and by_pdfium == (1440, 1440)
PY
