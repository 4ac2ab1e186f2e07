#!/bin/sh
# Install packages of Debian where this can be done, or say what is missing: packages.sh NAME...
set -eu

say() { printf 'atelier: %s\n' "$*" >&2; }

if ! command -v apt-get >/dev/null 2>&1; then
    say "please install what Debian calls $* (on a Mac: xcode-select --install)"
    exit 1
elif [ "$(id -u)" -ne 0 ]; then
    say "please run: sudo apt-get install -y $*"
    exit 1
fi
say "installing $*"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
