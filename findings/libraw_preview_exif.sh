#!/bin/sh
# rawpy 0.28.0 (LibRaw 0.22), the JPEG preview inside a camera's raw file, here a DNG marked "turn by 90 degrees" (6).
#
# Guess: `extract_thumb` gives the bytes that are in the file, with what EXIF they have.
# Behaviour: that holds only for a preview that begins with its EXIF block. Before all others, also those whose EXIF
# follows a JFIF header, as Pillow writes them, LibRaw puts an EXIF block of its own with the raw file's orientation,
# which is the one that readers find. A preview that is stored upright and says so is then turned once more.
#
# Seen (orientation in the preview: as stored, as given out):
#   begins with EXIF: bytes kept True, 1, 1
#   JFIF, then EXIF: bytes kept False, 1, 6
#   JFIF alone: bytes kept False, None, 6
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q rawpy==0.28.0 pillow==12.3.0 tifffile==2026.3.3 numpy==2.4.6 imagecodecs==2026.3.6
cd "$place"
"$place/venv/bin/python" - <<'PY'
import io

import numpy as np, rawpy, tifffile
from PIL import Image

def orientation(jpeg):
    return Image.open(io.BytesIO(jpeg)).getexif().get(0x0112)

exif = Image.Exif()
exif[0x0112] = 1
both, bare = io.BytesIO(), io.BytesIO()
Image.new("RGB", (160, 240), "teal").save(both, "JPEG", exif=exif)  # portrait: upright already
Image.new("RGB", (160, 240), "teal").save(bare, "JPEG")
both, bare = both.getvalue(), bare.getvalue()
after_jfif = 4 + int.from_bytes(both[4:6], "big")
first = both[:2] + both[after_jfif:]
assert both[6:10] == b"JFIF" and first[6:10] == b"Exif"

previews = {"begins with EXIF": (first, True, 1), "JFIF, then EXIF": (both, False, 6), "JFIF alone": (bare, False, 6)}
for name, (preview, kept, expected) in previews.items():
    with tifffile.TiffWriter("x.dng") as file:
        camera = [
            ("DNGVersion", 1, 4, bytes([1, 4, 0, 0]), True), ("Orientation", 3, 1, 6, True),
            ("Make", 2, 0, "X", True), ("Model", 2, 0, "Y", True), ("UniqueCameraModel", 2, 0, "X Y", True),
            ("ColorMatrix1", 10, 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        ]
        shape = {"shape": (240, 160, 3), "dtype": np.uint8, "rowsperstrip": 240}
        file.write(iter([preview]), **shape, compression=7, photometric=6, subfiletype=1, subifds=1, extratags=camera)
        mosaic = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes([0, 1, 1, 2]), True)]
        file.write(np.full((256, 384), 900, np.uint16), photometric=32803, subfiletype=0, extratags=mosaic)
    with rawpy.imread("x.dng") as raw:
        given = raw.extract_thumb().data
    print(f"{name}: bytes kept {given == preview}, {orientation(preview)}, {orientation(given)}")
    assert (given == preview, orientation(given)) == (kept, expected)
PY
