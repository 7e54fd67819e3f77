#!/bin/sh
# PDFium (pypdfium2 5.15.2), the same two lines on pages whose only difference is /Rotate.
#
# Guess: /Rotate turns the page for display; the order of the extracted lines stays that of the page's content.
# Behaviour: with /Rotate 90 the lines come in reverse; with 180 and 270 they do not. MuPDF keeps the order.
#
# Seen:
#   Rotate 0: PDFium first line | second line; MuPDF first line | second line
#   Rotate 90: PDFium second line | first line; MuPDF first line | second line
#   Rotate 180: PDFium first line | second line; MuPDF first line | second line
#   Rotate 270: PDFium first line | second line; MuPDF first line | second line
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pypdfium2==5.15.2 pymupdf==1.28.2
cd "$place"
"$place/venv/bin/python" - <<'PY'
import pymupdf, pypdfium2

made = pymupdf.open()
for rotation in (0, 90, 180, 270):
    page = made.new_page(width=300, height=300)
    page.insert_text((50, 100), "first line", fontsize=12)
    page.insert_text((50, 120), "second line", fontsize=12)
    page.set_rotation(rotation)
content = made.tobytes()
ordered = ["first line", "second line"]
for number, page in enumerate(pypdfium2.PdfDocument(content)):
    lines = page.get_textpage().get_text_range().split("\r\n")
    others = made[number].get_text().split("\n")[:2]
    print(f"Rotate {90 * number}: PDFium {' | '.join(lines)}; MuPDF {' | '.join(others)}")
    assert lines == (ordered[::-1] if number == 1 else ordered) and others == ordered
PY
