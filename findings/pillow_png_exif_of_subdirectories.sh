#!/bin/sh
# Pillow 12.3.0, an `Exif` object that holds only a sub-directory (such as DateTimeOriginal) saved with a picture.
#
# Guess: `save(..., exif=exif)` writes it whatever the format.
# Behaviour: PNG drops it without a word, since the object counts as empty; JPEG and WebP write it, and PNG writes the
# same bytes from `exif.tobytes()`.
#
# Seen:
#   PNG, object: {}
#   PNG, bytes: {36867: '2020:05:17 10:11:12'}
#   JPEG, object: {36867: '2020:05:17 10:11:12'}
#   WEBP, object: {36867: '2020:05:17 10:11:12'}
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pillow==12.3.0
cd "$place"
"$place/venv/bin/python" - <<'PY'
import io
from PIL import Image

exif = Image.Exif()
exif.get_ifd(0x8769)[0x9003] = "2020:05:17 10:11:12"
read = {}
for format, how, value in (
    ("PNG", "object", exif), ("PNG", "bytes", exif.tobytes()), ("JPEG", "object", exif), ("WEBP", "object", exif)
):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format, exif=value)
    read[format, how] = dict(Image.open(file).getexif().get_ifd(0x8769))
    print(f"{format}, {how}: {read[format, how]}")
assert not read.pop(("PNG", "object")) and all(read.values())
PY
