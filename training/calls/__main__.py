"""Trains what decides which tool a message calls for: `python -m training.calls` (docs/training.md)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.calls.messages import random_message
from training.calls.model import UNKNOWN, encoded, labels, load, make_model, make_tokenizer
from training.evaluate import MODELS
from training.loop import Schedule, fit

FOLDER = MODELS / "calls"
_VOCABULARY_SEED = 77
_LETTERS_FROM = 60_000
"""Messages whose letters become tokens."""
_UNTOLD = -100


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--muon", type=float, default=1e-2)
    parser.add_argument("--unread", type=float, default=0.06, help="how many letters are hidden from the model")
    parser.add_argument("--start", type=Path, help="go on from this model's folder")
    parser.add_argument("--name", default="calls", help="of the run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(4)
    if arguments.start is not None:
        model, tokenizer = load(arguments.start)
    else:
        rng = np.random.default_rng(_VOCABULARY_SEED)
        tokenizer = make_tokenizer(random_message(rng).text for _ in range(_LETTERS_FROM))
        model = make_model(tokenizer.get_vocab_size())
    unknown = tokenizer.token_to_id(UNKNOWN)

    def loss_of(_: int, rng: np.random.Generator) -> Tensor:
        messages = [random_message(rng) for _ in range(arguments.batch)]
        rows = []
        for message in messages:
            row, offsets = encoded(message, tokenizer)
            hidden = rng.random(len(row)) < arguments.unread
            hidden[0] = False
            known = labels(message, offsets)
            rows.append(([unknown if hide else token for token, hide in zip(row, hidden, strict=True)], known))
        longest = max(len(row) for row, _ in rows)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row, _ in rows])
        wanted = torch.tensor([known + [_UNTOLD] * (longest - len(known)) for _, known in rows])
        scores = model(input_ids=ids, attention_mask=ids.ne(0).long()).logits.float()
        tools = F.cross_entropy(scores[:, 0], wanted[:, 0], label_smoothing=0.05)
        spans = F.cross_entropy(scores[:, 1:].flatten(0, 1), wanted[:, 1:].flatten(), ignore_index=_UNTOLD)
        return tools + spans

    schedule = Schedule(
        steps=arguments.steps, lr=arguments.lr, muon=arguments.muon, hold=arguments.steps // 2, weight_decay=0.02
    )
    fit(arguments.name, model, loss_of, schedule)
    arguments.out.mkdir(parents=True, exist_ok=True)
    model.bfloat16().save_pretrained(arguments.out)
    tokenizer.save(str(arguments.out / "tokenizer.json"))


if __name__ == "__main__":
    main()
