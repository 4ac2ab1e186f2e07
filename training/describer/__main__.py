"""Make the describer: `python -m training.describer`, after `python -m training.art`.

Three stages, each kept under `.runs/describer/`: sight (what is there), words (a small language model learns to tell of
it), and the folder that serves: matrices in 8 bits, a gate that knows
shapes, drawings and photographs apart, and no EfficientNet, which comes in a wheel. A run that was ended goes on with
the same command. `--seconds` and `--sight-seconds` end a stage after so much work, with its rate fallen to nothing by
then.
"""

from __future__ import annotations

import argparse
import os
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


@cache
def _pool(count: int, workers: int, device: torch.device) -> Pool:
    return make_pool(count, workers=workers).to(device)


def _sight(given: argparse.Namespace, device: torch.device) -> None:
    kept = FOLDER / "sight.pt"
    if kept.exists():
        return
    torch.manual_seed(92)
    reader = new_reader().to(device)
    steps = given.sight_steps
    schedule = Schedule(
        steps=steps, lr=1e-3, muon=6e-3, warmup=50, hold=steps // 2, weight_decay=0.03, ema=0.995, seed=92,
        seconds=given.sight_seconds,
    )  # fmt: skip
    pool = _pool(given.pool, given.workers, device)
    unseen = make_pool(UNSEEN, unseen=True).to(device) if has_unseen_world() else None
    learn_sight(reader, pool, unseen, schedule, given.sight_batch)
    torch.save(reader.cpu().state_dict(), kept)


def _words(given: argparse.Namespace, device: torch.device) -> None:
    kept = FOLDER / "words.pt"
    if kept.exists():
        return
    torch.manual_seed(93)
    student = Student(open_tokenizer())
    student.reader.load_state_dict(torch.load(FOLDER / "sight.pt", weights_only=True))
    student.say_by_name()
    steps = given.steps
    pool = _pool(given.pool, given.workers, device)
    seconds = max(1.0, given.until - time.time()) if given.until else given.seconds
    schedule = Schedule(
        steps=steps, lr=1.2e-3, muon=8e-3, warmup=50, hold=int(steps * given.hold), weight_decay=0.02, ema=0.995,
        seed=94, seconds=seconds,
    )  # fmt: skip
    learn_words(student.to(device), pool, schedule, given.batch, workers=given.workers)
    torch.save(student.cpu().state_dict(), kept)


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
    parser.add_argument("--hold", type=float, default=0.75, help="share of the steps at full rate")
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
