#!/bin/sh
# Programs that the tests of formats ask for a second opinion (FFmpeg, ExifTool, Poppler, MuPDF): as they are here, else from
# Debian (as root).
set -eu
missing=""
command -v ffprobe >/dev/null 2>&1 || missing="$missing ffmpeg"
command -v exiftool >/dev/null 2>&1 || missing="$missing libimage-exiftool-perl"
command -v pdftotext >/dev/null 2>&1 || missing="$missing poppler-utils"
command -v mutool >/dev/null 2>&1 || missing="$missing mupdf-tools"
[ -z "$missing" ] && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    # shellcheck disable=SC2086
    apt-get update -q >/dev/null &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null && exit 0
fi
echo "not here:$missing; the tests of formats compare with what is here"
