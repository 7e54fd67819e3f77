#!/bin/sh
# What the browser tests need: a Chromium, and node with npm for the page's types and accessibility rules.
# Either is taken as it is here, else from Debian (as root); without one, Playwright's own Chromium.
set -eu
apt() {
    command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && apt-get update -q >/dev/null &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null
}
command -v npm >/dev/null 2>&1 || apt nodejs npm || echo "no node here: the checks of the page's types and accessibility will be skipped"
# The second engine, for `make test-long` alone: sh tests/browser/install.sh firefox
if [ "${1:-}" = firefox ]; then
    command -v firefox-esr >/dev/null 2>&1 || command -v firefox >/dev/null 2>&1 || apt firefox-esr
    exit
fi
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
apt chromium || exec .venv/bin/python -m playwright install chromium
