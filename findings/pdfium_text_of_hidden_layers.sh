#!/bin/sh
# PDFium (pypdfium2 5.15.2), words in optional content whose group is hidden by a membership dictionary.
#
# Guess: a text page holds what a reader of the page sees, as the rendered picture does.
# Behaviour: the renderer evaluates the policy (AllOn with one group off is not drawn); the text page returns the
# hidden words all the same.
#
# Seen:
#   AllOn, one group off: drawn False, in the text True
#   AnyOn, one group off: drawn True, in the text True
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pypdfium2==5.15.2 pillow==12.3.0
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

import pypdfium2

for policy, seen in (("AllOn", False), ("AnyOn", True)):
    page = pypdfium2.PdfDocument(document(f"/OCGs [6 0 R 7 0 R] /P /{policy}"))[0]
    picture = page.render().to_pil().convert("L").crop((0, 80, 300, 120))
    drawn = picture.getextrema()[0] < 128
    text = "layer words" in page.get_textpage().get_text_range()
    print(f"{policy}, one group off: drawn {drawn}, in the text {text}")
    assert drawn is seen and text
PY
