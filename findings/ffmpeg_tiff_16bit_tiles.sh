#!/bin/sh
# PyAV 18.1.0 (the FFmpeg in its wheel), a TIFF of 16 bits a channel that is stored in tiles.
#
# Guess: decoded like the same picture in strips, or an error.
# Behaviour: a frame of the right size and format comes, without an error, and its pixels are wrong.
#
# Seen:
#   strips: rgb48le, mean error 0.3
#   tiles: rgb48le, mean error 127.7
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q av==18.1.0 numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6
cd "$place"
"$place/venv/bin/python" - <<'PY'
import av, numpy as np, tifffile

ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
image = np.stack([ramp, ramp[:, ::-1], np.full_like(ramp, 32768)], -1)
errors = {}
for name, how in (("strips", {}), ("tiles", {"tile": (16, 16)})):
    tifffile.imwrite("x.tif", image, photometric="rgb", **how)
    frame = next(av.open("x.tif").decode(video=0))
    errors[name] = abs(frame.to_ndarray(format="rgb24").astype(int) - (image >> 8)).mean()
    print(f"{name}: {frame.format.name}, mean error {errors[name]:.1f}")
assert errors["strips"] < 1 and errors["tiles"] > 50
PY
