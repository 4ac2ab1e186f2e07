"""The flow transformer of the picture model, what it is told, and their training on the bank."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import nn
from torch.nn import functional

from models.image.draft import CHANNELS, Layout, parts_of
from models.image.painter import PaintingTransformer
from models.image.wish_encoder import Telling, WishConfig
from models.image.wishes import ABOUT_A_THING, GLOBALS, KINDS, PARTS, Conditioning
from training.composer.grounds import PAINTED, VARIANTS
from training.composer.scene import GROUNDS, SIDE, Ground, Scene
from training.composer.words import PLAIN_STYLE
from training.loop import Check, Schedule, fit
from training.picture.autoencoder import encode
from training.picture.bank import GRID, Bank
from training.picture.wishes import DESIGNS, drawing_table, nothing_wished
from training.picture.world import GREY_PAPER, World, drawing_alone, to_tensor
from training.world import paint

EDITED: Final = 0.45
"""The share of a step's pictures that are changes."""
POOLED: Final = 16
"""Numbers of FLUX's pooled vector, which tells nothing here: all of them are 0."""
_NO_PROMPT: Final = 0.1
_DESCRIBED: Final = 0.1
"""The share of the changes whose wish is the whole picture that comes out."""
_ADDED: Final = 0.03
"""The share of the things alone that are wished for as if they were added to a picture."""
_NOISIER: Final = 0.3
"""How much further towards noise, in logits, times are drawn."""
_JITTER: Final = (1.0 / SIDE, 0.04)
"""Standard deviations of what is told of a target: its middle's in shares of the picture, its side's in its own."""
_FINDING_WEIGHT: Final = 0.1
_FINDERS_NOISE: Final = 0.1
_COVERAGE_WEIGHT: Final = 2.0
"""How much what a drawing covers counts beside each of its latents where codes are found."""
_FIRST: Final = slice(len(GLOBALS), len(GLOBALS) + len(PARTS))


def build_flow_transformer(config: WishConfig) -> PaintingTransformer:
    """3.7 M parameters: 8 single blocks, 5 heads of 32."""
    transformer: PaintingTransformer = PaintingTransformer(
        answers=config.answers, code=config.code, pooled_projection_dim=POOLED
    )
    _begin_as_identity(transformer)
    return transformer


