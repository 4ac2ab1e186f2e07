"""Make the describer: `python -m training.describer`, after `python -m training.art`.

Four stages, each kept under `.runs/describer/`: sight (what cells are part of), early (a small language model learns to
tell what they say, from sight as it is; may run beside it), words (both together), and the folder that serves: matrices
in 8 bits, a gate that knows shapes, drawings and photographs apart, and no EfficientNet, which comes in a wheel. A run
that was ended goes on with the same command.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

import torch

from training.describer.folder import gate_features, learn_gate, write_folder
from training.describer.pool import FOLDER, open_pool
from training.describer.sight import Sight, learn_sight
from training.describer.student import TAUGHT_BY_WORDS, Student, learn_words, open_tokenizer
from training.loop import Schedule

STAGES: Final = ("sight", "early", "words", "folder")


def _sight(given: argparse.Namespace) -> None:
    kept = FOLDER / "sight.pt"
    if kept.exists():
        return
    torch.manual_seed(92)
    sight = Sight()
    steps = given.sight_steps
    schedule = Schedule(
        steps=steps, lr=1e-3, muon=6e-3, warmup=50, hold=steps // 2, weight_decay=0.03, ema=0.995, seed=92
    )
    learn_sight(sight, open_pool(), open_pool(unseen=True), schedule, given.sight_batch)
    torch.save(sight.state_dict(), kept)


def _early(given: argparse.Namespace) -> None:
    kept = FOLDER / "early.pt"
    if kept.exists():
        return
    torch.manual_seed(93)
    student = Student(open_tokenizer())
    steps = given.early_steps
    schedule = Schedule(steps=steps, lr=1.2e-3, muon=8e-3, warmup=50, hold=steps, weight_decay=0.02, ema=0.99, seed=93)
    learn_words(student, open_pool(), schedule, given.batch, "describer/early", follow=True)
    torch.save(student.state_dict(), kept)


def _words(given: argparse.Namespace) -> None:
    kept = FOLDER / "words.pt"
    if kept.exists():
        return
    student = Student(open_tokenizer())
    if (FOLDER / "early.pt").exists():
        student.load_state_dict(torch.load(FOLDER / "early.pt", weights_only=True))
    known = torch.load(FOLDER / "sight.pt", weights_only=True)
    student.sight.load_state_dict({n: v for n, v in known.items() if not n.startswith(TAUGHT_BY_WORDS)}, strict=False)
    steps = given.steps
    schedule = Schedule(
        steps=steps,
        lr=1.2e-3,
        muon=8e-3,
        warmup=50,
        hold=int(steps * given.hold),
        weight_decay=0.02,
        ema=0.995,
        seed=94,
        seconds=given.seconds,
    )
    learn_words(student, open_pool(), schedule, given.batch, "describer/words")
    torch.save(student.state_dict(), kept)


def _folder(given: argparse.Namespace) -> None:
    student = Student(open_tokenizer())
    student.load_state_dict(torch.load(FOLDER / "words.pt", weights_only=True))
    learn_gate(student.sight.reader, *gate_features(open_pool()))
    write_folder(student, given.out)


def main() -> None:
    """Run the stages that are asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=STAGES, nargs="+", default=list(STAGES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sight-steps", type=int, default=4500)
    parser.add_argument("--sight-batch", type=int, default=64)
    parser.add_argument("--early-steps", type=int, default=1100, help="of the words while sight is still learnt beside")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch", type=int, default=20, help="scenes of a step, beside pairs and photographs")
    parser.add_argument("--hold", type=float, default=0.75, help="share of the steps at full rate")
    parser.add_argument("--seconds", type=float, default=0, help="end the words after so much work")
    parser.add_argument("--out", type=Path, default=FOLDER / "model")
    given = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(given.threads)
    stages = {"sight": _sight, "early": _early, "words": _words, "folder": _folder}
    for stage in STAGES:
        if stage in given.only:
            stages[stage](given)


if __name__ == "__main__":
    main()
