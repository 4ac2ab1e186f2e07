#!/usr/bin/env bash
# Measure every engine in nine minutes of a bare machine with a GPU, without a network:
#
#     python -m bench.gpu.wheels WHEELS           here, once; WHEELS is a folder of numbered pieces that go along
#     bench/on_gpu.sh WHEELS OUT [--only PART …]  there, from the repository's root; with --drawn in three minutes, without
#                                                 what reads a checkpoint (loading, nf4, offload)
#
# OUT then holds gpu.json, gpu.md and the logs; the exit status says how many parts failed. Wants python3 with pip, torch
# and what goes with its version (numpy, torchvision). PYTHON and SECONDS_IN_ALL can be set. What is installed stays in
# the folder SITE, if that is set, and is not installed again.
set -uo pipefail
wheels=$1 out=$2
shift 2
python=${PYTHON:-python3}
began=$(date +%s)
site=${SITE:-}
if [ -z "$site" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
fi
say() { printf 'on_gpu: %4d s: %s\n' "$(($(date +%s) - began))" "$*"; }

if [ ! -e "$site/site" ]; then
    say "installing"
    "$python" -m bench.gpu.unpack "$wheels" "$site" || say "some wheels could not be installed; their parts will say so"
fi
export PYTHONPATH="$site/site:$PWD" ATELIER_ENVIRONMENTS="$site/environments" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
left=$((${SECONDS_IN_ALL:-540} - ($(date +%s) - began)))
say "$left s are left for the parts"
"$python" -m bench.gpu --seconds "$left" --out "$out" "$@"
status=$?
say "done, $status parts failed"
exit "$status"