def _begin_as_identity(transformer: FluxTransformer2DModel) -> None:
    """Close every block's gates and the output: each block passes on what it is given until it has learnt better."""
    blocks = transformer.single_transformer_blocks
    for layer in (*(block.norm.linear for block in blocks), transformer.norm_out.linear, transformer.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


@torch.no_grad()
def learn_drawings(telling: Telling, transformer: PaintingTransformer, vae: AutoencoderKL, world: World) -> None:
    """Let each drawing's vectors be what most tells apart its sixteen parts, and grounds their latents' means.

    A part is what the latents and the drawing's coverage are there; what comes of this in closed form stays as it is,
    but for the grounds, which learn on.
    """
    table, shown = drawing_table(world.stock.drawings)
    telling.drawing_of.copy_(table)
    scenes = [drawing_alone(name, way, world.stock) for name, way in shown.values()]
    latents = _latents(vae, [world.composer.compose(scene) for scene in scenes])
    covered = torch.stack([torch.from_numpy(world.composer.covers(scene, 2 * GRID)).amax(0) for scene in scenes])
    weights = torch.ones(CHANNELS + 1).index_fill(0, torch.tensor([CHANNELS]), _COVERAGE_WEIGHT)
    weighted = parts_of(torch.cat([latents, covered[:, None]], 1) * weights[:, None, None])
    flat = weighted.flatten(0, 1)
    mean = flat.mean(0)
    directions = torch.linalg.svd((flat - mean)[:: max(1, len(flat) // 8192)], full_matrices=False).Vh
    directions = directions[: telling.code]
    found = (flat - mean) @ directions.T
    unit, each = found.std(), weights.repeat_interleave(flat.shape[1] // len(weights))
    telling.drawings.weight.zero_()
    telling.drawings.weight[list(shown)] = (found / unit).view(len(shown), -1)
    transformer.draft.basis.copy_(directions * unit / each)
    transformer.draft.mean.copy_(mean / each)
    rng = np.random.default_rng(0)
    for number, ground in enumerate(GROUNDS, 1):
        pictures = [world.composer.compose(_nothing_on(ground, variant, rng)) for variant in range(VARIANTS)]
        transformer.draft.grounds.weight[number] = _latents(vae, pictures).mean(0).flatten()


def _latents(vae: AutoencoderKL, pictures: list[np.ndarray]) -> torch.Tensor:
    """Float32 [n, 8, 16, 16]."""
    parts = torch.split(to_tensor(np.stack(pictures)), 32)
    tokens = torch.cat([encode(vae, pixels.to(vae.device)).float().cpu() for pixels in parts])
    return functional.pixel_shuffle(tokens.transpose(1, 2).reshape(len(tokens), -1, GRID, GRID), 2)


def _nothing_on(ground: Ground, variant: int, rng: np.random.Generator) -> Scene:
    colour = GREY_PAPER if ground in PAINTED else paint(ground, rng)  # type: ignore[arg-type]
    return Scene(ground, variant if ground in PAINTED else 0, colour, PLAIN_STYLE, ())


def learn_layout(layout: Layout, fields: torch.Tensor, where: torch.Tensor, steps: int = 2000) -> float:
    """Learn where things of wishes stand, from where they are in pictures; return the error, in shares of a picture.

    `fields` and `where` as in `Conditioning`. Places differ a little from picture to picture, and their mean is learnt.
    """
    optimiser = torch.optim.AdamW(layout.parameters(), lr=1e-2, weight_decay=0.0)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    is_there = (where[..., 2:] > 0).float()
    generator = torch.Generator().manual_seed(76)
    for _ in range(steps):
        rows = torch.randint(len(fields), (1024,), generator=generator).to(fields.device)
        wrong = _error(layout(fields[rows]), where[rows]) * is_there[rows]
        loss = wrong.square().sum() / is_there[rows].sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()
    with torch.no_grad():
        wrong = _error(layout(fields), where)[..., :2] * is_there
        return float(wrong.abs().sum() / is_there.sum() / 2)


def _error(guessed: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    sides = guessed[..., 2:].log() - there[..., 2:].clamp(min=1e-3).log()
    return torch.cat([guessed[..., :2] - there[..., :2], 0.25 * sides], -1)


def _is_one(wishes: torch.Tensor) -> torch.Tensor:
    """Which wishes are for one thing, in the design that things are added in."""
    plain = wishes[:, GLOBALS.index("design")] == 1 + DESIGNS.index(PLAIN_STYLE)
    return (wishes[:, _FIRST.start] > 0) & (wishes[:, _FIRST.stop] == 0) & plain


def _as_added(wishes: torch.Tensor) -> torch.Tensor:
    """Wishes for one thing as if it were added to a picture: who asks for that where there is none wants it drawn."""
    added = torch.zeros_like(wishes)
    added[:, GLOBALS.index("kind")] = KINDS.index("add")
    added[:, _FIRST.stop : _FIRST.stop + len(PARTS)] = wishes[:, _FIRST]
    return added


class DrawingTask(nn.Module):
    """The transformer with what tells it wishes.

    Rectified flow as FLUX is trained: x_t = (1 - t) x + t noise, the model tells noise - x. What is told of scenes is
    where things are in them, exactly; of changes, roughly, since the finder will only know it roughly. The finder
    learns beside it.
    """

    def __init__(self, transformer: PaintingTransformer, telling: Telling) -> None:
        super().__init__()
        self.transformer = transformer
        self.telling = telling.requires_grad_(False)

    def of_scenes(self, clean: torch.Tensor, wishes: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """The loss for pictures [n, 64, 32] of wishes [n, fields] whose things are there [n, 3, 3]."""
        told = self._told(wishes, where)
        return self._loss(clean, told, torch.zeros_like(told.where[:, 0]), None)

    def of_changes(
        self, clean: torch.Tensor, reference: torch.Tensor, asked: torch.Tensor, moved: torch.Tensor
    ) -> torch.Tensor:
        """The loss for pictures that come of references [n, 64, 32] by changes that move figures [n, 3, 3]."""
        told = self._told(asked, moved)
        there = moved[:, 0] * told.is_a(*ABOUT_A_THING)[:, None]
        finding = self.transformer.finder.loss(told, reference, there, GRID, GRID)
        return self._loss(clean, told, _jittered(there), reference) + _FINDING_WEIGHT * finding

    def _told(self, wishes: torch.Tensor, where: torch.Tensor) -> Conditioning:
        """Some of the wishes are kept from it. Where a thing is not, nothing is said of it but what the wish does."""
        silent = max(1, round(len(wishes) * _NO_PROMPT))
        told = self.telling.told(torch.cat([nothing_wished(silent).to(wishes.device), wishes[silent:].long()]))
        known = (where[..., 2:] > 0) & (told.where[..., 2:] > 0)
        return replace(told, where=torch.where(known, where, told.where))

    def _loss(
        self, clean: torch.Tensor, told: Conditioning, found: torch.Tensor, reference: torch.Tensor | None
    ) -> torch.Tensor:
        noise = torch.randn_like(clean)
        times = torch.sigmoid(torch.randn(len(clean), device=clean.device) + _NOISIER)
        velocity = self.transformer.paint(
            torch.lerp(clean, noise, times[:, None, None]),
            told,
            found,
            reference,
            GRID,
            GRID,
            timestep=times,
            pooled_projections=torch.zeros(len(clean), POOLED, device=clean.device),
            return_dict=False,
        )[0]
        return functional.mse_loss(velocity.float(), noise - clean)


def _jittered(there: torch.Tensor) -> torch.Tensor:
    """Roughly there, as the finder will find it."""
    shaken = torch.randn_like(there)
    jittered = torch.cat(
        [there[:, :2] + _JITTER[0] * shaken[:, :2], there[:, 2:] * (1 + _JITTER[1] * shaken[:, 2:])], 1
    )
    return jittered * (there[:, 2:] > 0)


def train_flow(
    transformer: PaintingTransformer,
    telling: Telling,
    bank: Bank,
    schedule: Schedule,
    *,
    batch: int,
    check: Check | None = None,
    name: str = "picture/flow",
) -> None:
    """Train the transformer in place (log: `.runs/picture/flow`); changes are learnt in both directions."""
    device = transformer.device
    task = DrawingTask(transformer, telling).to(device)
    bank = bank.to(device)
    edited = round(batch * EDITED)

    def numbers(rng: np.random.Generator, below: int, count: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(below, size=count)).to(device)

    def loss_of(_step: int, rng: np.random.Generator) -> torch.Tensor:
        rows = bank.scenes[numbers(rng, len(bank.scenes), batch - edited)]
        wishes, where = bank.wishes[rows], bank.where[rows]
        added = torch.from_numpy(rng.random(len(rows)) < _ADDED).to(device) & _is_one(wishes)
        wishes = torch.where(added[:, None], _as_added(wishes), wishes)
        where = torch.where(added[:, None, None], where.roll(1, 1), where)
        of_scenes = task.of_scenes(bank.tokens[rows].float(), wishes, where)
        changes, back = numbers(rng, len(bank.pairs), edited), numbers(rng, 2, edited)
        before, after = bank.pairs[changes, back], bank.pairs[changes, 1 - back]
        described = torch.from_numpy(rng.random(edited) < _DESCRIBED).to(device)
        asked = torch.where(described[:, None], bank.wishes[after], bank.asked[changes, back])
        moved = bank.moved[changes, back] * ~described[:, None, None]
        of_changes = task.of_changes(bank.tokens[after].float(), bank.tokens[before].float(), asked, moved)
        return (1 - EDITED) * of_scenes + EDITED * of_changes

    fit(name, task, loss_of, schedule, check)


def train_finder(
    transformer: PaintingTransformer,
    telling: Telling,
    bank: Bank,
    schedule: Schedule,
    *,
    batch: int,
    name: str = "picture/finder",
) -> None:
    """Let the finder alone go on (log: `.runs/picture/finder`), in pictures with a little noise."""
    device = transformer.device
    asked, moved = bank.asked.flatten(0, 1).long(), bank.moved.flatten(0, 1)[:, 0]
    kinds = torch.tensor([KINDS.index(kind) for kind in ABOUT_A_THING])
    about = torch.isin(asked[:, GLOBALS.index("kind")], kinds).nonzero().flatten()
    before = bank.pairs.flatten()
    asked, moved, before, tokens = (each.to(device) for each in (asked, moved, before, bank.tokens))
    task = nn.ModuleDict({"finder": transformer.finder})

    def loss_of(_step: int, rng: np.random.Generator) -> torch.Tensor:
        rows = about[torch.from_numpy(rng.integers(len(about), size=batch))].to(device)
        reference = tokens[before[rows]].float()
        reference = reference + _FINDERS_NOISE * torch.randn_like(reference)
        with torch.no_grad():
            told = telling.told(asked[rows])
        return transformer.finder.loss(told, reference, moved[rows], GRID, GRID)

    fit(name, task, loss_of, schedule)
