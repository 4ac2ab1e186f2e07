#!/usr/bin/env bash
# Train the picture model in nine minutes of a bare machine with a GPU, without a network:
#
#     python -m training.picture.pack PACK        here, once; PACK is a folder of some 30 MB that goes along
#     training/on_gpu.sh PACK OUT                 there, from the repository's root
#
# OUT then holds the pipeline in pieces of 15 MB (cat OUT/pipeline.* | tar x), a sheet of what it draws, and the logs.
# Wants python3 with torch, transformers, tokenizers, pillow, rich and numpy. PYTHON, DEVICE, WORKERS, and the seconds of
# each part can be set.
set -euo pipefail
pack=$1 out=$2
python=${PYTHON:-python3}
cores=$(nproc)
workers=${WORKERS:-$cores}
autoencoder_seconds=${AUTOENCODER_SECONDS:-120}
text_seconds=${TEXT_SECONDS:-60}
flow_seconds=${FLOW_SECONDS:-240}
began=$(date +%s)
say() { printf 'on_gpu: %4d s: %s\n' "$(($(date +%s) - began))" "$*"; }

mkdir -p "$out"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m pip install --quiet --no-index --no-deps --target "$scratch/site" "$pack"/*.whl
export PYTHONPATH="$scratch/site:$PWD" ATELIER_TRAINING="$scratch/runs" PYTHONUNBUFFERED=1
mkdir -p "$ATELIER_TRAINING"
tar xJf "$pack/world.tar.xz" -C "$ATELIER_TRAINING"
train() { "$python" -m training.picture ${DEVICE:+--device "$DEVICE"} --threads 4 --workers "$workers" "$@"; }
keep() {
    tar c -C "$ATELIER_TRAINING/picture" "$1" | split -b 15M - "$out/$1."
    cp "$ATELIER_TRAINING"/picture/flow/log.jsonl "$out/flow.jsonl" 2>/dev/null || true
}

say "autoencoder"
train --only autoencoder --pool "${POOL:-60000}" --autoencoder-batch 192 --autoencoder-steps "${AUTOENCODER_STEPS:-9000}" \
    --seconds "$autoencoder_seconds"
say "text encoders"
train --only text --text-steps "${TEXT_STEPS:-4000}" --seconds "$text_seconds"
say "bank"
train --only bank --shards "${SHARDS:-70}"
say "transformer"
train --only flow --steps "${STEPS:-12000}" --batch "${BATCH:-384}" --seconds "$flow_seconds" --look 0 ${COMPILE---compile}
say "keeping the pipeline"
keep pipeline
cp "$ATELIER_TRAINING"/picture/looks/*.png "$out/" 2>/dev/null || true
say "done"
