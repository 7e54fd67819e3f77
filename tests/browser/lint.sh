#!/bin/sh
# The page's JavaScript: formatted and linted by Biome (biome.json), at the version that package.json pins.
# Without npm it says so and passes, except where CI is set.
set -eu
cd "$(dirname "$0")"
if ! command -v npm >/dev/null 2>&1; then
    echo "no npm here: the page's JavaScript is not checked"
    [ -z "${CI:-}" ]
    exit
fi
cmp -s package.json node_modules/.installed || {
    npm install --no-audit --no-fund --no-package-lock >/dev/null
    cp package.json node_modules/.installed
}
cd ../..
exec tests/browser/node_modules/.bin/biome check --error-on-warnings "$@" app/static
