#!/usr/bin/env bash
# Train the picture model and the describer side by side in nine minutes of a bare machine with a GPU, without a
# network:
#
#     python -m training.pack PACK                here, once; PACK is a folder of 62 MB that goes along
#     training/on_gpu.sh PACK OUT                 there, from the repository's root
#
# OUT then holds the pipeline (cat OUT/pipeline.* | tar x) and what the describer has learnt (the same with sight.pt,
# spelling.pt and words.pt, in .runs/describer) in pieces of 15 MB, a sheet of what is drawn, and the logs. What fails
# early ends it all, so that little time is lost; what fails later leaves the others.
# Wants python3 with torch, timm, transformers, tokenizers, pillow, rich and numpy. PYTHON, DEVICE, SECONDS_IN_ALL and
# the sizes below can be set.
set -euo pipefail
pack=$1 out=$2
python=${PYTHON:-python3}
cores=$(nproc)
in_all=${SECONDS_IN_ALL:-560}
early=${EARLY:-170}
began=$(date +%s)
elapsed() { echo $(($(date +%s) - began)); }
left() { echo $((in_all - $(elapsed) - $1)); }
say() { printf 'on_gpu: %4d s: %s\n' "$(elapsed)" "$*"; }

mkdir -p "$out"
ulimit -n 65536 2>/dev/null || true
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export ATELIER_TRAINING="$scratch/runs" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false TORCHDYNAMO_SUPPRESS_ERRORS=1
halves="$scratch/halves"
mkdir -p "$ATELIER_TRAINING" "$halves"
"$python" -m tarfile -e "$pack/world.tar.xz" "$ATELIER_TRAINING" || tar xJf "$pack/world.tar.xz" -C "$ATELIER_TRAINING"
"$python" -m pip install --quiet --no-index --no-deps --target "$scratch/site" "$pack"/*.whl
export PYTHONPATH="$scratch/site:$ATELIER_TRAINING/site:$PWD"
say "unpacked"

module() { nice -n "${STEP_BACK:-0}" "$python" -m "training.$1" ${DEVICE:+--device "$DEVICE"} --threads "${THREADS:-4}" "${@:2}"; }

keep() { # FOLDER NAME: in pieces
    tar c -C "$ATELIER_TRAINING/$1" "$2" | split -b 15M - "$out/$2."
}

picture() {
    local beside=()
    STEP_BACK=14 module picture --only bank --shards "${SHARDS:-70}" --workers "$((cores * 5 / 8 + 1))" --beside >"$out/bank.log" 2>&1 &
    beside+=($!)
    STEP_BACK=5 module picture --only text --text-batch "${TEXT_BATCH:-384}" --text-steps "${TEXT_STEPS:-20000}" \
        --workers "$((cores * 3 / 8 + 1))" --seconds "${TEXT_SECONDS:-105}" >"$out/text.log" 2>&1 &
    beside+=($!)
    say "picture: autoencoder, beside it what reads prompts and the pictures for the transformer"
    module picture --only autoencoder --pool "${PICTURES:-30000}" --workers "$cores" \
        --autoencoder-batch "${AUTOENCODER_BATCH:-192}" --autoencoder-steps "${AUTOENCODER_STEPS:-7000}" \
        --seconds "${AUTOENCODER_SECONDS:-105}"
    say "picture: the rest of what was done beside it"
    for each in "${beside[@]}"; do
        wait "$each"
    done
    say "picture: transformer"
    module picture --only flow --steps "${STEPS:-40000}" --batch "${BATCH:-512}" --look 0 \
        --seconds "$(left 65)" ${COMPILE:-}
    keep picture pipeline
    cp "$ATELIER_TRAINING"/picture/flow/log.jsonl "$out/flow.jsonl"
    cp "$ATELIER_TRAINING"/picture/looks/*.png "$out/"
    say "picture: kept"
}

keep_half() { # STAGE: in half precision, under the name that `python -m training.describer` reads
    "$python" -c "
import sys, torch
held = torch.load(sys.argv[1], weights_only=True)
torch.save({name: each.half() if each.is_floating_point() else each for name, each in held.items()}, sys.argv[2])
" "$ATELIER_TRAINING/describer/$1.pt" "$halves/$1.pt"
    tar c -C "$halves" "$1.pt" | split -b 15M - "$out/$1.pt."
    cp "$ATELIER_TRAINING/describer/$1/log.jsonl" "$out/$1.jsonl"
    say "describer: $1 kept"
}

find_things() {
    for stage in sight spelling; do
        say "describer: $stage"
        module describer --only "$stage" --pool "${SCENES:-90000}" --workers "$((cores > 3 ? cores - 2 : 1))" \
            --steps "${SIGHT_STEPS:-20000}" --pictures "${SIGHT_BATCH:-256}" --seconds "${SIGHT_SECONDS:-180}"
        keep_half "$stage"
    done
}

words() {
    say "describer: words"
    module describer --only words --workers "$((cores / 4 + 1))" --steps "${WORDS_STEPS:-40000}" \
        --batch "${WORDS_BATCH:-120}" --until $((began + in_all - 25))
    keep_half words
}

parts=()
set -m # each part with what it starts is a group, which can be ended
for part in ${PARTS:-picture find_things words}; do
    (set -e; "$part") >"$out/$part.log" 2>&1 &
    parts+=($!)
done
status=0
while [ "${#parts[@]}" -gt 0 ]; do
    sleep 1
    running=()
    for part in "${parts[@]}"; do
        if kill -0 "$part" 2>/dev/null; then
            running+=("$part")
        elif ! wait "$part"; then
            status=1
            say "a part failed"
            if [ "$(elapsed)" -lt "$early" ]; then
                tail -n 30 "$out"/*.log
                for each in "${parts[@]}"; do kill -- -"$each" 2>/dev/null || true; done
                exit 1
            fi
        fi
    done
    parts=("${running[@]}")
done
tail -qn 2 "$out"/*.log
say "done"
exit "$status"
