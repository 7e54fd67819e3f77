#!/bin/sh
# onnxruntime 1.32.0 with onnx 1.23.2, the quantiser of matrix products to four bits.
#
# Guess: the tools of quantisation need onnx, and with it all of them can be imported.
# Behaviour: `quantize_dynamic` can; the module of `MatMulNBitsQuantizer` imports onnx_ir, which neither package declares.
#
# Seen:
#   quantize_dynamic: imported
#   MatMulNBitsQuantizer: No module named 'onnx_ir'
#   declared: False
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.2
"$place/venv/bin/python" - <<'PY'
from importlib.metadata import requires

from onnxruntime.quantization import quantize_dynamic

print("quantize_dynamic: imported")
try:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
except ModuleNotFoundError as error:
    missing = str(error)
print(f"MatMulNBitsQuantizer: {missing}")
declared = any("onnx_ir" in line or "onnx-ir" in line for name in ("onnxruntime", "onnx") for line in requires(name) or [])
print(f"declared: {declared}")
assert missing == "No module named 'onnx_ir'" and not declared
PY
