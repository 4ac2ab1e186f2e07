"""What the built-in picture model's transformer begins from: a rough draft of the picture that is wished for.

The encoder tells which things are wanted, what each looks like in the autoencoder's latents, and where it stands; the
`Finder` finds what a change is about in the picture that is to be changed. `Draft` lays the things' latents over those
of the ground, as large as they shall be. It is coarse, with seams, and knows nothing of light or of what is already
there: the transformer makes a picture of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import nn
from torch.nn import functional

from models.image.wishes import ABOUT_A_THING, CELLS, FIELDS, FIGURES, GLOBALS, PARTS, Conditioning, drawn_where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHANNELS: Final = 8
"""Of the latents."""
MARGIN: Final = 8 / 7
"""A drawing's latents show so much more than the square that it fits in."""
_PART: Final = 4
"""Latents a side of a drawing's part, and points of the draft a side of a token, which has 2x2 latents."""
_SIDE: Final = 4 * _PART
_SHOWN: Final = CHANNELS + 1
"""Numbers of each of a drawing's latents: the latent itself, and how much of it the drawing covers."""
DRAFTED: Final = (CHANNELS + 2) * _PART * _PART + 3
"""Numbers that the draft has for each token."""
_WIDTH: Final = 96
_WAVES: Final = 4


