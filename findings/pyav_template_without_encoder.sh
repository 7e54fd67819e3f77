#!/bin/sh
# PyAV 18.1.0, copying the packets of an AV1 film with `add_stream_from_template`.
#
# Guess: a template needs no encoder, as nothing is encoded.
# Behaviour: the name of the *decoder* is looked up among the encoders. AV1 is opened with libdav1d, which only decodes,
# so the call raises; `opaque=True` makes it work.
#
# Seen:
#   decoder: libdav1d
#   add_stream_from_template(stream): UnknownCodecError('libdav1d')
#   add_stream_from_template(stream, opaque=True): works
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

with av.open("x.mkv", "w") as film:
    stream = film.add_stream("libsvtav1", rate=10)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    for number in range(5):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 40, np.uint8), format="rgb24")
        film.mux(stream.encode(frame))
    film.mux(stream.encode())
source = av.open("x.mkv").streams.video[0]
print(f"decoder: {source.codec_context.name}")
try:
    av.open("y.mkv", "w").add_stream_from_template(source)
    error = None
except av.codec.codec.UnknownCodecError as raised:
    error = raised
print(f"add_stream_from_template(stream): {error!r}")
assert error is not None
av.open("z.mkv", "w").add_stream_from_template(source, opaque=True)
print("add_stream_from_template(stream, opaque=True): works")
PY
