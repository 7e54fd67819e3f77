#!/bin/sh
# SVT-AV1 as PyAV 18.1.0's wheel brings it (libsvtav1), a film of three small frames encoded by root, as in a container.
#
# Guess: an encoder may ask for priorities of threads of its own.
# Behaviour: the *calling* thread is real-time (SCHED_FIFO, priority 99) from then on, after the encoder is closed too.
# Threads and children that it starts inherit that; on two cores everything else stands still meanwhile. libx264 leaves
# the caller as it was. Who is not root sees no change.
#
# Seen, as root:
#   libx264: policy 0, priority 0
#   libsvtav1: policy 1, priority 99
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q av==18.1.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PY'
import os

os.environ["SVT_LOG"] = "0"
import av, numpy as np

def encode(codec: str) -> tuple[int, int]:
    with av.open("x.mkv", "w") as film:
        stream = film.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 40, np.uint8), format="rgb24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority

seen = {codec: encode(codec) for codec in ("libx264", "libsvtav1")}
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
for codec, (policy, priority) in seen.items():
    print(f"{codec}: policy {policy}, priority {priority}")
assert seen["libx264"] == (os.SCHED_OTHER, 0)
assert seen["libsvtav1"] == ((os.SCHED_FIFO, 99) if os.geteuid() == 0 else (os.SCHED_OTHER, 0))
PY
