#!/bin/sh
# numpy 2.4.6 from its wheel (OpenBLAS 0.3.31), a vector times a matrix, on two or more cores.
#
# Guess: a product that is one part in a hundred larger costs about as much CPU time; a second thread is taken where it
# pays.
# Behaviour: from 460,800 numbers in the matrix on, a second thread is woken and spins while it waits for the next
# product. In a program that does other work between its products, one product then costs many times the CPU time.
# With OPENBLAS_NUM_THREADS=1 it does not, and is no slower.
#
# Seen (2 cores, busy):
#   1000 x 460: 0.3 ms of CPU a product
#   1000 x 512: 11.6 ms of CPU a product
#   1000 x 512, one thread: 0.3 ms of CPU a product
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q numpy==2.4.6
cd "$place"
cat > product.py <<'PY'
import sys
import time

import numpy as np

width = int(sys.argv[1])
vector, matrix = np.ones(1000, np.float32), np.ones((1000, width), np.float32)
vector @ matrix
spent = 0.0
for _ in range(50):
    started = time.process_time()
    vector @ matrix
    spent += time.process_time() - started
    started = time.process_time()
    time.sleep(0.005)  # other work, of another kind
    spent += time.process_time() - started
print(f"{spent / 50 * 1000:.1f}")
PY
cpu() { OMP_NUM_THREADS="$1" OPENBLAS_NUM_THREADS="$1" "$place/venv/bin/python" product.py "$2"; }
small=$(cpu 2 460) large=$(cpu 2 512) alone=$(cpu 1 512)
echo "1000 x 460: $small ms of CPU a product"
echo "1000 x 512: $large ms of CPU a product"
echo "1000 x 512, one thread: $alone ms of CPU a product"
"$place/venv/bin/python" -c "assert $large > 5 * $small and $large > 5 * $alone"
