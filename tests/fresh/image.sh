#!/usr/bin/env bash
# The container's image without Docker: tests/fresh/image.sh, as root, on Linux
# tests/fresh/dockerfile.py carries the Dockerfile out in a bare root of Debian; then the image is run as Docker would, by its
# entrypoint, in its environment, as its user and as one that it does not know, until its health check says that it is ready.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
out=${OUT:-$(mktemp -d)}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/atelier-image.XXXXXX")
mkdir -p "$out"
chmod 755 "$work"
trap 'rm -rf --one-file-system "$work"' EXIT
# shellcheck source=tests/fresh/roots.sh
. "$here/roots.sh"
require_root
say() { printf 'image: %s\n' "$*"; }

began=$(date +%s)
make_root bookworm "$work/base" ca-certificates
SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt UV_HTTP_TIMEOUT=300 \
    python3 "$here/dockerfile.py" "$work/base" "$work/stages" cpu >"$work/image.json" 2>"$out/image-build.log"
root=$work/stages/cpu
say "built in $(($(date +%s) - began)) s: $(du -sm "$root" | cut -f1) MB, .venv $(du -sm "$root/opt/atelier/.venv" | cut -f1) MB," \
    "the code $(du -sm --exclude=.venv "$root/opt/atelier" | cut -f1) MB"
for program in cc c++ gcc g++ ld make git pip uv; do
    if chroot "$root" /bin/sh -c "PATH=/opt/atelier/.venv/bin:\$PATH; command -v $program" >/dev/null; then
        say "FAILED: $program is in the image"
        exit 1
    fi
done
say "without a compiler, make, git and installers"

field() { python3 -c 'import json, shlex, sys; v = json.load(open(sys.argv[1]))[sys.argv[2]]
print(shlex.join(f"{a}={b}" for a, b in v.items()) if isinstance(v, dict) else v if isinstance(v, str) else shlex.join(v))' \
    "$work/image.json" "$1"; }
user=$(field user)
for account in "$user" 12345:12345; do
    port=$(free_port)
    rm -rf "$root/var/lib/atelier" "$root/var/cache/atelier"
    install -d -m 1777 "$root/var/lib/atelier" "$root/var/cache/atelier"
    began=$(date +%s)
    # --user NAME or UID:GID, no new privileges and no capabilities, as compose.yaml has it
    case $account in *:*) ids="--reuid=${account%:*} --regid=${account#*:}" ;; *) ids="--reuid=$account --regid=$account" ;; esac
    server="cd $(field folder) && exec setpriv $ids --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs \
        env -i $(field environment) PORT=$port HOST=127.0.0.1 $(field entrypoint) $(field command)"
    health="cd $(field folder) && env -i $(field environment) PORT=$port $(field health)"
    cat >"$root/tmp/run.sh" <<END
($server) >/tmp/server.log 2>&1 &
server=\$!
until ($health) 2>/dev/null; do kill -0 \$server || { cat /tmp/server.log; exit 1; }; sleep 0.2; done
python3 -c '
import json, urllib.request
body = json.dumps({"prompt": "a big red circle"}).encode()
request = urllib.request.Request("http://127.0.0.1:$port/v1/images/generations", body, {"content-type": "application/json"})
assert json.load(urllib.request.urlopen(request, timeout=120))["data"][0]["b64_json"].startswith("iVBOR")'
kill -TERM \$server
wait \$server || { echo "it ended with \$?"; cat /tmp/server.log; exit 1; }
cat /tmp/server.log
END
    if enter "$root" /bin/sh -eu /tmp/run.sh >"$out/image-$account.log" 2>&1; then
        say "as $account: healthy, drew a picture and ended with 0, all in $(($(date +%s) - began)) s; \
$(grep -c . "$out/image-$account.log") lines of logs"
    else
        say "as $account: FAILED, see $out/image-$account.log: $(tail -1 "$out/image-$account.log")"
        exit 1
    fi
done
