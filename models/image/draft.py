"""What the built-in picture model's transformer begins from: a rough draft of the picture that is wished for.

The encoder tells which things are wanted, what each looks like in the autoencoder's latents, and where it stands; the
`Finder` finds what a change is about in the picture that is to be changed. `Draft` lays the things' latents over those
of the ground, as large as they shall be. It is coarse, with seams, and knows nothing of light or of what is already
there: the transformer makes a picture of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIGURES: Final = 3
"""Things of a wish at most; of a change the first is what it is about, the second what becomes of it."""
GLOBALS: Final = ("kind", "design", "ground", "relation")
PARTS: Final = ("what", "colour", "size", "place")
FIELDS: Final = (*GLOBALS, *(f"{part} {number}" for number in range(FIGURES) for part in PARTS))
"""What a wish says, one number each; 0 where it says nothing."""
KINDS: Final = ("scene", "ground", "replace", "add", "remove", "resize", "recolour")
"""What a wish is for: a picture, or a change to one."""
RELATIONS: Final = ("beside", "above", "on", "in front of")
"""How the first thing of a scene may stand to the second."""
PLACES: Final = {"left": (0.2, 0.5), "right": (0.8, 0.5), "top": (0.5, 0.2), "bottom": (0.5, 0.8), "centre": (0.5, 0.5)}
"""Where a thing may be said to be, and about where that is: x and y as shares of the picture."""
SIZES: Final = ("big", "small")
"""What a thing's size may be said to be."""
ABOUT_A_THING: Final = ("replace", "remove", "resize", "recolour")
"""Changes to something that is in the picture."""
BRINGING_A_THING: Final = ("add", "replace", "resize", "recolour")
"""Changes after which something is there that was not, or not so."""
SHAPE, DRAWING = 1, 2
"""What the transformer is told of "what": 0 is nothing."""
CELLS: Final = 16
"""Vectors of a drawing, one for each of 4x4 parts."""
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
_SHIFTED, _GROWN = 0.02, 0.06
"""Standard deviations of what is shaken: shares of the picture's shorter side, and of a thing's."""
_ASIDE: Final = 1 / 8
"""How far from the middle of what it stands before a thing is, as a share of the picture's shorter side. It may be to
the left or to the right; the encoder tells the middle of both."""
_CHOICES: Final = 15
"""From left to right, of which the emptiest is taken by what is added."""
_NEARER: Final = 8.0
"""Latents that may be taken if a thing need not go a whole picture further."""
_WIDTH: Final = 96
_WAVES: Final = 4


