"""The training loop of every built-in model: AdamW or Muon, a falling rate, EMA, checkpoints, a progress bar, a log.

A run can be killed at any moment and started again with the same command: it goes on from its last checkpoint, and
because each step draws its batch from a generator seeded by (seed, step), it sees the batches it would have seen.

It runs where the model's weights are: on a CPU or a GPU.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.nn import functional

RUNS = Path(os.environ.get("ATELIER_TRAINING", ".runs"))
"""Where unfinished runs keep their checkpoints and logs; not part of the repository."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: the rate rises over `warmup` steps, then falls to 0 along a cosine.

    With `hold` it stays up until that step before it falls, so that a run can be prolonged before its fall begins.
    `muon` is the rate of Muon for the matrices of linear layers, beside AdamW at `lr` for all other weights; 0 leaves
    everything to AdamW. On these small transformers Muon needs about half as many steps.

    With `seconds` the run also ends after so much work, whatever step it has reached: the rate then falls with the
    clock where that is further on than the steps.
    """

    steps: int
    lr: float = 1e-3
    muon: float = 0.0
    warmup: int = 100
    hold: int = 0
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    checkpoint_seconds: float = 60.0
    bf16: bool = True
    seconds: float = 0.0

    def share(self, step: int, worked: float = 0.0) -> float:
        """The share, 0-1, of the highest rate that a step has after so many seconds of work."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        fall = max(self.warmup, self.hold)
        if self.seconds:
            step = max(step, round(self.steps * worked / self.seconds))
        if step < fall:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - fall) / max(1, self.steps - fall))))


LossOf = Callable[[int, np.random.Generator], torch.Tensor]
"""(step, generator of this step's batch) -> scalar loss."""


@dataclass(frozen=True)
class Check:
    """Something to look at every so many steps, with the averaged weights in the model."""

    every: int
    look: Callable[[int], None]


def fit(name: str, model: torch.nn.Module, loss_of: LossOf, schedule: Schedule, check: Check | None = None) -> None:
    """Train `model` in place, on the device where it is, and leave the averaged (EMA) weights in it.

    Parameters without `requires_grad` stay as they are. Log: `.runs/{name}/log.jsonl`, one line every 50 steps with
    step, mean loss and seconds of work so far.
    """
    folder = RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two processes would overwrite each other's checkpoints
        _fit(folder, model, loss_of, schedule, check)
    model.eval()


def _fit(folder: Path, model: torch.nn.Module, loss_of: LossOf, schedule: Schedule, check: Check | None) -> None:
    checkpoint = folder / "checkpoint.pt"
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    device = next(iter(trained.values())).device
    optimisers = _optimisers(model, schedule)
    average = {n: p.detach().clone() for n, p in trained.items()}
    first, worked = 0, 0.0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(kept["model"])
        for optimiser, state in zip(optimisers, kept["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        average, first, worked = kept["average"], kept["step"], kept["seconds"]
    begun = saved = time.monotonic()
    losses: list[torch.Tensor] = []

    def seconds() -> float:
        return worked + time.monotonic() - begun

    def save(step: int) -> None:
        partial = checkpoint.with_suffix(".partial")
        torch.save(
            {
                "model": model.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                "average": average,
                "step": step,
                "seconds": seconds(),
            },
            partial,
        )
        partial.replace(checkpoint)

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
    )
    model.train()
    with bar, (folder / "log.jsonl").open("a") as log:

        def note(step: int) -> None:
            mean = torch.stack(losses).mean().item()
            log.write(json.dumps({"step": step, "loss": round(mean, 5), "seconds": round(seconds(), 1)}) + "\n")
            log.flush()
            bar.update(task, loss=mean)
            losses.clear()

        task = bar.add_task(str(folder.relative_to(RUNS)), total=schedule.steps, completed=first, loss=math.nan)
        step = first
        while step < schedule.steps and not (schedule.seconds and seconds() > schedule.seconds):
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = group["highest_lr"] * schedule.share(step, seconds())
            torch.manual_seed(schedule.seed * 1_000_003 + step)
            with in_bfloat16(device) if schedule.bf16 else nullcontext():
                loss = loss_of(step, np.random.default_rng((schedule.seed, step)))
            model.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained.values(), schedule.clip)
            for optimiser in optimisers:
                optimiser.step()
            decay = min(schedule.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(average.values()), list(trained.values()), 1 - decay)
            losses.append(loss.detach())
            step += 1
            if len(losses) == 50:
                note(step)
            bar.advance(task)
            if time.monotonic() - saved > schedule.checkpoint_seconds:
                save(step)
                saved = time.monotonic()
            if check is not None and step % check.every == 0:
                with _averaged(model, trained, average):
                    check.look(step)
        if losses:
            note(step)
        save(step)
    with torch.no_grad():
        for n, p in trained.items():
            p.copy_(average[n])


@contextmanager
def _averaged(
    model: torch.nn.Module, trained: dict[str, torch.nn.Parameter], average: dict[str, torch.Tensor]
) -> Iterator[None]:
    """The averaged weights in the model's place, for a look at them."""
    kept = {n: p.detach().clone() for n, p in trained.items()}
    with torch.no_grad():
        for n, p in trained.items():
            p.copy_(average[n])
    model.eval()
    try:
        yield
    finally:
        with torch.no_grad():
            for n, p in trained.items():
                p.copy_(kept[n])
        model.train()


def _optimisers(model: torch.nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """AdamW for all weights that learn, or Muon for the matrices of linear layers that are no embedding's beside it."""
    trained = {id(p): p for p in model.parameters() if p.requires_grad}
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    linear = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Linear)} - embeddings
    matrices = [p for key, p in trained.items() if schedule.muon and key in linear]
    others = [p for key, p in trained.items() if not schedule.muon or key not in linear]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=schedule.lr, weight_decay=schedule.weight_decay, betas=(0.9, 0.98))
    ]
    if matrices:
        optimisers.append(torch.optim.Muon(matrices, lr=schedule.muon, weight_decay=schedule.weight_decay))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["highest_lr"] = group["lr"]
    return optimisers


@contextmanager
def in_bfloat16(device: torch.device) -> Iterator[None]:
    """Matrix products in bfloat16, where the processor multiplies it; weights and sums stay float32.

    Elsewhere it stays float32: to imitate bfloat16 takes a processor ten times as long.

    torch's fused attention is slow backwards in bfloat16 on a CPU (half of a step's time), so that it is done by plain
    products here: measured on a four-layer transformer, a step takes 0.46 s in float32, 0.34 s under autocast alone and
    0.18 s with both.
    """
    if device.type == "cuda":
        with torch.autocast("cuda", torch.bfloat16):
            yield
        return
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        yield
        return
    fused = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = _attention
    try:
        with torch.autocast("cpu", torch.bfloat16):
            yield
    finally:
        functional.scaled_dot_product_attention = fused


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` by matrix products; softmax in float32."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scores = (query @ key.transpose(-1, -2)).float() * (scale or query.shape[-1] ** -0.5)
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -1e9)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -1e9) if attn_mask.dtype == torch.bool else scores + attn_mask
    weights = functional.dropout(torch.softmax(scores, -1), dropout_p) if dropout_p else torch.softmax(scores, -1)
    return weights.to(value.dtype) @ value
