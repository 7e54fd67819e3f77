#!/bin/sh
# tokenizers 0.23.3, a Unigram vocabulary of 128,000 pieces, as multilingual models have.
#
# Guess: once loaded it takes a few times the size of its file; a BPE vocabulary of the same pieces and size is no smaller.
# Behaviour: it takes more than twenty times its file, as each node of the trie of its pieces holds a hash map. BPE with the
#   same pieces takes a fraction of that.
#
# Seen (Linux, x86-64):
#   Unigram: file 7 MB, memory 155 MB
#   BPE: file 3 MB, memory 38 MB
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q tokenizers==0.23.3
cat > "$place/measure.py" <<'PY'
"""Prints "file MB, memory MB" of a tokenizer, in a process of its own."""
import random
import re
import sys
from pathlib import Path

from tokenizers import Tokenizer, models


def resident():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


kind, file = sys.argv[1], Path(sys.argv[2])
if len(sys.argv) > 3:
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = list(dict.fromkeys("".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(140_000)))[:128_000]
    if kind == "Unigram":
        model = models.Unigram([("<unk>", 0.0), *((piece, -rng.uniform(5, 20)) for piece in pieces)], 0)
    else:
        model = models.BPE({piece: n for n, piece in enumerate(["<unk>", *pieces])}, [], unk_token="<unk>")
    Tokenizer(model).save(str(file))
else:
    before = resident()
    tokenizer = Tokenizer.from_file(str(file))
    print(round(file.stat().st_size / 2**20), round(resident() - before))
PY
for kind in Unigram BPE; do
    "$place/venv/bin/python" "$place/measure.py" $kind "$place/$kind.json" make
    set -- $("$place/venv/bin/python" "$place/measure.py" $kind "$place/$kind.json")
    echo "$kind: file $1 MB, memory $2 MB"
    eval "file_$kind=$1 memory_$kind=$2"
done
[ "$memory_Unigram" -gt $((10 * file_Unigram)) ] && [ "$memory_Unigram" -gt $((2 * memory_BPE)) ]
