#!/bin/sh
# Installs what the functions need under $WORK (a new temporary folder, if not set), measures, and
# prints the TOML. Arguments go to measure.py. Needs root, cc, CPython 3.11, Node 20, npm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${WORK:-$(mktemp -d)}

[ -d "$work/python" ] || python3.11 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --requirement "$here/requirements.txt" >&2
cp "$here/node/package.json" "$work/"
npm install --silent --prefix "$work" >&2
NODE_PATH="$work/node_modules" exec "$work/python/bin/python" -B "$here/measure.py" "$@"
