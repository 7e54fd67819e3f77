#!/bin/sh
# Pillow 12.3.0, ICC profiles of JPEG 2000 files.
#
# Guess: `info["icc_profile"]` of a JP2 whose `colr` box holds a profile, as for JPEG, PNG, TIFF, WebP and AVIF; and
# `save(..., icc_profile=...)` writes one.
# Behaviour: neither. The picture opens, `info` has no profile, and `save` takes the argument and drops it.
#
# Seen:
#   read: mode RGB, info ['comment']
#   written: the profile is in the file: False
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pillow==12.3.0
cd "$place"
"$place/venv/bin/python" - <<'PY'
import io, struct
from PIL import Image, ImageCms

profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
plain = io.BytesIO()
Image.new("RGB", (64, 64), "teal").save(plain, "JPEG2000")
content = plain.getvalue()

def boxes(start, end):
    while start < end:
        size, kind = struct.unpack(">I4s", content[start : start + 8])
        yield start, size or end - start, kind
        start += size or end - start

at, size, _ = next(box for box in boxes(0, len(content)) if box[2] == b"jp2h")
header = b"".join(
    content[start : start + length]
    if kind != b"colr"
    else struct.pack(">I4sBBB", 11 + len(profile), b"colr", 2, 0, 0) + profile
    for start, length, kind in boxes(at + 8, at + size)
)
image = Image.open(io.BytesIO(content[:at] + struct.pack(">I4s", 8 + len(header), b"jp2h") + header + content[at + size :]))
image.load()
print(f"read: mode {image.mode}, info {sorted(image.info)}")
written = io.BytesIO()
image.save(written, "JPEG2000", icc_profile=profile)
print(f"written: the profile is in the file: {profile in written.getvalue()}")
assert "icc_profile" not in image.info and profile not in written.getvalue()
PY
