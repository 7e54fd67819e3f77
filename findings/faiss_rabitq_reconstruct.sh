#!/bin/sh
# faiss-cpu 1.15.1, RaBitQ with more than one bit a dimension (`RaBitQ4` in the index factory), and `reconstruct`.
#
# Guess: the vectors that `reconstruct` gives are as good as the codes: with 8 bits a dimension nearly the ones added.
# Behaviour: they are made from the first bit alone, whatever the number of bits. `search` uses all of them; so an order
# by reconstructed vectors (re-ranking, an export to another index) is that of one bit.
#
# Seen (bytes a vector, mean cosine of reconstructed and added, share of true ten neighbours found by search):
#   RaBitQ: 40, 0.80, 0.38
#   RaBitQ4: 148, 0.80, 0.89
#   RaBitQ8: 276, 0.80, 0.99
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q faiss-cpu==1.15.1 numpy==2.4.6
cd "$place"
OMP_NUM_THREADS=1 "$place/venv/bin/python" - <<'PY'
import faiss, numpy as np

rng = np.random.default_rng(0)
vectors = rng.standard_normal((2000, 256)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
queries = vectors[:100] + 0.05 * rng.standard_normal((100, 256)).astype(np.float32)
nearest = np.argsort(-(queries @ vectors.T))[:, :10]
cosines, found = {}, {}
for name in ("RaBitQ", "RaBitQ4", "RaBitQ8"):
    index = faiss.index_factory(256, name, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    back = index.reconstruct_n(0, len(vectors))
    cosines[name] = ((back * vectors).sum(1) / np.linalg.norm(back, axis=1)).mean()
    found[name] = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(index.search(queries, 10)[1], nearest)])
    print(f"{name}: {index.sa_code_size()}, {cosines[name]:.2f}, {found[name]:.2f}")
assert np.ptp(list(cosines.values())) < 1e-6 and found["RaBitQ8"] > 0.95 > 0.6 > found["RaBitQ"]
PY
