#!/bin/sh
# transformers 5.23.0, `ColPaliProcessor.score_retrieval`: late-interaction scores of pages of different lengths.
#
# Guess: the score of a query and a page depends on these two alone; what pads the shorter pages of a batch is left out
# of the maximum over a page's vectors.
# Behaviour: pages are filled with zero vectors and the maximum is taken over those too. Where every vector of a page is
# unlike a token of the query (negative products), the zero wins. So a page scores higher beside a longer one, and the
# order of pages may depend on `batch_size`.
#
# Seen:
#   one page a batch: [-0.8, -0.5]
#   both in one batch: [0.0, -0.5]
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 pillow==12.3.0
cd "$place"
"$place/venv/bin/python" - <<'PY'
import torch
from transformers import ColPaliProcessor

query = [torch.tensor([[1.0, 0.0]])]
pages = [torch.tensor([[-0.8, 0.6]]), torch.tensor([[-0.5, 0.1], [-0.9, 0.1], [-0.7, 0.1]])]
score = ColPaliProcessor.score_retrieval
alone, together = (
    [round(number, 3) for number in score(None, query, pages, batch_size=size)[0].tolist()] for size in (1, 2)
)
print(f"one page a batch: {alone}")
print(f"both in one batch: {together}")
assert alone == [-0.8, -0.5] and together == [0.0, -0.5]
PY
