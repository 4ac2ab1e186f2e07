#!/bin/sh
# Unpack a package of Debian into .venv/debian, without installing it: unpack.sh NAME
# Its programs can be run, its services start nowhere, and nobody needs to be root.
set -eu
say() { printf 'atelier: %s\n' "$*" >&2; }

if ! command -v apt-get >/dev/null 2>&1; then
    say "please install $1 (on a Mac: brew install $1)"
    exit 1
fi
target=$(cd "$(dirname "$0")/.." && pwd)/.venv/debian
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "unpacking $1"
cd "$work"
if ! apt-get download -qq "$1" 2>/dev/null; then
    # a fresh machine knows no packages yet
    if [ "$(id -u)" -ne 0 ]; then
        say "please run: sudo apt-get update"
        exit 1
    fi
    apt-get update -qq
    apt-get download -qq "$1" 2>/dev/null
fi
mkdir -p "$target"
dpkg-deb -x "$1"_*.deb "$target"
