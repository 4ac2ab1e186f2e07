"""Make the describer: `python -m training.describer`, after `python -m training.art`.

Three stages, each kept under `.runs/describer/`: sight (what is there), words (a small language model learns to tell of
it), and the folder that serves: matrices in 8 bits, a gate that knows shapes, drawings and photographs apart, and no
EfficientNet, which comes in a wheel. A run that was ended goes on with the same command; `--go-on` makes more of what
is finished. `--seconds` and `--sight-seconds` end a stage after so much work, with its rate fallen to nothing by then.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from functools import cache
from pathlib import Path
from typing import Final

import torch

from training.describer.folder import gate_features, learn_gate, write_folder
from training.describer.pool import FOLDER, SEEN, UNSEEN, Pool, make_pool
from training.describer.sight import learn_sight, new_reader
from training.describer.student import Student, learn_words, open_tokenizer
from training.loop import Schedule
from training.picture.world import device_of, has_unseen_world

STAGES: Final = ("sight", "words", "folder")
_SEED: Final = 92
"""The steps are added to it, so that a run that goes on need not see the batches of the one before."""


@cache
def _pool(count: int, workers: int, device: torch.device) -> Pool:
    return make_pool(count, workers=workers).to(device)


def _sight(given: argparse.Namespace, device: torch.device) -> None:
    kept = FOLDER / "sight.pt"
    if kept.exists() and not given.go_on:
        return
    torch.manual_seed(_SEED)
    reader = new_reader()
    if kept.exists():
        reader.load_state_dict(torch.load(kept, weights_only=True))
    steps, rate = given.sight_steps, given.go_on or 1.0
    schedule = Schedule(
        steps=steps, lr=1e-3 * rate, muon=6e-3 * rate, warmup=50, hold=int(steps * given.hold), weight_decay=0.03,
        ema=0.998, seed=_SEED + steps, seconds=given.sight_seconds,
    )  # fmt: skip
    pool = _pool(given.pool, given.workers, device)
    unseen = make_pool(UNSEEN, unseen=True).to(device) if has_unseen_world() else None
    learn_sight(reader.to(device), pool, unseen, schedule, given.sight_batch, _log("sight", given))
    _keep(reader.cpu(), kept, given)


def _words(given: argparse.Namespace, device: torch.device) -> None:
    kept = FOLDER / "words.pt"
    if kept.exists() and not given.go_on:
        return
    torch.manual_seed(93)
    student = Student(open_tokenizer())
    if kept.exists():
        student.load_state_dict(torch.load(kept, weights_only=True))
        student.find_as(torch.load(FOLDER / "sight.pt", weights_only=True))
    else:
        student.reader.load_state_dict(torch.load(FOLDER / "sight.pt", weights_only=True))
        student.say_by_name()
    steps, rate = given.steps, given.go_on or 1.0
    pool = _pool(given.pool, given.workers, device)
    seconds = max(1.0, given.until - time.time()) if given.until else given.seconds
    schedule = Schedule(
        steps=steps, lr=1e-3 * rate, muon=6e-3 * rate, warmup=50, hold=int(steps * given.hold), weight_decay=0.02,
        ema=0.995, seed=_SEED + steps, seconds=seconds,
    )  # fmt: skip
    learn_words(student.to(device), pool, schedule, given.batch, _log("words", given), given.workers)
    _keep(student.cpu(), kept, given)


def _log(stage: str, given: argparse.Namespace) -> str:
    """Where a stage keeps its checkpoints; one that goes on from a finished run has its own."""
    return f"describer/{stage}-on" if given.go_on else f"describer/{stage}"


def _keep(model: torch.nn.Module, kept: Path, given: argparse.Namespace) -> None:
    torch.save(model.state_dict(), kept)
    if given.go_on:
        shutil.rmtree(FOLDER / f"{kept.stem}-on")


def _folder(given: argparse.Namespace, device: torch.device) -> None:  # noqa: ARG001
    student = Student(open_tokenizer())
    student.load_state_dict({n: v.float() for n, v in torch.load(FOLDER / "words.pt", weights_only=True).items()})
    learn_gate(student.reader, *gate_features())
    write_folder(student, given.out)


def main() -> None:
    """Run the stages that are asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=STAGES, nargs="+", default=list(STAGES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one")
    parser.add_argument("--workers", type=int, default=0, help="processes that compose and draw beside this one")
    parser.add_argument("--pool", type=int, default=SEEN, help="scenes to learn from")
    parser.add_argument("--sight-steps", type=int, default=4500)
    parser.add_argument("--sight-batch", type=int, default=64)
    parser.add_argument("--sight-seconds", type=float, default=0, help="end sight after so much work")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch", type=int, default=20, help="scenes of a step, beside pairs and photographs")
    parser.add_argument("--hold", type=float, default=0.3, help="share of the steps at full rate")
    parser.add_argument(
        "--go-on", type=float, default=0, metavar="RATE", help="from what there is, at RATE of the rates"
    )
    parser.add_argument("--seconds", type=float, default=0, help="end the words after so much work")
    parser.add_argument("--until", type=float, default=0, help="or at this time, in seconds since 1970")
    parser.add_argument("--out", type=Path, default=FOLDER / "model")
    given = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(given.threads)
    device = device_of(given.device)
    stages = {"sight": _sight, "words": _words, "folder": _folder}
    for stage in STAGES:
        if stage in given.only:
            stages[stage](given, device)


if __name__ == "__main__":
    main()