class Draft(nn.Module):
    """The draft of a picture, in the latents' own channels.

    `basis` and `mean` make a drawing's latents of its codes; `grounds` holds those of every ground.
    """

    def __init__(self, values: Mapping[str, int], code: int) -> None:
        super().__init__()
        self.basis: torch.Tensor
        self.mean: torch.Tensor
        self.register_buffer("basis", torch.zeros(code, _SHOWN * _PART * _PART))
        self.register_buffer("mean", torch.zeros(_SHOWN * _PART * _PART))
        self.grounds = nn.Embedding(values["ground"], CHANNELS * _SIDE * _SIDE)
        nn.init.zeros_(self.grounds.weight)

    def forward(self, told: Conditioning, found: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """[n, height * width, `DRAFTED`] of a picture of so many tokens; `found` as in `drawn_where`."""
        where = drawn_where(told, found)
        at = points(height, width, where.device)
        shown = _placed(self.drawings(told), where, at)
        ground = self.latents_of_grounds()[told.field("ground")]
        drafted = functional.interpolate(ground, at.shape[:2], mode="bilinear")
        covered = torch.zeros_like(drafted[:, :1])
        sides = torch.zeros_like(covered)
        for number in reversed(range(FIGURES)):  # what is named first stands in front
            over = shown[:, number, CHANNELS:].clamp(0, 1)
            drafted = torch.lerp(drafted, shown[:, number, :CHANNELS], over)
            covered = torch.lerp(covered, torch.ones_like(covered), over)
            sides = torch.lerp(sides, where[:, number, 2].view(-1, 1, 1, 1).expand_as(sides), over)
        target = _inside(found, at)[:, None]
        fine = torch.cat([drafted, covered, target], 1)
        tokens = functional.pixel_unshuffle(fine, _PART).flatten(2).transpose(1, 2)
        coarse = functional.avg_pool2d(torch.cat([covered, sides], 1), _PART).flatten(2).transpose(1, 2)
        doubt = told.in_doubt().float()
        return torch.cat([tokens, coarse, doubt[:, None, None].expand(-1, tokens.shape[1], 1)], 2)

    def latents_of_grounds(self) -> torch.Tensor:
        """The mean latents of each, float32 [grounds, 8, 16, 16]; the first are those of none in particular."""
        return self.grounds.weight.float().view(-1, CHANNELS, _SIDE, _SIDE)

    def drawings(self, told: Conditioning) -> torch.Tensor:
        """Each figure's latents and what it covers of them: [n, 3, 9, 16, 16]."""
        parts = told.codes.float() @ self.basis.float() + self.mean.float()
        rows = parts.view(-1, FIGURES, 4, 4, _SHOWN, _PART, _PART).permute(0, 1, 4, 2, 5, 3, 6)
        return rows.reshape(-1, FIGURES, _SHOWN, _SIDE, _SIDE)


def parts_of(shown: torch.Tensor) -> torch.Tensor:
    """Latents and coverage [n, 9, 16, 16] as the parts that codes are made of: [n, 16, 144]."""
    grid = shown.view(-1, _SHOWN, 4, _PART, 4, _PART).permute(0, 2, 4, 1, 3, 5)
    return grid.reshape(-1, CELLS, _SHOWN * _PART * _PART)


def points(height: int, width: int, device: torch.device, each: int = _PART) -> torch.Tensor:
    """Where points lie, `each` a side of a token, x and y as shares of the picture's shorter side.

    Returns:
        [each * height, each * width, 2]
    """
    shorter = min(height, width) * each
    rows, columns = (
        (torch.arange(count * each, device=device, dtype=torch.float32) + 0.5) / shorter for count in (height, width)
    )
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def from_middle(where: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """How far each point is from the middle of a figure, in half sides: [..., high, wide, 2]."""
    shorter = min(at.shape[:2])
    extent = where.new_tensor([at.shape[1] / shorter, at.shape[0] / shorter])
    middle = where[..., None, None, :2] * extent
    return (at - middle) / (where[..., None, None, 2:] / 2).clamp(min=1e-4)


def _placed(drawings: torch.Tensor, where: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Drawings [n, 3, 9, 16, 16] at their places: [n, 3, 9, 4 height, 4 width]."""
    spots = from_middle(where, at).flatten(0, 1) / MARGIN
    laid = functional.grid_sample(drawings.flatten(0, 1), spots, padding_mode="zeros", align_corners=False)
    return laid.view(-1, FIGURES, *laid.shape[1:])


def _inside(where: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Which points are in the square of what was found: [n, 4 height, 4 width], 0 or 1."""
    return (from_middle(where, at).abs().amax(-1) <= 1).float() * (where[:, None, None, 2] > 0)


class Finder(nn.Module):
    """Where in a picture the thing is that a change is about.

    It says of each token how likely the thing's middle lies there, how far from the token's own, and how large it is.
    """

    def __init__(self, values: Mapping[str, int], code: int) -> None:
        super().__init__()
        self.picture = nn.Linear(4 * CHANNELS, _WIDTH)
        self.positions = nn.Linear(4 * _WAVES, _WIDTH)
        self.looks = nn.Linear(CELLS // 4 * code, _WIDTH)
        self.quarters = nn.Parameter(torch.randn(5, _WIDTH) * 0.1)
        self.about = nn.ModuleList(nn.Embedding(values[name], _WIDTH) for name in ("colour 0", "place 0", "kind"))
        self.what = nn.Embedding(3, _WIDTH)
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(_WIDTH, 4, _WIDTH // 4, activation_fn="gelu", ff_inner_dim=2 * _WIDTH)
            for _ in range(3)
        )
        self.norm = nn.LayerNorm(_WIDTH)
        self.out = nn.Linear(_WIDTH, 4)

    def forward(self, told: Conditioning, reference: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Of tokens [n, height * width, 32]: [n, height * width, 4], a logit, x, y, the side's logarithm."""
        at = token_middles(height, width, reference.device)
        waves = torch.cat([f(at * math.pi * 2**k) for k in range(_WAVES) for f in (torch.sin, torch.cos)], -1)
        seen = self.picture(reference) + self.positions(waves.to(reference.dtype))
        values = (told.field("colour 0"), told.field("place 0"), told.field("kind"))
        about = sum(embed(value) for embed, value in zip(self.about, values, strict=True))
        about = about + self.what(told.field("what 0"))
        asked = torch.cat([about[:, None], self.looks(quartered(told.codes[:, 0])) + about[:, None]], 1) + self.quarters
        sequence = torch.cat([asked, seen], 1)
        for block in self.blocks:
            sequence = block(sequence)
        found: torch.Tensor = self.out(self.norm(sequence[:, asked.shape[1] :])).float()
        return found

    def find(self, told: Conditioning, reference: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Where it is, as in `Conditioning.where`, or nowhere if the wish is about nothing in the picture: [n, 3]."""
        found = self(told, reference, height, width)
        at = found[..., 0].argmax(1)
        best = found[torch.arange(len(found), device=found.device), at]
        steps = best.new_tensor([1 / width, 1 / height])
        middle = token_middles(height, width, best.device)[at] + best[:, 1:3] * steps
        is_about = told.is_a(*ABOUT_A_THING)
        return torch.cat([middle.clamp(0, 1), best[:, 3:].exp().clamp(0.05, 1)], 1) * is_about[:, None]

    def loss(
        self, told: Conditioning, reference: torch.Tensor, there: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        """How wrong it is about things that are there [n, 3], those that are nowhere aside."""
        found = self(told, reference, height, width)
        is_there = there[:, 2] > 0
        column, row = (
            (there[:, 0] * width).long().clamp(0, width - 1),
            (there[:, 1] * height).long().clamp(0, height - 1),
        )
        at = row * width + column
        best = found[torch.arange(len(found), device=found.device), at]
        counts = there.new_tensor([width, height])
        offset = (there[:, :2] - token_middles(height, width, there.device)[at]) * counts
        exact = torch.cat([offset, there[:, 2:].clamp(min=1e-3).log()], 1)
        wrong = functional.cross_entropy(found[..., 0], at, reduction="none")
        wrong = wrong + functional.smooth_l1_loss(best[:, 1:], exact, reduction="none", beta=0.2).sum(1)
        return (wrong * is_there).sum() / is_there.sum().clamp(min=1)


def token_middles(height: int, width: int, device: torch.device) -> torch.Tensor:
    """X and y of each token's middle, as shares of the picture: float32 [height * width, 2]."""
    rows, columns = (
        (torch.arange(count, device=device, dtype=torch.float32) + 0.5) / count for count in (height, width)
    )
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).flatten(0, 1)


def quartered(codes: torch.Tensor) -> torch.Tensor:
    """A drawing's codes [..., 16, code] by its quarters: [..., 4, 4 * code]."""
    grid = codes.reshape(*codes.shape[:-2], 2, 2, 2, 2, codes.shape[-1]).transpose(-4, -3)
    quarters: torch.Tensor = grid.flatten(-5, -4).flatten(-3, -1)
    return quarters


class WishTokens(nn.Module):
    """A wish in the transformer's words: a vector for each global field, five for each figure."""

    def __init__(self, values: Mapping[str, int], code: int, width: int) -> None:
        super().__init__()
        self.globals = nn.ModuleList(nn.Embedding(values[name], width) for name in GLOBALS)
        self.about = nn.ModuleList(nn.Embedding(values[f"{name} 0"], width) for name in ("colour", "size", "place"))
        self.what = nn.Embedding(3, width)
        self.kind = nn.Embedding(values["kind"], width)
        self.slots = nn.Parameter(torch.randn(FIGURES, width))
        self.attributes = nn.Linear(width, width)
        self.looks = nn.Linear(CELLS // 4 * code, width)
        self.quarters = nn.Parameter(torch.randn(4, width))

    def forward(self, told: Conditioning) -> torch.Tensor:
        """[n, 4 + 3 * 5, width]."""
        figures = told.fields[:, len(GLOBALS) :].reshape(-1, FIGURES, len(PARTS))
        what, *values = figures.unbind(2)
        about = sum(embed(value) for embed, value in zip(self.about, values, strict=True))
        about = about + self.what(what) + self.kind(told.field("kind"))[:, None] + self.slots
        about = self.attributes(functional.silu(about))
        looks = self.looks(quartered(told.codes)) + self.quarters + about[:, :, None]
        whole = [embed(told.field(name)) for name, embed in zip(GLOBALS, self.globals, strict=True)]
        return torch.cat([torch.stack(whole, 1), about, looks.flatten(1, 2)], 1)


class Layout(nn.Module):
    """Where the things of a wish stand, from what it says of them: a small network over every field."""

    def __init__(self, values: Sequence[int]) -> None:
        super().__init__()
        # Of "what" only whether it is nothing, a shape or a drawing.
        self._values = [3 if name.startswith("what") else count for name, count in zip(FIELDS, values, strict=True)]
        self.network = nn.Sequential(
            nn.Linear(sum(self._values), _WIDTH),
            nn.SiLU(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.SiLU(),
            nn.Linear(_WIDTH, FIGURES * 3),
        )

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """As `Conditioning.where`, from fields as in `Conditioning.fields`: [n, 3, 3]."""
        ones = [functional.one_hot(fields[:, at], count) for at, count in enumerate(self._values)]
        guessed = self.network(torch.cat(ones, 1).to(next(self.parameters()).dtype)).view(-1, FIGURES, 3)
        return torch.cat([0.5 + guessed[..., :2], guessed[..., 2:].exp()], 2)
