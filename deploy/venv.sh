#!/bin/sh
# Make .venv, or bring it up to date: venv.sh [dev] [japanese] [gpu | cpu]
# pyproject.toml says which packages: its dependencies, which serve, and of its extras `gpu` on a machine with an NVIDIA
# GPU, `mac` on a Mac, and `dev` (all that `make test` needs) and `japanese` (Kokoro's voices) when asked;
# requirements.lock says in which versions.
# Needs Python 3.11 … 3.13 only: uv comes with it, and what has no wheel (hnswlib) finds its compiler through apt-get when
# this runs as root on Debian. PYTHON names another than the first found.
set -eu
cd "$(dirname "$0")/.."

dev=
japanese=
gpu=
for each in "$@"; do
    case $each in
        dev) dev=yes ;;
        japanese) japanese=yes ;;
        gpu) gpu=yes ;;
        cpu) gpu=no ;;
        *) echo "usage: deploy/venv.sh [dev] [japanese] [gpu | cpu]" >&2 && exit 2 ;;
    esac
done
# what is there is kept in step
[ ! -e .venv/installed-dev ] || dev=yes
[ ! -e .venv/installed-japanese ] || japanese=yes

say() { printf 'atelier: %s\n' "$*" >&2; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

if [ -n "${PYTHON:-}" ]; then
    if ! fits "$PYTHON"; then
        say "PYTHON=$PYTHON is not Python 3.11, 3.12 or 3.13"
        exit 1
    fi
else
    for candidate in python3.11 python3.12 python3.13 python3; do
        if fits "$candidate"; then
            PYTHON=$candidate
            break
        fi
    done
fi
if [ -z "${PYTHON:-}" ]; then
    say "Python 3.11, 3.12 or 3.13 is needed; set PYTHON=… if it is not on the PATH"
    exit 1
fi

# What is missing, as Debian names it.
version=$("$PYTHON" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}")')
set --
command -v c++ >/dev/null 2>&1 || set -- "$@" g++
[ -f "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || set -- "$@" "$version-dev"
command -v uv >/dev/null 2>&1 || "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || set -- "$@" "$version-venv"
[ $# -eq 0 ] || deploy/packages.sh "$@"
set --

# uv knows nothing of pip's settings: an index, extra wheels or certificates that are set for pip are handed on.
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
[ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$PIP_FIND_LINKS}"

if command -v uv >/dev/null 2>&1; then
    [ -x .venv/bin/python ] || uv venv --quiet --seed --relocatable --python "$PYTHON" .venv  # with pip
    uv=uv
else
    [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
    [ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet uv
    # as `uv venv --relocatable` writes it: an upgrade moves the whole folder (cli/service/upgrade.py)
    grep -q '^relocatable' .venv/pyvenv.cfg || echo 'relocatable = true' >>.venv/pyvenv.cfg
    uv=.venv/bin/uv
fi
has_nvidia_gpu() {
    # the driver; inside a container; under WSL
    [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidiactl ] || [ -e /usr/lib/wsl/lib/libcuda.so.1 ]
}
[ -n "$gpu" ] || if has_nvidia_gpu; then gpu=yes; else gpu=no; fi
if [ "$dev" = yes ]; then
    set -- --extra dev
elif [ "$(uname)" = Darwin ]; then
    set -- --extra mac
elif [ "$gpu" = yes ]; then
    set -- --extra gpu
else
    set --
    export UV_OVERRIDE=deploy/without-gpu.txt
fi
[ "$japanese" != yes ] || set -- "$@" --extra japanese
"$uv" pip install --quiet --compile-bytecode --python .venv/bin/python \
    -r pyproject.toml --constraint requirements.lock "$@"

# The command, from any folder and wherever this one is moved to; the sources stay where they are.
cat >.venv/bin/atelier <<'END'
#!/bin/sh
'''exec' "$(dirname "$(readlink -f "$0")")/python" "$0" "$@" #'''
import pathlib
import runpy
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.argv[0] = "atelier"
runpy.run_module("cli", run_name="__main__")
END
chmod +x .venv/bin/atelier
touch .venv/installed
[ "$dev" != yes ] || touch .venv/installed-dev
[ "$japanese" != yes ] || touch .venv/installed-japanese
