"""The flow transformer of the image model: what it learns from, its loss, and what the pipeline needs around it.

Rectified flow as FLUX is trained: x_t = (1 - t) x + t noise, the model tells noise - x. Beside it a small head, thrown
away afterwards, must tell from the middle of the network what stands where; so the layers before it learn early to
turn words into a layout, which is what this costs most steps otherwise. Edits are learnt as FLUX.1 Kontext does: the
picture to change stands behind the noise as more tokens, told apart by the first of their three positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import nn
from transformers import PreTrainedTokenizerFast

from training.edits import Edit, random_edit, undone
from training.image_text import WIDTH, TextEncoders, prompt_of, tokenize
from training.image_vae import CHANNELS, encode, pixels_of
from training.loop import Schedule, fit
from training.world import COLOURS, SHAPES, SIDE, Scene, coverage, is_usual, random_scene

GRID: Final = SIDE // 8
"""Image tokens a side."""
BATCH: Final = 32
"""Pictures in a step."""
USUAL: Final = 0.5
"""The share of the pictures without a reference that show things where they go when nobody says where."""
EDITS: Final = 32_000
USUAL_SCENES: Final = 4_000
_SEED: Final = 31
_NO_PROMPT: Final = 0.1
_LAYOUT_WEIGHT: Final = 0.5
_EDITS_NOISIER: Final = 1.0
"""How much further towards noise, in logits, edits are learnt: only there must the model look at the reference."""
_FINE: Final = 2 * GRID
"""The layout head's cells a side: four for each token."""
_KINDS: Final = len(SHAPES) + len(COLOURS)


def build_transformer() -> FluxTransformer2DModel:
    """2.6 M parameters; every block starts as the identity (gates and output at zero)."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * CHANNELS,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )
    begin_as_identity(transformer)
    return transformer


def begin_as_identity(transformer: FluxTransformer2DModel) -> None:
    """Close every block's gates and the output: each block passes on what it is given until it has learnt better."""
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    modulations = [block.norm.linear if hasattr(block, "norm") else block.norm1.linear for block in blocks]
    modulations += [block.norm1_context.linear for block in transformer.transformer_blocks]
    for layer in (*modulations, transformer.norm_out.linear, transformer.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def image_ids(of_reference: bool = False) -> torch.Tensor:
    """Float32 [tokens, 3]: 0 (1 for the tokens of a reference picture), row, column."""
    rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    first = torch.full_like(rows, int(of_reference))
    return torch.stack([first, rows, columns], dim=-1).reshape(-1, 3).float()


@dataclass(frozen=True)
class LatentScenes:
    """Scenes with their latents: float16 [n, 64, 32], and where their things are: uint8 [n, 3, 16, 16]."""

    scenes: list[Scene]
    tokens: torch.Tensor
    places: torch.Tensor

    def layout(self, chosen: np.ndarray) -> torch.Tensor:
        """How much of each cell each shape and each colour covers: float32 [n, tokens, 4 * (8 + 8)], 0-1."""
        maps = torch.zeros(len(chosen), _KINDS, _FINE, _FINE)
        for row, index in enumerate(chosen):
            for thing, place in zip(self.scenes[index].things, self.places[index], strict=False):
                covered = place.float() / 255
                maps[row, SHAPES.index(thing.shape)] += covered
                maps[row, len(SHAPES) + COLOURS.index(thing.colour)] += covered
        cells = maps.clamp(max=1).view(len(chosen), _KINDS, GRID, 2, GRID, 2).permute(0, 2, 4, 1, 3, 5)
        return cells.reshape(len(chosen), GRID * GRID, 4 * _KINDS)


@dataclass(frozen=True)
class LatentEdits:
    """Changes with the latents of their pictures.

    `pictures` holds each change's scene before and the one after it, and then scenes with the usual places.
    """

    edits: list[Edit]
    pictures: LatentScenes

    @classmethod
    def of(cls, tokens: torch.Tensor, places: torch.Tensor, usual: int = USUAL_SCENES) -> LatentEdits:
        """From what was kept of it; the changes follow from their seeds."""
        edits, scenes = _training_scenes((len(tokens) - usual) // 2, usual)
        return cls(edits, LatentScenes(scenes, tokens, places))


def _training_scenes(edits: int, usual: int) -> tuple[list[Edit], list[Scene]]:
    drawn = [random_edit(np.random.default_rng((_SEED, number))) for number in range(edits)]
    scenes = [scene for edit in drawn for scene in (edit.before, edit.after)]
    return drawn, scenes + [_usual_scene(number) for number in range(usual)]


def _usual_scene(number: int) -> Scene:
    rng = np.random.default_rng((_SEED, 1 << 40, number))
    count = int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]))
    things = tuple(float(i == count) for i in range(4))
    while not is_usual(scene := random_scene(rng, things=things)):
        pass
    return scene


