#!/bin/sh
# MuPDF 1.28.2 (PyMuPDF), optional content that hangs on a membership dictionary (ISO 32000-2, 8.11.2.2).
# Group a is on and group b is off.
#
# Guess: the policies AllOn, AnyOn, AnyOff, AllOff and visibility expressions (VE) are evaluated as the standard says.
# Behaviour: AllOn shows as soon as one group is on, AnyOff hides as soon as one is on (so they act as AnyOn and
# AllOff do), and a VE is not looked at. Text extraction follows what is drawn.
#
# Seen (shown / by the standard):
#   AllOn: True / False
#   AnyOn: True / True
#   AnyOff: False / True
#   AllOff: False / False
#   VE [/Not a]: True / False
#   VE [/And a b]: True / False
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pymupdf==1.28.2
cd "$place"
"$place/venv/bin/python" - <<'PY'
def document(content: str) -> bytes:
    """A page with words of its own and words in optional content; group a is on, group b is off."""
    stream = "BT /F 18 Tf 20 150 Td (page words) Tj ET /OC /M BDC BT /F 18 Tf 20 100 Td (layer words) Tj ET EMC"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R /OCProperties << /OCGs [6 0 R 7 0 R] /D << /ON [6 0 R] /OFF [7 0 R] >> >> >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R "
        "/Resources << /Font << /F 5 0 R >> /Properties << /M 8 0 R >> >> >>",
        f"<< /Length {len(stream)} >> stream\n{stream}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        "<< /Type /OCG /Name (a) >>",
        "<< /Type /OCG /Name (b) >>",
        f"<< /Type /OCMD {content} >>",
    ]
    out, places = b"%PDF-1.7\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj {text} endobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    return out + f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF".encode()

import pymupdf

both = "/OCGs [6 0 R 7 0 R]"
cases = {
    "AllOn": (both + " /P /AllOn", True, False),
    "AnyOn": (both + " /P /AnyOn", True, True),
    "AnyOff": (both + " /P /AnyOff", False, True),
    "AllOff": (both + " /P /AllOff", False, False),
    "VE [/Not a]": (both + " /VE [/Not 6 0 R]", True, False),
    "VE [/And a b]": (both + " /VE [/And 6 0 R 7 0 R]", True, False),
}
for name, (content, seen, standard) in cases.items():
    page = pymupdf.open(stream=document(content))[0]
    drawn = min(page.get_pixmap(clip=(0, 80, 300, 120)).samples) < 128
    assert drawn == ("layer words" in page.get_text())
    print(f"{name}: {drawn} / {standard}")
    assert drawn == seen
PY
