#!/bin/sh
# In the bare machine: inside.sh USER runs | says-what-is-missing
# Does what README.md says under "Start", as USER, and asks for one picture. The last line is the result.
set -eu
user=$1 expected=$2
if [ "$user" != root ] && [ -z "${INSIDE_AS_USER:-}" ]; then
    id "$user" >/dev/null 2>&1 || useradd --create-home "$user"
    chown -R "$user" /srv/atelier.git # git clones nobody else's from a folder
    exec env INSIDE_AS_USER=1 setpriv --reuid="$user" --regid="$user" --clear-groups env HOME="/home/$user" "$0" "$@"
fi
[ "$user" != root ] || export HOME=/root
cd "$HOME"
commands=$(git -C /srv/atelier.git show HEAD:README.md | sed -n 's/^\$ //p' | head -2)
clone=$(echo "$commands" | sed -n 1p | sed 's|<this repository>|file:///srv/atelier.git|')
start=$(echo "$commands" | sed -n 2p)
echo "+ $clone"
rm -rf atelier
eval "$clone"
echo "+ $start"
log=$HOME/make.log
began=$(date +%s)

if [ "$expected" = says-what-is-missing ]; then
    if eval "$start" >"$log" 2>&1; then
        cat "$log"
        echo "it started although something should have been missing"
        exit 1
    fi
    cat "$log"
    grep '^atelier: please run: sudo apt-get install -y ' "$log" | tail -1
    exit
fi

stop() { # as Ctrl-C does, which shells keep from what runs in the background
    kill -TERM "$(sed 's/.*"pid": \([0-9]*\).*/\1/' "$HOME/.local/share/atelier/server.json")"
    wait "$server" || { echo "it ended with $?"; exit 1; }
}

eval "exec $start" >"$log" 2>&1 &
server=$!
until grep -q '^Atelier is ready at ' "$log"; do
    if ! kill -0 "$server" 2>/dev/null; then
        cat "$log"
        exit 1
    fi
    sleep 0.2
done
ready=$(date +%s)
cat "$log"
python3 - "$PORT" <<'END'
import base64, json, sys, urllib.request

url = f"http://127.0.0.1:{sys.argv[1]}/v1/images/generations"
body = json.dumps({"prompt": "a big red circle on a blue background"}).encode()
request = urllib.request.Request(url, body, {"content-type": "application/json"})
with urllib.request.urlopen(request, timeout=120) as answer:
    picture = base64.b64decode(json.load(answer)["data"][0]["b64_json"])
assert picture.startswith(b"\x89PNG\r\n"), picture[:20]
print(f"a picture of {len(picture)} bytes")
END
answered=$(date +%s)
stop
left=$(find /proc -maxdepth 2 -name comm -exec cat {} + 2>/dev/null | grep -cE '^(raylet|gcs_server|haproxy|ray::)' || :)
[ "$left" = 0 ] || { echo "$left processes are left"; exit 1; }
began_again=$(date +%s)
eval "exec $start" >"$log" 2>&1 &
server=$!
until grep -q '^Atelier is ready at ' "$log"; do
    kill -0 "$server" 2>/dev/null || { cat "$log"; exit 1; }
    sleep 0.2
done
again=$(date +%s)
stop
size=$(du -sm .venv | cut -f1)
packages=$(find .venv/lib -maxdepth 3 -name '*.dist-info' | wc -l)
compiler=$(command -v c++ >/dev/null && echo "with a compiler" || echo "without a compiler")
echo "ready after $((ready - began)) s, first picture $((answered - ready)) s later, second start $((again - began_again)) s; .venv has $packages packages, $size MB; $compiler"
