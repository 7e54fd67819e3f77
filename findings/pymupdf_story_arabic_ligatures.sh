#!/bin/sh
# PyMuPDF 1.28.2, a PDF written with `Story` and `DocumentWriter` from Arabic text that holds lam-alef and lam-lam-ha.
#
# Guess: the words that were written can be read back, at least after normalising presentation forms.
# Behaviour: the shaped glyphs are mapped to Latin letters (U+01C1, U+01C2, U+01C4) in the file, so MuPDF, PDFium and
# every other reader see wrong letters.
#
# Seen:
#   MuPDF: Latin letters in the Arabic text: ['U+01C1', 'U+01C2', 'U+01C4']
#   PDFium: Latin letters in the Arabic text: ['U+01C1', 'U+01C2', 'U+01C4']
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pymupdf==1.28.2 pypdfium2==5.15.2
cd "$place"
"$place/venv/bin/python" - <<'PY'
import io
import pymupdf, pypdfium2

file = io.BytesIO()
writer = pymupdf.DocumentWriter(file)
story = pymupdf.Story("<p>\u0633\u0644\u0627\u0645 \u0627\u0644\u0644\u0647</p>")
device = writer.begin_page(pymupdf.Rect(0, 0, 300, 200))
story.place(pymupdf.Rect(20, 20, 280, 180))
story.draw(device)
writer.end_page()
writer.close()
texts = {
    "MuPDF": pymupdf.open(stream=file.getvalue())[0].get_text(),
    "PDFium": pypdfium2.PdfDocument(file.getvalue())[0].get_textpage().get_text_range(),
}
for name, text in texts.items():
    latin = sorted({f"U+{ord(c):04X}" for c in text if 0x20 < ord(c) < 0x600})
    print(f"{name}: Latin letters in the Arabic text: {latin}")
    assert latin == ["U+01C1", "U+01C2", "U+01C4"]
PY
