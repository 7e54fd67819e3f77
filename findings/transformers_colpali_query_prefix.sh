#!/bin/sh
# transformers 5.23.0 and colpali-engine 0.3.8, the classes that word a query for ColPali.
#
# Guess: for the same published weights both give a model the same words.
# Behaviour: the model's authors write "Query: " before a query, transformers' class writes "Question: " unless the
# checkpoint says otherwise. Nothing warns; scores change.
#
# Seen:
#   authors: "Query: "
#   transformers: "Question: "
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m pip download -q --no-deps transformers==5.23.0 colpali-engine==0.3.8
python3 - <<'PY'
import glob, re, zipfile

for who, wheel, path in (
    ("authors", "colpali_engine-*.whl", "colpali_engine/models/paligemma/colpali/processing_colpali.py"),
    ("transformers", "transformers-*.whl", "transformers/models/colpali/processing_colpali.py"),
):
    with zipfile.ZipFile(glob.glob(wheel)[0]) as package:
        text = package.read(path).decode()
    print(f"  {who}:", re.search(r'query_prefix: [^=]+= (".*?")', text).group(1))
PY
