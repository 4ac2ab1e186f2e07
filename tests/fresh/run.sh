#!/usr/bin/env bash
# The README's two commands on bare machines: tests/fresh/run.sh [SUITE…] (bookworm and trixie), as root, on Linux
# Each suite of Debian is made by mmdebstrap with what the README asks for (Python, git, make) and nothing else. In it the
# commands are run as root; then, in a root made in the same way, as a user who is not root: the first try must say in one
# line what is missing, and works when that has been installed. OUT (a folder) keeps the logs; results go to the output.
# FRESH_AS=root, or user, for one of the two only.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
out=${OUT:-$(mktemp -d)}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/atelier-fresh.XXXXXX")
mkdir -p "$out" "$work/cache"
chmod 755 "$work" && chmod 1777 "$work/cache"
trap 'rm -rf --one-file-system "$work"' EXIT
# shellcheck source=tests/fresh/roots.sh
. "$here/roots.sh"
require_root

# What is committed, as a clone of it has it; a clone's own history is not needed.
git clone --quiet --bare "$repository" "$work/atelier.git"
git -C "$work/atelier.git" config uploadpack.allowAnySHA1InWant true

port=$(free_port)
bare() { # SUITE FOLDER: what the README asks for, and the repository beside it
    make_root "$1" "$2" ca-certificates,git,make,python3
    cp -r "$work/atelier.git" "$2/srv/atelier.git"
    install -m 755 "$here/inside.sh" "$2/srv/inside.sh"
}

inside() { # FOLDER USER EXPECTED
    CACHE=$work/cache enter "$1" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        TERM=dumb PORT="$port" UV_CACHE_DIR=/cache UV_HTTP_TIMEOUT=300 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
        PIP_CERT=/etc/ssl/certs/ca-certificates.crt ${FRESH_PIP_INDEX_URL:+PIP_INDEX_URL="$FRESH_PIP_INDEX_URL"} \
        /srv/inside.sh "$2" "$3"
}

as_root() { # SUITE ROOT
    if inside "$2" root runs >"$out/$1-root.log" 2>&1; then
        say "$1 as root: $(tail -1 "$out/$1-root.log")"
    else
        say "$1 as root: FAILED, see $out/$1-root.log: $(tail -1 "$out/$1-root.log")"
        return 1
    fi
}

as_user() { # SUITE ROOT
    if ! inside "$2" somebody says-what-is-missing >"$out/$1-user-first.log" 2>&1; then
        say "$1 as a user: FAILED, see $out/$1-user-first.log: $(tail -1 "$out/$1-user-first.log")"
        return 1
    fi
    said=$(tail -1 "$out/$1-user-first.log")
    say "$1 as a user, first: $said"
    # what the line says, by somebody who may
    chroot "$2" sh -euc "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        ${said##*apt-get install -y }" >"$out/$1-user-apt.log" 2>&1
    if inside "$2" somebody runs >"$out/$1-user.log" 2>&1; then
        say "$1 as a user, then: $(tail -1 "$out/$1-user.log")"
    else
        say "$1 as a user, then: FAILED, see $out/$1-user.log: $(tail -1 "$out/$1-user.log")"
        return 1
    fi
}

failed=0
say() { printf 'fresh: %s\n' "$*"; }
[ $# -gt 0 ] || set -- bookworm trixie
for suite; do
    root=$work/$suite
    for account in ${FRESH_AS:-root user}; do
        began=$(date +%s)
        bare "$suite" "$root"
        say "$suite: Debian $(cat "$root/etc/debian_version"), $(chroot "$root" python3 --version), made in $(($(date +%s) - began)) s"
        if "as_$account" "$suite" "$root"; then :; else failed=$((failed + 1)); fi
        rm -rf --one-file-system "$root"
        chmod -R a+rwX "$work/cache" # what root downloaded spares the user the time
    done
    rm -rf --one-file-system "$work/cache"/*
done
say "$failed failed"
exit "$((failed > 0))"
