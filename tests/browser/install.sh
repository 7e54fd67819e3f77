#!/bin/sh
# A Chromium for the browser tests: one already here, else Debian's package (as root), else Playwright's own.
set -eu
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    if apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium >/dev/null; then
        exit 0
    fi
fi
exec .venv/bin/python -m playwright install chromium