@torch.no_grad()
def draw_latents(vae: AutoencoderKL, count: int = EDITS, usual: int = USUAL_SCENES) -> LatentEdits:
    """Draw the scenes of so many changes, and so many with the usual places, and encode them."""
    edits, scenes = _training_scenes(count, usual)
    places = torch.zeros(len(scenes), 3, _FINE, _FINE, dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = [encode(vae, pixels_of(scenes[i : i + 64])).half() for i in range(0, len(scenes), 64)]
    for i, scene in enumerate(scenes):
        if scene.things:
            places[i, : len(scene.things)] = torch.from_numpy((coverage(scene, _FINE) * 255).astype(np.uint8))
    return LatentEdits(edits, LatentScenes(scenes, torch.cat(tokens), places))


class FlowTask(nn.Module):
    """The transformer with its layout head, which reads the image tokens after the first single block.

    `told` is how wide the head's answer is for each token, `layout_loss(answer, layout)` how wrong it is. Times are
    drawn `noisier` by so much, in logits.
    """

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        told: int,
        layout_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        noisier: float = 0.0,
    ) -> None:
        super().__init__()
        width = transformer.config.num_attention_heads * transformer.config.attention_head_dim
        self.transformer = transformer
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, told))
        self._layout_loss = layout_loss
        self._noisier = noisier
        self._middle: torch.Tensor
        transformer.single_transformer_blocks[0].register_forward_hook(self._keep)

    def _keep(self, _block: nn.Module, _given: object, returned: tuple[torch.Tensor, torch.Tensor]) -> None:
        self._middle = returned[1]

    def loss(
        self,
        clean: torch.Tensor,
        layout: torch.Tensor,
        conditioning: tuple[torch.Tensor, torch.Tensor],
        reference: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Of pictures [n, 64, 32] with layouts, from (sequence, pooled), perhaps changing a reference."""
        device = clean.device
        noise = torch.randn_like(clean)
        noisier = self._noisier + (0.0 if reference is None else _EDITS_NOISIER)
        times = torch.sigmoid(torch.randn(len(clean), device=device) + noisier)
        noisy = torch.lerp(clean, noise, times[:, None, None])
        ids = image_ids()
        if reference is not None:
            noisy, ids = torch.cat([noisy, reference], dim=1), torch.cat([ids, image_ids(of_reference=True)])
        velocity = self.transformer(
            hidden_states=noisy,
            timestep=times,
            encoder_hidden_states=conditioning[0],
            pooled_projections=conditioning[1],
            img_ids=ids.to(device),
            txt_ids=torch.zeros(conditioning[0].shape[1], 3, device=device),
            return_dict=False,
        )[0][:, : GRID * GRID]
        told = self.head(self._middle[:, : GRID * GRID])
        return F.mse_loss(velocity.float(), noise - clean) + _LAYOUT_WEIGHT * self._layout_loss(told.float(), layout)


def train_flow(
    transformer: FluxTransformer2DModel,
    encoders: TextEncoders,
    tokenizer: PreTrainedTokenizerFast,
    latents: LatentEdits,
    schedule: Schedule,
    *,
    edits_from: int,
    edited: int,
) -> None:
    """Train the transformer in place (log: `.runs/image/flow`).

    From the step `edits_from` on, `edited` of the pictures of a step are changed ones. Each change is learnt in both
    directions, and prompts are worded differently each time. The encoders stay as they are.
    """
    task = FlowTask(transformer, 4 * _KINDS, F.binary_cross_entropy_with_logits)
    encoders.eval()
    pictures = latents.pictures
    worded = np.array([i for i, scene in enumerate(pictures.scenes) if scene.things])
    usual = np.arange(2 * len(latents.edits), len(pictures.scenes))

    @torch.no_grad()
    def conditioning(wishes: Sequence[Scene | Edit], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        silent = int(len(wishes) * _NO_PROMPT)
        prompts = ["" if row < silent else prompt_of(image_request, rng) for row, image_request in enumerate(wishes)]
        sequence, pooled = encoders(tokenize(tokenizer, prompts))
        return sequence, pooled

    def loss_of(step: int, rng: np.random.Generator) -> torch.Tensor:
        with_edits = step >= edits_from
        count = BATCH - edited if with_edits else BATCH
        in_usual_places = round(USUAL * count)
        chosen = np.concatenate([rng.choice(usual, in_usual_places), rng.choice(worded, count - in_usual_places)])
        prompts = conditioning([pictures.scenes[number] for number in chosen], rng)
        loss = task.loss(pictures.tokens[chosen].float(), pictures.layout(chosen), prompts)
        if not with_edits:
            return loss
        numbers = rng.integers(len(latents.edits), size=edited)
        back = rng.integers(2, size=edited)
        before, after = 2 * numbers + back, 2 * numbers + 1 - back
        changes = [latents.edits[number] for number in numbers]
        instructions = conditioning([undone(c) if b else c for c, b in zip(changes, back, strict=True)], rng)
        reference = pictures.tokens[before].float()
        loss_of_edits = task.loss(pictures.tokens[after].float(), pictures.layout(after), instructions, reference)
        share = edited / BATCH
        return (1 - share) * loss + share * loss_of_edits

    fit("image/flow", task, loss_of, schedule)
