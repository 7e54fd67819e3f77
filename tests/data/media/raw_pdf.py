"""PDFs written object by object, for what no library writes as old and odd programs do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FONT = "<</Type/Font/Subtype/Type1/BaseFont/Times-Roman/Encoding/WinAnsiEncoding>>"


def stream(content: str | bytes, entries: str = "") -> bytes:
    """A stream object."""
    data = content.encode("latin-1") if isinstance(content, str) else content
    return f"<<{entries}/Length {len(data)}>>\nstream\n".encode("latin-1") + data + b"\nendstream"


def write(path: Path, objects: Sequence[str | bytes]) -> Path:
    """A PDF of these objects, numbered from 1; the first is the catalogue."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        data = body.encode("latin-1") if isinstance(body, str) else body
        out += b"%d 0 obj\n%s\nendobj\n" % (number, data)
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, xref)
    path.write_bytes(out)
    return path


def page(
    path: Path,
    content: str,
    *more: str | bytes,
    root: str = "",
    entries: str = "",
    resources: str = "",
    font: str | bytes = FONT,
    box: str = "0 0 612 792",
) -> Path:
    """A PDF of one page that draws `content` with the font F1. `more` are objects from 6 on; `root`, `entries`
    and `resources` are entries of the catalogue, of the page and of its resources."""
    return write(
        path,
        [
            f"<</Type/Catalog/Pages 2 0 R{root}>>",
            "<</Type/Pages/Kids[3 0 R]/Count 1>>",
            f"<</Type/Page/Parent 2 0 R/MediaBox[{box}]/Resources<</Font<</F1 5 0 R>>{resources}>>"
            f"/Contents 4 0 R{entries}>>",
            stream(content),
            font,
            *more,
        ],
    )


def lines(*texts: str, size: int = 18, more: str = "") -> str:
    """Lines of text from the top of the page, each a string of the PDF ("\\\\)" for a bracket)."""
    shown = " T* ".join(f"({text}) Tj" for text in texts)
    return f"BT /F1 {size} Tf {size * 1.25} TL {more} 72 700 Td {shown} ET"
