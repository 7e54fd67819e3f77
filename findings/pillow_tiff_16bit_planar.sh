#!/bin/sh
# Pillow 12.3.0, an uncompressed TIFF of 16 bits a channel whose colours lie in planes of their own.
#
# Guess: it is decoded as the same picture with interleaved colours is, or refused.
# Behaviour: it opens without a warning and the pixels are wrong (about a quarter of the range on average). The
# same planes compressed with deflate are right, since libtiff then unpacks them.
#
# Seen:
#   interleaved: mean error 0.0
#   planes, deflate: mean error 0.0
#   planes, uncompressed: mean error 64.1
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pillow==12.3.0 numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6
cd "$place"
"$place/venv/bin/python" - <<'PY'
import numpy as np, tifffile
from PIL import Image

ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
image = np.stack([ramp, ramp[:, ::-1], np.full_like(ramp, 32768)], -1)
planes = np.moveaxis(image, -1, 0)
errors = {}
for name, pixels, how in (
    ("interleaved", image, {}),
    ("planes, deflate", planes, {"planarconfig": "separate", "compression": "deflate"}),
    ("planes, uncompressed", planes, {"planarconfig": "separate"}),
):
    tifffile.imwrite("x.tif", pixels, photometric="rgb", **how)
    read = np.asarray(Image.open("x.tif").convert("RGB")).astype(int)
    errors[name] = abs(read - (image >> 8)).mean()
    print(f"{name}: mean error {errors[name]:.1f}")
assert errors["interleaved"] == errors["planes, deflate"] == 0
assert errors["planes, uncompressed"] > 30
PY
