#!/bin/sh
# sentence-transformers 6.2.0, a model whose prompts are called "query" and "passage".
#
# Guess: `encode_document` uses the prompt "passage" where there is none called "document": its docstring names
# "document", "passage" and "corpus" as candidates, checked in that order.
# Behaviour: every model gets an empty prompt "document" by default, which is found first. The passage prompt is never
# used, without a word, unless `prompt_name="passage"` is given.
#
# Seen:
#   prompts: {'query': 'query ', 'document': '', 'passage': 'passage '}
#   encode_document("cat") has the prompt in it: False
#   encode("cat", prompt_name="passage") has it: True
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 sentence-transformers==6.2.0
cd "$place"
"$place/venv/bin/python" - <<'PY'
import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

words = {"[UNK]": 0, "passage": 1, "query": 2, "cat": 3}
tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
bag_of_words = StaticEmbedding(tokenizer, embedding_weights=np.eye(4, dtype=np.float32))
model = SentenceTransformer(modules=[bag_of_words], prompts={"query": "query ", "passage": "passage "})
print(f"prompts: {model.prompts}")
by_default = bool(model.encode_document("cat")[words["passage"]])
by_name = bool(model.encode("cat", prompt_name="passage")[words["passage"]])
print(f'encode_document("cat") has the prompt in it: {by_default}')
print(f'encode("cat", prompt_name="passage") has it: {by_name}')
assert by_name and not by_default
PY
