#!/bin/sh
# PyAV 18.1.0, an open film whose decoder is in the middle of a group of pictures.
#
# Guess: `container.seek` moves the reader; what the decoder has decoded so far stays until it is flushed.
# Behaviour: `seek` also empties the decoders of all streams. MPEG-4 then decodes the next picture on grey, without an
# error; H.264 returns nothing until the next keyframe. Whoever seeks only to look at packets (to measure the length, say)
# loses the picture.
#
# Seen:
#   mpeg4: without a seek the last picture differs from FFmpeg's by 0.0, after one by more than 20: True
#   libx264: after a seek the last picture is returned: False
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q av==18.1.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PY'
from fractions import Fraction
import av, numpy as np

rng = np.random.default_rng(1)
scene = np.kron(rng.integers(0, 255, (15, 20, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))

def film(name, codec):
    with av.open(name, "w") as made:
        stream = made.add_stream(codec, rate=5, options={"g": "20", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.roll(scene, number, 1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 5)
            made.mux(stream.encode(frame))
        made.mux(stream.encode())

def last(name, seek):
    with av.open(name) as opened:
        stream = opened.streams.video[0]
        stream.thread_count = 1
        packets = [packet for packet in opened.demux(stream) if packet.size]
        stream.codec_context.skip_frame = "DEFAULT"
        found = []
        for packet in packets[:-1]:
            found += stream.codec_context.decode(packet)
        if seek:
            opened.seek(0, stream=stream)
        try:
            found = stream.codec_context.decode(packets[-1]) + stream.codec_context.decode(None)
        except av.InvalidDataError:
            found = []
        return found[-1].to_ndarray(format="gray").astype(int) if found else None

film("a.avi", "mpeg4")
with av.open("a.avi") as opened:
    truth = [frame.to_ndarray(format="gray").astype(int) for frame in opened.decode(video=0)][-1]
kept, lost = (float(np.abs(last("a.avi", seek) - truth).mean()) for seek in (False, True))
print(f"mpeg4: without a seek the last picture differs from FFmpeg's by {kept:.1f}, after one by more than 20: {lost > 20}")
film("a.mp4", "libx264")
returned = last("a.mp4", True) is not None
print(f"libx264: after a seek the last picture is returned: {returned}")
assert kept == 0 and lost > 20 and not returned
PY
