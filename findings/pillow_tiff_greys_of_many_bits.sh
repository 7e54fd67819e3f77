#!/bin/sh
# Pillow 12.3.0, grey TIFFs of more than 8 bits.
#
# Guess: a picture that opens shows what was stored, whatever the order of bytes, compression or sense of its numbers.
# Behaviour: three kinds come out wrong, without an error. 16 bits with "0 is white" are not inverted (with 8 bits they
# are). Unsigned 32 bits come out signed, so that the brighter half is negative. Floats with the highest byte first are
# swapped twice if they are compressed: libtiff has swapped them already. With the bytes the other way round the first two
# are refused.
#
# Seen:
#   0 is white, 8 bits: a white pixel is 255 of 255
#   0 is white, 16 bits: a white pixel is 0 of 65535
#   unsigned 32 bits: 4000000000 comes out as -294967296
#   a compressed float, 1.0: out of [0, 1]: True
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pillow==12.3.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PY'
import io, struct, zlib
import numpy as np
from PIL import Image

def tiff(values, photometric, number_type, order="<", zipped=False):
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if zipped else data
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 8 * values.dtype.itemsize), (259, 8 if zipped else 1), (262, photometric),
            (273, 8), (277, 1), (278, height), (279, len(data)), (339, number_type)]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    data += b"\0" * (len(data) % 2)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    return head + data + struct.pack(order + "H", len(tags)) + entries + bytes(4)

def shown(*args, **more):
    return np.asarray(Image.open(io.BytesIO(tiff(*args, **more))))[0, 0]

zeros = np.zeros((16, 16))
small, large = shown(zeros.astype("u1"), 0, 1), shown(zeros.astype("u2"), 0, 1)
print(f"0 is white, 8 bits: a white pixel is {small} of 255")
print(f"0 is white, 16 bits: a white pixel is {large} of 65535")
signed = shown(np.full((16, 16), 4_000_000_000, "u4"), 1, 1)
print(f"unsigned 32 bits: 4000000000 comes out as {signed}")
swapped = shown(np.ones((16, 16), "f4"), 1, 3, order=">", zipped=True)
print(f"a compressed float, 1.0: out of [0, 1]: {not 0.5 < swapped <= 1}")
assert small == 255 and large == 0 and signed < 0 and not 0.5 < swapped <= 1
PY
