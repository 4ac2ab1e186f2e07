#!/bin/sh
# Install what requirements.NAME.lock says into a folder of its own beside the server's packages: environment.sh NAME
# The processes of the engines that need it find that folder first, all others never (graph.py). Quick when it is there.
set -eu
cd "$(dirname "$0")/.."

name=$1
lock=requirements.$name.lock
python=${PYTHON:-.venv/bin/python}
prefix=$("$python" -c 'import sys; print(sys.prefix)')
folder=$prefix/environments/$name
if cmp -s "$lock" "$folder/installed"; then
    exit 0
fi

# uv knows nothing of pip's settings: an index, extra wheels or certificates that are set for pip are handed on.
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
[ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$PIP_FIND_LINKS}"
uv=$(command -v uv || echo "$prefix/bin/uv")

echo "Installing $lock" >&2
new=$folder.$$
trap 'rm -rf "$new"' EXIT
"$uv" pip install --quiet --compile-bytecode --no-deps --python "$python" --target "$new" -r "$lock"
cp "$lock" "$new/installed"
rm -rf "$folder"
mv "$new" "$folder"
