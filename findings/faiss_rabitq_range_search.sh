#!/bin/sh
# faiss-cpu 1.15.1, `range_search` of an IVF index with RaBitQ codes: plain, and in FastScan's layout.
#
# Guess: `range_search` gives the ids whose distance in a full `search` is within the radius, as all other indexes do.
# Behaviour: the plain one does. The FastScan one compares with other numbers than `search` gives for the same query and
# vectors: squared distances from below zero on, so that nearly every vector of the probed lists is within the radius.
#
# Seen (within the radius by search, by range_search, its least squared distance; 2000 vectors, all lists probed):
#   IVF8,Flat: 250, 250, 0.00
#   IVF8,RaBitQ: 250, 250, 0.00
#   IVF8,RaBitQfs: 250, 1999, -0.39
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q faiss-cpu==1.15.1 numpy==2.4.6
cd "$place"
OMP_NUM_THREADS=1 "$place/venv/bin/python" - <<'PY'
import faiss, numpy as np

rng = np.random.default_rng(0)
centres = rng.standard_normal((8, 64))
vectors = (np.repeat(centres, 250, 0) + 0.2 * rng.standard_normal((2000, 64))).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
radius = 0.8  # of the query's own cluster all, of the others none
for name in ("IVF8,Flat", "IVF8,RaBitQ", "IVF8,RaBitQfs"):
    index = faiss.index_factory(64, name, faiss.METRIC_L2)
    index.train(vectors)
    index.add(vectors)
    index.nprobe = 8
    searched = int((index.search(vectors[:1], 2000)[0] < radius).sum())
    limits, distances, _ = index.range_search(vectors[:1], radius)
    ranged = int(limits[1])
    print(f"{name}: {searched}, {ranged}, {distances.min():.2f}")
    fast = name.endswith("fs")
    assert searched == 250 and (ranged > 1900 if fast else ranged == 250) and (distances.min() < -0.1) == fast
PY
