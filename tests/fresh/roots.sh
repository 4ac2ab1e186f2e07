# What run.sh and image.sh share: bare roots of Debian, and how to work in them. `out` is where logs go.

require_root() {
    [ "$(id -u)" -eq 0 ] || { echo "fresh: root is needed, to make the roots" >&2; exit 1; }
    command -v mmdebstrap >/dev/null || "$repository/deploy/packages.sh" mmdebstrap
}

make_root() { # SUITE FOLDER PACKAGES
    mmdebstrap --quiet --variant=minbase --include="$3" "$1" "$2" \
        "deb http://deb.debian.org/debian $1 main" "deb http://deb.debian.org/debian $1-updates main" \
        "deb http://deb.debian.org/debian-security $1-security main" >>"$out/$1-mmdebstrap.log" 2>&1
    # This machine's way to the registries: names, certificates.
    cp /etc/resolv.conf "$2/etc/resolv.conf"
    cp /etc/hosts "$2/etc/hosts"
    mkdir -p "$2/etc/ssl/certs" "$2/cache"
    cp /etc/ssl/certs/ca-certificates.crt "$2/etc/ssl/certs/ca-certificates.crt"
}

enter() { # FOLDER COMMAND…: the root with /proc and /dev; every process in it ends with the command
    local root=$1
    shift
    unshare --mount --pid --ipc --fork --kill-child sh -eu -c '
        root=$1; shift
        mount --rbind /dev "$root/dev"
        mount --bind /sys "$root/sys"
        mount -t proc proc "$root/proc"
        [ -z "${CACHE:-}" ] || mount --bind "$CACHE" "$root/cache"
        exec chroot "$root" "$@"' sh "$root" "$@"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
