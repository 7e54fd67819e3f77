#!/bin/sh
# Pillow 12.3.0, a TIFF whose palette holds numbers up to 255 where the format means 65,535, as old programs wrote them.
#
# Guess: shown as other viewers do, which see by its largest number how a palette is meant (libtiff's tools do).
# Behaviour: each number is divided by 256: all of the picture is black. tifffile gives the palette as it is stored.
#
# Seen:
#   palette up to 65535: Pillow's brightest 255
#   palette up to 255: Pillow's brightest 0
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pillow==12.3.0 numpy==2.4.6 tifffile==2026.3.3
cd "$place"
"$place/venv/bin/python" - <<'PY'
import numpy as np
import tifffile
from PIL import Image

indexes = np.arange(256, dtype=np.uint8).reshape(16, 16)
seen = {}
for most in (65535, 255):
    ramp = np.linspace(0, most, 256).round().astype(np.uint16)
    tifffile.imwrite("x.tif", indexes, photometric="palette", colormap=np.stack([ramp, ramp, ramp]))
    seen[most] = int(np.asarray(Image.open("x.tif").convert("RGB")).max())
    print(f"palette up to {most}: Pillow's brightest {seen[most]}")
assert seen == {65535: 255, 255: 0}
PY
