"""The flow transformer of the picture model, what it is told, and their training on the bank."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL, FluxTransformer2DModel

from models.image.painter import CELLS, GLOBALS, PARTS, PackedTransformer, Telling, WishConfig
from training.composer.edits import KINDS
from training.composer.scene import SIDE, Figure, Scene, Stock
from training.composer.words import PLAIN_STYLE
from training.image_flow import FlowTask, begin_as_identity
from training.image_vae import CHANNELS, encode
from training.loop import Check, Schedule, fit
from training.picture.bank import Bank
from training.picture.wishes import DESIGNS, classes, drawing_table, nothing_wished
from training.picture.world import World, to_tensor
from training.world import COLOURS, SHAPES, paint

EDITED: Final = 0.375
"""The share of a step's pictures that are changes, once they are learnt."""
POOLED: Final = 16
"""Numbers of FLUX's pooled vector, which tells nothing here: all of them are 0."""
_NO_PROMPT: Final = 0.1
_DESCRIBED: Final = 0.2
"""The share of the changes whose wish is the whole picture that comes out."""
_ADDED: Final = 0.03
"""The share of the things alone that are wished for as if they were added to a picture."""
_NOISIER: Final = 0.3
_FIRST: Final = slice(len(GLOBALS), len(GLOBALS) + len(PARTS))
_GREY: Final = (186, 186, 186)
"""What a thing stands on when its first vectors are found."""
_AS_LARGE: Final = 112.0


def build_flow_transformer(config: WishConfig) -> PackedTransformer:
    """3.3 M parameters: 8 single blocks, 5 heads of 32."""
    transformer = PackedTransformer(
        patch_size=1,
        in_channels=4 * CHANNELS,
        num_layers=0,
        num_single_layers=8,
        attention_head_dim=32,
        num_attention_heads=5,
        joint_attention_dim=config.said,
        pooled_projection_dim=POOLED,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )
    begin_as_identity(transformer)
    return transformer


@torch.no_grad()
def begin_with_drawings(telling: Telling, vae: AutoencoderKL, world: World, code: int) -> None:
    """Let each drawing's vectors begin as what most tells apart the latents of its sixteen parts, at unit variance.

    So the transformer can learn to put parts where they belong before every thing has been seen; both then learn on.
    """
    table, shown = drawing_table(world.stock.drawings)
    telling.drawing_of.copy_(table)
    pictures = [world.composer.compose(drawing_alone(name, way, world.stock)) for name, way in shown.values()]
    parts = []
    for pixels in torch.split(to_tensor(np.stack(pictures)), 32):
        tokens = encode(vae, pixels.to(vae.device)).float().cpu()
        grid = tokens.view(len(tokens), 4, 2, 4, 2, -1).permute(0, 1, 3, 2, 4, 5)
        parts.append(grid.reshape(len(tokens), CELLS, -1))
    flat = torch.cat(parts).flatten(0, 1)
    flat = flat - flat.mean(0)
    found = flat @ torch.linalg.svd(flat[:: max(1, len(flat) // 8192)], full_matrices=False).Vh[:code].T
    telling.drawings.weight.zero_()
    telling.drawings.weight[list(shown)] = (found / found.std()).view(len(shown), -1)


def drawing_alone(name: str, way: str, stock: Stock) -> Scene:
    """A drawing as large as can be: of a design, or a shape in a colour."""
    shaped = name in SHAPES
    colour = COLOURS[COLOURS.index(way)] if shaped else None
    rgb = None if colour is None else paint(colour, np.random.default_rng(0))
    figure = Figure(name, colour, rgb, None, "centre", (SIDE / 2, SIDE / 2), _AS_LARGE, mirrored=False)
    return Scene("white", 0, _GREY, next(iter(stock.drawings)) if shaped else way, (figure,))


def _is_one(wishes: torch.Tensor) -> torch.Tensor:
    """Which wishes are for one thing, in the design that things are added in."""
    plain = wishes[:, GLOBALS.index("design")] == 1 + DESIGNS.index(PLAIN_STYLE)
    return (wishes[:, _FIRST.start] > 0) & (wishes[:, _FIRST.stop] == 0) & plain


def _as_added(wishes: torch.Tensor) -> torch.Tensor:
    """Wishes for one thing as if it were added to a picture: who asks for that where there is none wants it drawn."""
    added = torch.zeros_like(wishes)
    added[:, GLOBALS.index("kind")] = 1 + list(KINDS).index("add")
    added[:, _FIRST.stop : _FIRST.stop + len(PARTS)] = wishes[:, _FIRST]
    return added


def _layout_loss(told: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
    return 0.2 * F.cross_entropy(told.flatten(0, 1), layout.flatten().long())


class DrawingTask(FlowTask):
    """The transformer with what tells it wishes, and with its layout head."""

    def __init__(self, transformer: FluxTransformer2DModel, telling: Telling) -> None:
        super().__init__(transformer, len(classes()) + 1, _layout_loss, _NOISIER)
        self.telling = telling

    def told(self, wishes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the transformer hears of wishes [n, fields]; some of them are kept from it."""
        silent = max(1, round(len(wishes) * _NO_PROMPT))
        wishes = torch.cat([nothing_wished(silent).to(wishes.device), wishes[silent:].long()])
        return self.telling(wishes), torch.zeros(len(wishes), POOLED, device=wishes.device)


def train_flow(
    transformer: FluxTransformer2DModel,
    telling: Telling,
    bank: Bank,
    schedule: Schedule,
    *,
    batch: int,
    edits_from: float,
    check: Check | None = None,
    name: str = "picture/flow",
) -> None:
    """Train both in place (log: `.runs/picture/flow`).

    From the share `edits_from` of the schedule on, `EDITED` of a step's pictures are changed ones, each learnt in
    both directions.
    """
    device = transformer.device
    task = DrawingTask(transformer, telling).to(device)
    bank = bank.to(device)

    def numbers(rng: np.random.Generator, below: int, count: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(below, size=count)).to(device)

    def loss_of(step: int, rng: np.random.Generator) -> torch.Tensor:
        edited = round(batch * EDITED) if step >= edits_from * schedule.steps else 0
        rows = bank.scenes[numbers(rng, len(bank.scenes), batch - edited)]
        wishes = bank.wishes[rows]
        added = torch.from_numpy(rng.random(len(rows)) < _ADDED).to(device) & _is_one(wishes)
        wishes = torch.where(added[:, None], _as_added(wishes), wishes)
        loss = task.loss(bank.tokens[rows].float(), bank.layout[rows], task.told(wishes))
        if not edited:
            return loss
        changes, back = numbers(rng, len(bank.pairs), edited), numbers(rng, 2, edited)
        before, after = bank.pairs[changes, back], bank.pairs[changes, 1 - back]
        described = torch.from_numpy(rng.random(edited) < _DESCRIBED).to(device)
        asked = task.told(torch.where(described[:, None], bank.wishes[after], bank.asked[changes, back]))
        of_edits = task.loss(bank.tokens[after].float(), bank.layout[after], asked, bank.tokens[before].float())
        share = edited / batch
        return (1 - share) * loss + share * of_edits

    fit(name, task, loss_of, schedule, check)