@dataclass(frozen=True)
class Conditioning:
    """What the encoder tells the transformer of n wishes.

    Attributes:
        fields: int64 [n, 16], as `FIELDS`; of "what" only whether it is nothing, a `SHAPE` or a `DRAWING`.
        codes: [n, 3, 16, code], what each thing looks like, part by part.
        where: [n, 3, 3], the middle of each thing and the side of the square that it fits in: x and y as shares of the
            picture, the side as a share of the picture's shorter one. A side of 0 is nowhere.
    """

    fields: torch.Tensor
    codes: torch.Tensor
    where: torch.Tensor

    def rows(self) -> torch.Tensor:
        """As one sequence: [n, 2 + 48, code]."""
        numbers = [self.fields.to(self.codes.dtype), self.where.flatten(1).to(self.codes.dtype)]
        width = self.codes.shape[-1]
        assert width >= len(FIELDS)
        head = torch.stack([functional.pad(each, (0, width - each.shape[1])) for each in numbers], 1)
        return torch.cat([head, self.codes.flatten(1, 2)], 1)

    @classmethod
    def of(cls, rows: torch.Tensor) -> Self:
        """What `rows` made a sequence of."""
        return cls(
            rows[:, 0, : len(FIELDS)].round().long(),
            rows[:, 2:].view(len(rows), FIGURES, CELLS, -1),
            rows[:, 1, : FIGURES * 3].float().view(-1, FIGURES, 3),
        )

    def field(self, name: str) -> torch.Tensor:
        """The numbers of one field: int64 [n]."""
        return self.fields[:, FIELDS.index(name)]

    def is_a(self, *kinds: str) -> torch.Tensor:
        """Which wishes are of one of these kinds: bool [n]."""
        kind = self.field("kind")
        return torch.stack([kind == KINDS.index(each) for each in kinds]).any(0)

    def says_nothing(self) -> torch.Tensor:
        """Which wishes name nothing at all: bool [n]. Of a picture they are for others like it."""
        return (self.fields == 0).all(1)

    def in_doubt(self) -> torch.Tensor:
        """Which wishes are for a shape in the colour of another, and name none: "turn the star into a heart"."""
        return self.is_a("replace") & (self.field("what 1") == SHAPE) & (self.field("colour 1") == 0)

    def as_changes(self) -> Self:
        """Wishes for a picture, as they are meant where one is there already.

        A picture of a ground alone is that ground behind what is there; a change that does not say into what is none in
        particular.
        """
        kind, ground = FIELDS.index("kind"), FIELDS.index("ground")
        fields = self.fields.clone()
        names_a_thing = torch.stack([self.field(f"what {number}") > 0 for number in range(FIGURES)]).any(0)
        names_none = self.is_a("scene") & ~names_a_thing  # a place or a size alone is of nothing
        fields[names_none & (fields[:, ground] > 0), kind] = KINDS.index("ground")
        is_open = (self.is_a("ground") | names_none) & (fields[:, ground] == 0)
        is_open |= self.is_a("add", "replace", "recolour") & (self.field("what 1") == 0) & (self.field("colour 1") == 0)
        fields[is_open] = 0
        return replace(self, fields=fields)

    def on_its_ground(self) -> Self:
        """Wishes for another ground as wishes for a picture of it, with nothing before it; others as they are."""
        alone = torch.zeros_like(self.fields)
        alone[:, FIELDS.index("ground")] = self.field("ground")
        return replace(self, fields=torch.where(self.is_a("ground")[:, None], alone, self.fields))

    def with_ground(self, number: int, ground: int) -> Self:
        """With one of the wishes for this ground."""
        fields = self.fields.clone()
        fields[number, FIELDS.index("ground")] = ground
        return replace(self, fields=fields)

    def shaken(self, by: torch.Tensor, height: int, width: int) -> Self:
        """With the things of scenes a little elsewhere and larger or smaller, all of a picture alike.

        What stands in front of something is to one side of it.

        Args:
            by: [n, 4], four numbers of a picture's own noise: to the right, down, larger, and to which side. What
                stands in the picture stays in it.
            height: of the picture, in tokens.
            width: likewise.
        """
        by = by.float().clamp(-2, 2)
        extent = by.new_tensor([width, height]) / min(height, width)
        middle, half = self.where[..., :2] * extent, self.where[..., 2:] / 2
        moves = self._aside(by[:, 3], middle)
        middle = torch.where(moves == 0, middle, torch.minimum(torch.maximum(middle + moves, half), extent - half))
        is_there = half > 0
        room = torch.minimum(middle, extent - middle).amin(2, keepdim=True) / half
        largest = torch.where(is_there, room, torch.inf).amin(1).clamp(min=1)
        half = half * torch.minimum(torch.exp(_GROWN * by[:, 2:3]), largest)[:, None]
        before = torch.where(is_there, middle - half, torch.inf).amin(1).clamp(min=0)
        behind = torch.where(is_there, extent - middle - half, torch.inf).amin(1).clamp(min=0)
        shift = torch.maximum(torch.minimum(_SHIFTED * by[:, :2], behind), -before)
        where = torch.cat([(middle + shift[:, None] * is_there) / extent, 2 * half], 2)
        return replace(self, where=torch.where(self.is_a("scene")[:, None, None], where, self.where))

    def beside(self, stands: torch.Tensor) -> Self:
        """With what is added further left or right, where it hides less of what stands in the picture already.

        `stands` [n, 1, rows, columns] is how much of each latent of the picture is of a thing.
        """
        high, wide = stands.shape[2:]
        rows, columns = ((torch.arange(n, device=stands.device) + 0.5) / n for n in (high, wide))
        wheres = self.where.clone()
        for number in self.is_a("add").nonzero()[:, 0].tolist():
            x, y, side = wheres[number, 1].float().tolist()
            half = side * min(high, wide) / 2 / wide, side * min(high, wide) / 2 / high
            in_rows = stands[number, 0] * ((rows - y).abs() < half[1])[:, None]
            places = [x, *torch.linspace(half[0], 1 - half[0], _CHOICES).tolist()]
            taken = [float((in_rows * ((columns - at).abs() < half[0])).sum()) for at in places]
            costs = [space + _NEARER * abs(at - x) for at, space in zip(places, taken, strict=True)]
            wheres[number, 1, 0] = places[costs.index(min(costs))]
        return replace(self, where=wheres)

    def _aside(self, side: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
        """How far what stands in front goes to one side, if it would hide the middle of what it stands before."""
        away = middle[:, 0, 0] - middle[:, 1, 0]
        in_front = self.field("relation") == 1 + RELATIONS.index("in front of")
        hides = in_front & (self.where[:, :2, 2] > 0).all(1) & (away.abs() < _ASIDE / 2)
        moves = torch.zeros_like(middle)
        moves[:, 0, 0] = hides * (torch.where(side < 0, -_ASIDE, _ASIDE) - away)
        return moves


def drawn_where(told: Conditioning, found: torch.Tensor) -> torch.Tensor:
    """Where the draft shows each figure: [n, 3, 3].

    `found` [n, 3] is where the thing is that a change is about. What takes its place stands there, with its size
    unless another is wished for; the thing itself is in the picture already.
    """
    result = torch.where(told.is_a("replace", "recolour")[:, None], found, told.where[:, 1])
    resized = torch.cat([found[:, :2], told.where[:, 1, 2:]], 1)
    result = torch.where(told.is_a("resize")[:, None], resized, result) * told.is_a(*BRINGING_A_THING)[:, None]
    of_change = torch.stack([torch.zeros_like(result), result, torch.zeros_like(result)], 1)
    where = torch.where(told.is_a("scene")[:, None, None], told.where, of_change)
    shown = told.fields[:, [FIELDS.index(f"what {number}") for number in range(FIGURES)]] > 0
    return where * shown[..., None]


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
