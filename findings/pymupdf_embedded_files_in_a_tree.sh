#!/bin/sh
# PyMuPDF 1.28.2, files attached to a PDF whose name tree has branches.
#
# Guess: `embfile_names` lists each embedded file, however the writer laid out the name tree (PDF 32000, 7.9.6: a root
# may hold `Names` or `Kids`).
# Behaviour: only a `Names` array in the root is read; files under `Kids` are missed without a word, though MuPDF
# itself finds them.
#
# Seen:
#   Names in the root: ['a.txt', 'b.txt']
#   the same under Kids: []
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pymupdf==1.28.2
"$place/venv/bin/python" - <<'PY'
import pymupdf

document = pymupdf.open()
document.new_page()
for name in ("a.txt", "b.txt"):
    document.embfile_add(name, name.encode(), filename=name)
flat = document.tobytes()
catalog = document.pdf_catalog()
names = document.xref_get_key(catalog, "Names/EmbeddedFiles/Names")
if names[0] != "array":
    root = int(document.xref_get_key(catalog, "Names/EmbeddedFiles")[1].split()[0])
    names = document.xref_get_key(root, "Names")
leaf = document.get_new_xref()
document.update_object(leaf, f"<< /Limits [(a.txt) (b.txt)] /Names {names[1]} >>")
tree = document.get_new_xref()
document.update_object(tree, f"<< /Kids [{leaf} 0 R] >>")
document.xref_set_key(catalog, "Names/EmbeddedFiles", f"{tree} 0 R")
plain = pymupdf.open(stream=flat).embfile_names()
branched = pymupdf.open(stream=document.tobytes()).embfile_names()
print("Names in the root:", plain)
print("the same under Kids:", branched)
assert plain == ["a.txt", "b.txt"] and branched == []
PY
