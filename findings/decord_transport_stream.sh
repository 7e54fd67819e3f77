#!/bin/sh
# decord 0.6.0, the same frames as MP4 and as an MPEG transport stream.
#
# Guess: `len(reader)` frames can be read from both.
# Behaviour: of the transport stream it counts all frames and cannot read the last ones: it rewinds until a limit and
# raises that the end "might have corrupted frames". FFmpeg itself (PyAV) decodes all of them.
#
# Seen:
#   x.mp4: PyAV 50 frames, decord counts 50, reads 50
#   x.ts: PyAV 50 frames, decord counts 50, reads fewer: True
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q decord==0.6.0 av==18.1.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PY'
import fractions
import av, decord, numpy as np

for name in ("x.mp4", "x.ts"):
    with av.open(name, "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 5, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, fractions.Fraction(1, 25)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    with av.open(name) as film:
        whole = sum(1 for _ in film.decode(video=0))
    reader = decord.VideoReader(name)
    read = 0
    try:
        for number in range(len(reader)):
            reader[number]
            read += 1
    except decord.DECORDError:
        pass
    result = f"reads {read}" if read == len(reader) else f"reads fewer: {read < len(reader)}"
    print(f"{name}: PyAV {whole} frames, decord counts {len(reader)}, {result}")
    assert whole == len(reader) == 50 and (read == 50) == (name == "x.mp4")
PY
