#!/bin/sh
# pypdfium2 5.15.2 and PyMuPDF 1.28.2, a file attached to a PDF. Its name and its bytes stand each under F, UF or both
# (ISO 32000, tables 44 and 45).
#
# Guess: a reader takes the bytes from whichever key has them.
# Behaviour: PDFium takes them only from a key that has a name too, `embfile_get` only from F. MuPDF's own call,
# `mupdf.pdf_load_embedded_file_contents`, fails for a name under F with bytes under UF alone. All list the file.
#
# Seen (name | bytes: pypdfium2, embfile_get, MuPDF's own call):
#   F    | F: b'hello', b'hello', b'hello'
#   F    | UF: PdfiumError, FzErrorFormat, AssertionError
#   UF   | F: PdfiumError, b'hello', b'hello'
#   UF   | UF: b'hello', FzErrorFormat, b'hello'
#   F UF | F: b'hello', b'hello', b'hello'
#   F UF | UF: b'hello', FzErrorFormat, b'hello'
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pypdfium2==5.15.2 pymupdf==1.28.2
"$place/venv/bin/python" - <<'PY'
import pymupdf
import pypdfium2

core = pymupdf.mupdf

def attempt(call):
    try:
        return str(call())
    except Exception as error:
        return type(error).__name__

def outcome(names, streams):
    document = pymupdf.open()
    document.new_page()
    stream, entry, tree = (document.get_new_xref() for _ in range(3))
    document.update_object(stream, "<< /Type /EmbeddedFile >>")
    document.update_stream(stream, b"hello")
    keys = " ".join(f"/{key} (a.txt)" for key in names)
    places = " ".join(f"/{key} {stream} 0 R" for key in streams)
    document.update_object(entry, f"<< /Type /Filespec {keys} /EF << {places} >> >>")
    document.update_object(tree, f"<< /Names [(a.txt) {entry} 0 R] >>")
    document.xref_set_key(document.pdf_catalog(), "Names", f"<< /EmbeddedFiles {tree} 0 R >>")
    data = document.tobytes()
    file, again = pypdfium2.PdfDocument(data).get_attachment(0), pymupdf.open(stream=data)
    assert file.get_name() == "a.txt" and again.embfile_count() == 1
    inner = again.this
    if isinstance(inner, core.FzDocument):
        inner = core.pdf_document_from_fz_document(inner)
    first = core.pdf_dict_get_val(core.pdf_load_name_tree(inner, core.pdf_new_name("EmbeddedFiles")), 0)
    seen = (
        attempt(lambda: bytes(file.get_data())),
        attempt(lambda: bytes(again.embfile_get(0))),
        attempt(lambda: bytes(core.pdf_load_embedded_file_contents(first).fz_buffer_extract_copy())),
    )
    print(f"{' '.join(names):4} | {' '.join(streams)}: {', '.join(seen)}")
    return seen

hello = "b'hello'"
refused = {
    ("F", "UF"): (0, 1, 2),
    ("UF", "F"): (0,),
    ("UF", "UF"): (1,),
    ("F UF", "UF"): (1,),
}
for names in ("F", "UF", "F UF"):
    for key in ("F", "UF"):
        seen = outcome(names.split(), [key])
        assert [n for n in range(3) if seen[n] != "b'hello'"] == list(refused.get((names, key), ()))
PY
