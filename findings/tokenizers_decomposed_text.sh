#!/bin/sh
# tokenizers 0.23.3 and sentencepiece 0.2.3, the normaliser of one SentencePiece model (nmt_nfkc, as XLM-R, T5 and
# SigLIP have it): SentencePiece's own, and the `Precompiled` that tokenizer.json files take from it.
#
# Guess: both are the same function of the text.
# Behaviour: SentencePiece applies the longest rule that fits, from each character on. `Precompiled` puts in place of a
# whole grapheme of at most five bytes what its shortest beginning gives, and takes a longer one character by character.
# So in decomposed text, as names of files from a Mac are, Vietnamese letters lose their second mark, and Korean and
# Japanese stay decomposed: other pieces, and other vectors, than the model was trained with. NFC comes out alike.
#
# Seen (decomposed text, by SentencePiece: by tokenizers):
#   café: café
#   tiếng Việt: tiêng Viẹt
#   한국: still decomposed
#   がっこう: still decomposed
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2
cd "$place"
"$place/venv/bin/python" - <<'PY'
import io, unicodedata

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import normalizers

file = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["a cat on a mat"] * 20), model_writer=file, vocab_size=30, hard_vocab_limit=False,
    normalization_rule_name="nmt_nfkc", minloglevel=2,
)
processor = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
model = sentencepiece_model_pb2.ModelProto.FromString(file.getvalue())
precompiled = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)

whole = {"café": "café", "tiếng Việt": "tiêng Viẹt", "한국": None, "がっこう": None}
for text, expected in whole.items():
    decomposed = unicodedata.normalize("NFD", text)
    own = processor.normalize(decomposed).replace("\u2581", " ").strip()
    other = precompiled.normalize_str(decomposed)
    print(f"{own}: {'still decomposed' if other == decomposed else other}")
    assert own == text and other == (expected or decomposed) and precompiled.normalize_str(text) == text
PY
