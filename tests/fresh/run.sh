#!/usr/bin/env bash
# The README's two commands on bare machines: tests/fresh/run.sh [SUITE…] (bookworm and trixie), as root, on Linux
# Each suite of Debian is made by mmdebstrap with what the README asks for (Python, git, make) and nothing else. In it the
# commands are run as root; then, in a root made in the same way, as a user who is not root: the first try must say in one
# line what is missing, and works when that has been installed. OUT (a folder) keeps the logs; results go to the output.
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

failed=0
say() { printf 'fresh: %s\n' "$*"; }
[ $# -gt 0 ] || set -- bookworm trixie
for suite; do
    began=$(date +%s)
    root=$work/$suite
    bare "$suite" "$root"
    say "$suite: Debian $(cat "$root/etc/debian_version"), $(chroot "$root" python3 --version), made in $(($(date +%s) - began)) s"
    if inside "$root" root runs >"$out/$suite-root.log" 2>&1; then
        say "$suite as root: $(tail -1 "$out/$suite-root.log")"
    else
        say "$suite as root: FAILED, see $out/$suite-root.log: $(tail -1 "$out/$suite-root.log")"
        failed=$((failed + 1))
    fi
    rm -rf --one-file-system "$root"

    bare "$suite" "$root"
    if inside "$root" somebody says-what-is-missing >"$out/$suite-user-1.log" 2>&1; then
        said=$(tail -1 "$out/$suite-user-1.log")
        say "$suite as a user, first: $said"
        # what the line says, by somebody who may
        packages=${said##*apt-get install -y }
        chroot "$root" sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages" \
            >"$out/$suite-user-apt.log" 2>&1
        if inside "$root" somebody runs >"$out/$suite-user.log" 2>&1; then
            say "$suite as a user, then: $(tail -1 "$out/$suite-user.log")"
        else
            say "$suite as a user, then: FAILED, see $out/$suite-user.log: $(tail -1 "$out/$suite-user.log")"
            failed=$((failed + 1))
        fi
    else
        say "$suite as a user: FAILED, see $out/$suite-user-1.log: $(tail -1 "$out/$suite-user-1.log")"
        failed=$((failed + 1))
    fi
    rm -rf --one-file-system "$root" "$work/cache"/*
done
say "$failed failed"
exit "$((failed > 0))"
