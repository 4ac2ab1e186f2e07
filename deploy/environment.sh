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
is_there() { cmp -s "$lock" "$folder/installed"; }
is_there && exit 0

# One at a time: the system frees the lock when the last process that inherited it has ended, however it ends.
mkdir -p "$prefix/environments"
exec 9>"$prefix/environments.lock"
"$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
is_there && exit 0

# uv knows nothing of pip's settings: an index, extra wheels or certificates that are set for pip are handed on.
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
[ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$PIP_FIND_LINKS}"
uv=$(command -v uv || echo "$prefix/bin/uv")

echo "Installing $lock" >&2
new=$folder.new
rm -rf "$new"
trap 'rm -rf "$new"' EXIT
# A shell looks at signals only once its program has ended, unless it waits for one in the background.
trap '[ -z "${!:-}" ] || { kill "$!" 2>/dev/null || :; wait "$!" || :; }; exit 143' INT TERM
"$uv" pip install --quiet --compile-bytecode --no-deps --python "$python" --target "$new" -r "$lock" &
wait "$!"
trap - INT TERM
cp "$lock" "$new/installed"
rm -rf "$folder"
mv "$new" "$folder"
