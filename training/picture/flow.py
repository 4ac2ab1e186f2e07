"""The flow transformer of the picture model, and its training on the bank."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import FluxTransformer2DModel
from transformers import PreTrainedTokenizerFast

from training.image_flow import FlowTask, begin_as_identity
from training.image_text import WIDTH, TextEncoders, tokenize
from training.image_vae import CHANNELS
from training.loop import Check, Schedule, fit
from training.picture.bank import WORDINGS, Bank
from training.picture.text import classes

EDITED: Final = 0.25
"""The share of a step's pictures that are changes, once they are learnt."""
_NO_PROMPT: Final = 0.1
_NOISIER: Final = 0.3


def build_flow_transformer() -> FluxTransformer2DModel:
    """4.7 M parameters: 1 double and 6 single blocks, 6 heads of 32."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * CHANNELS,
        num_layers=1,
        num_single_layers=6,
        attention_head_dim=32,
        num_attention_heads=6,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )
    begin_as_identity(transformer)
    return transformer


def _layout_loss(told: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
    return 0.2 * F.cross_entropy(told.flatten(0, 1), layout.flatten().long())


def train_flow(
    transformer: FluxTransformer2DModel,
    encoders: TextEncoders,
    tokenizer: PreTrainedTokenizerFast,
    bank: Bank,
    schedule: Schedule,
    *,
    batch: int,
    edits_from: float,
    check: Check | None = None,
    name: str = "picture/flow",
) -> None:
    """Train the transformer in place (log: `.runs/picture/flow`); the encoders stay as they are.

    From the share `edits_from` of the schedule on, a quarter of a step's pictures are changed ones, each learnt in
    both directions.
    """
    device = transformer.device
    task = FlowTask(transformer, len(classes()) + 1, _layout_loss, _NOISIER).to(device)
    encoders = encoders.to(device).eval()
    bank = bank.to(device)
    silence = tokenize(tokenizer, [""]).to(device)

    @torch.no_grad()
    def conditioning(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ids = ids.long()
        ids[: int(len(ids) * _NO_PROMPT)] = silence
        sequence, pooled = encoders(ids)
        return sequence, pooled

    def numbers(rng: np.random.Generator, below: int, count: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(below, size=count)).to(device)

    def loss_of(step: int, rng: np.random.Generator) -> torch.Tensor:
        edited = round(batch * EDITED) if step >= edits_from * schedule.steps else 0
        rows = numbers(rng, len(bank.tokens), batch - edited)
        prompts = bank.prompts[rows, numbers(rng, WORDINGS, len(rows))]
        loss = task.loss(bank.tokens[rows].float(), bank.layout[rows], conditioning(prompts))
        if not edited:
            return loss
        changes, back = numbers(rng, len(bank.changes), edited), numbers(rng, 2, edited)
        before, after = bank.changes[changes, back], bank.changes[changes, 1 - back]
        asked = conditioning(bank.instructions[changes, back, numbers(rng, WORDINGS, edited)])
        of_edits = task.loss(bank.tokens[after].float(), bank.layout[after], asked, bank.tokens[before].float())
        share = edited / batch
        return (1 - share) * loss + share * of_edits

    fit(name, task, loss_of, schedule, check)
