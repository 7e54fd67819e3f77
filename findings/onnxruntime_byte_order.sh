#!/bin/sh
# onnxruntime 1.32.0, an input array in the other byte order than the machine's (`>f4`), as `numpy.frombuffer` and readers
# of TIFF, FITS and IDX files give it.
#
# Guess: it is converted, as strided arrays are, or refused, as float64 is where float32 is meant.
# Behaviour: its bytes are taken as the machine's own. No error; the network computes with other numbers.
#
# Seen (x + 0 for x = 0, 1, 2, 3):
#   <f4: [0.0, 1.0, 2.0, 3.0]
#   strided: [0.0, 1.0, 2.0, 3.0]
#   >f4: [0.0, 4.6006e-41, 8.9683e-44, 2.3049e-41]
#   >i8: [0, 72057594037927936, 144115188075855872, 216172782113783808]
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PY'
import numpy as np, onnxruntime
from onnx import TensorProto, helper

def session(kind):
    ends = [helper.make_tensor_value_info(name, kind, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString())

floats, integers = session(TensorProto.FLOAT), session(TensorProto.INT64)
cases = {
    "<f4": (floats, np.arange(4, dtype="<f4")),
    "strided": (floats, np.arange(0, 4, 0.5, dtype="<f4")[::2]),
    ">f4": (floats, np.arange(4, dtype=">f4")),
    ">i8": (integers, np.arange(4, dtype=">i8")),
}
for name, (network, array) in cases.items():
    (out,) = network.run(None, {"x": array})
    print(f"{name}: {[float(f'{value:.5g}') if out.dtype.kind == 'f' else value for value in out.tolist()]}")
    as_bytes = array.view(array.dtype.newbyteorder("="))
    assert (out == as_bytes).all() and (out == array).all() == (not name.startswith(">"))
PY
