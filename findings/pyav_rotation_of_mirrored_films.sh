#!/bin/sh
# PyAV 18.1.0, `VideoFrame.rotation` of films that a player mirrors (a display matrix in the MP4's track header, as a
# camera that looks at its owner may write it).
#
# Guess: a mirrored film has no rotation, or `rotation` cannot be told from none; turning by it never makes it worse.
# Behaviour: mirrored left to right counts as 180 degrees, exactly as upside down does, so that a program that turns
# frames by `rotation` shows it on its head. Top to bottom counts as 0. Only the frame's DISPLAYMATRIX tells.
#
# Seen:
#   as it is: 0
#   upside down: -180
#   mirrored left to right: -180
#   mirrored top to bottom: 0
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q av==18.1.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PY'
import fractions, struct

import av, numpy as np

with av.open("x.mp4", "w") as film:
    stream = film.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
    frame.pts, frame.time_base = 0, fractions.Fraction(1, 10)
    film.mux(stream.encode(frame))
    film.mux(stream.encode())
plain = open("x.mp4", "rb").read()
at = plain.index(b"tkhd") + 44

def matrix(a, d, x, y):
    return struct.pack(">9i", a << 16, 0, 0, 0, d << 16, 0, x << 16, y << 16, 1 << 30)

assert plain[at : at + 36] == matrix(1, 1, 0, 0)
cases = {
    "as it is": (matrix(1, 1, 0, 0), 0),
    "upside down": (matrix(-1, -1, 64, 48), -180),
    "mirrored left to right": (matrix(-1, 1, 64, 0), -180),
    "mirrored top to bottom": (matrix(1, -1, 0, 48), 0),
}
for name, (turned, expected) in cases.items():
    open("y.mp4", "wb").write(plain[:at] + turned + plain[at + 36 :])
    with av.open("y.mp4") as film:
        rotation = next(film.decode(video=0)).rotation
    print(f"{name}: {rotation}")
    assert rotation == expected
PY
