"""Make the describer: `python -m training.describer`, after `python -m training.art`.

Four stages. Three teach, each by itself, and may run side by side: sight (which things there are, and where), spelling
(which letters) and words (a small language model learns to tell of it); they are kept under `.runs/describer/`. The
last writes the folder that serves: matrices in 8 bits, a gate that knows shapes, drawings and photographs apart, and no
EfficientNet, which comes in a wheel. A run that was ended goes on with the same command; `--go-on` makes more of what
is finished. `--seconds` ends a stage after so much work, with its rate fallen to nothing by then.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from training.art.designs import designs_for
from training.art.shelf import are_rendered
from training.describer.folder import gate_features, learn_gate, write_folder
from training.describer.pool import FOLDER, SEEN, UNSEEN, make_pool
from training.describer.sight import learn_sight, learn_spelling, new_reader
from training.describer.student import Student, learn_words, open_tokenizer
from training.loop import Schedule
from training.picture.world import device_of

STAGES: Final = ("sight", "spelling", "words", "folder")
_SEED: Final = 92
"""The steps are added to it, so that a run that goes on need not see the batches of the one before."""
_STEPS: Final = {"sight": 6000, "spelling": 6000, "words": 5000}
_DECAY: Final = {"sight": 0.03, "spelling": 0.03, "words": 0.02}


def _schedule(stage: str, given: argparse.Namespace) -> Schedule:
    steps, rate = given.steps or _STEPS[stage], given.go_on or 1.0
    seconds = max(1.0, given.until - time.time()) if given.until else given.seconds
    return Schedule(
        steps=steps, lr=1e-3 * rate, muon=6e-3 * rate, warmup=50, hold=int(steps * given.hold),
        weight_decay=_DECAY[stage], ema=0.998, seed=_SEED + steps, seconds=seconds,
    )  # fmt: skip


def _find(stage: str, learn: Callable[..., None], given: argparse.Namespace, device: torch.device) -> None:
    """Teach one of the parts that find; each keeps a whole reader, of which only its own part has learnt."""
    kept = FOLDER / f"{stage}.pt"
    if kept.exists() and not given.go_on:
        return
    torch.manual_seed(_SEED)
    reader = new_reader()
    if kept.exists():
        reader.load_state_dict(torch.load(kept, weights_only=True))
    pool = make_pool(given.pool, workers=given.workers).to(device)
    unseen = make_pool(UNSEEN, unseen=True).to(device) if are_rendered(designs_for("judge")) else None
    learn(reader.to(device), pool, unseen, _schedule(stage, given), given.pictures, _log(stage, given))
    _keep(reader.cpu(), kept, given)


def _words(given: argparse.Namespace, device: torch.device) -> None:
    kept = FOLDER / "words.pt"
    if kept.exists() and not given.go_on:
        return
    torch.manual_seed(93)
    student = Student(open_tokenizer())
    if kept.exists():
        student.load_state_dict(torch.load(kept, weights_only=True))
    else:
        student.say_by_name()
    learn_words(student.to(device), _schedule("words", given), given.batch, _log("words", given), given.workers)
    _keep(student.cpu(), kept, given)


def _log(stage: str, given: argparse.Namespace) -> str:
    """Where a stage keeps its checkpoints; one that goes on from a finished run has its own."""
    return f"describer/{stage}-on" if given.go_on else f"describer/{stage}"


def _keep(model: torch.nn.Module, kept: Path, given: argparse.Namespace) -> None:
    torch.save(model.state_dict(), kept)
    if given.go_on:
        shutil.rmtree(FOLDER / f"{kept.stem}-on")


def _folder(given: argparse.Namespace) -> None:
    student = Student(open_tokenizer())
    student.load_state_dict(torch.load(FOLDER / "words.pt", weights_only=True))
    student.find_as(*(torch.load(FOLDER / f"{stage}.pt", weights_only=True) for stage in ("sight", "spelling")))
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
    parser.add_argument("--steps", type=int, default=0, help="of each stage")
    parser.add_argument("--pictures", type=int, default=64, help="of a step of sight and of spelling")
    parser.add_argument("--batch", type=int, default=20, help="scenes of a step of words, beside pairs and photographs")
    parser.add_argument("--hold", type=float, default=0.3, help="share of the steps at full rate")
    parser.add_argument(
        "--go-on", type=float, default=0, metavar="RATE", help="from what there is, at RATE of the rates"
    )
    parser.add_argument("--seconds", type=float, default=0, help="end each stage after so much work")
    parser.add_argument("--until", type=float, default=0, help="or at this time, in seconds since 1970")
    parser.add_argument("--out", type=Path, default=FOLDER / "model")
    given = parser.parse_args()
    if given.until and len(set(given.only) - {"folder"}) > 1:
        parser.error("--until is for one stage at a time: --only sight, spelling or words")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(given.threads)
    device = device_of(given.device)
    for stage, learn in (("sight", learn_sight), ("spelling", learn_spelling)):
        if stage in given.only:
            _find(stage, learn, given, device)
    if "words" in given.only:
        _words(given, device)
    if "folder" in given.only:
        _folder(given)


if __name__ == "__main__":
    main()
