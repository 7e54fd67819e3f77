#!/bin/sh
# PyMuPDF 1.28.2, a list box in which several entries are chosen (/V is an array, ISO 32000-2, 12.7.5.4).
#
# Guess: `Widget.field_value` gives the chosen entries, or the first of them.
# Behaviour: it gives an empty string, as for a list in which nothing is chosen.
#
# Seen:
#   one chosen: 'red'
#   two chosen: ''
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pymupdf==1.28.2
cd "$place"
"$place/venv/bin/python" - <<'PY'
import pymupdf

values = []
for value in ("(red)", "[(red)(blue)]"):
    document = pymupdf.open()
    widget = pymupdf.Widget()
    widget.field_type, widget.field_name = pymupdf.PDF_WIDGET_TYPE_LISTBOX, "colours"
    widget.rect, widget.choice_values = pymupdf.Rect(50, 50, 200, 120), ["red", "green", "blue"]
    page = document.new_page()
    page.add_widget(widget)
    xref = next(iter(page.widgets())).xref
    document.xref_set_key(xref, "Ff", str(1 << 21))  # several may be chosen
    document.xref_set_key(xref, "V", value)
    (field,) = pymupdf.open(stream=document.tobytes())[0].widgets()
    values.append(field.field_value)
    print(f"{'two' if 'blue' in value else 'one'} chosen: {field.field_value!r}")
assert values == ["red", ""]
PY
