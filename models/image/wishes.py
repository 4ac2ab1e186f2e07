"""What is wished for of the built-in picture model, in numbers: a scene, or a change to a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import torch
from torch.nn import functional

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
SCALES: Final = (1.0, 1.5, 1 / 1.5)
"""How many times as large a thing gets that shall be as `SIZES` say, from 1, if nothing else is said of it."""
ABOUT_A_THING: Final = ("replace", "remove", "resize", "recolour")
"""Changes to something that is in the picture."""
BRINGING_A_THING: Final = ("add", "replace", "resize", "recolour")
"""Changes after which something is there that was not, or not so."""
SHAPE, DRAWING = 1, 2
"""What the transformer is told of "what": 0 is nothing."""
CELLS: Final = 16
"""Vectors of a drawing, one for each of 4x4 parts."""
_SHIFTED, _GROWN = 0.02, 0.06
"""Standard deviations of what is shaken: shares of the picture's shorter side, and of a thing's."""
_ASIDE: Final = 1 / 8
"""How far from the middle of what it stands before a thing is, as a share of the picture's shorter side. It may be to
the left or to the right; the encoder tells the middle of both."""
_CHOICES: Final = 15
"""From left to right, of which the emptiest is taken by what is added."""
_NEARER: Final = 8.0
"""Latents that may be taken if a thing need not go a whole picture further."""


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

    def resizes_it(self) -> torch.Tensor:
        """Which wishes make something bigger or smaller that they do not name: bool [n]."""
        return self.is_a("resize") & (self.field("what 1") == 0)

    def in_doubt(self) -> torch.Tensor:
        """Which wishes are for a shape in the colour of another, and name none: "turn the star into a heart"."""
        return self.is_a("replace") & (self.field("what 1") == SHAPE) & (self.field("colour 1") == 0)

    def as_changes(self) -> Self:
        """Wishes for a picture, as they are meant where one is there already.

        A picture of a ground alone is that ground behind what is there; a change that does not say into what is none in
        particular; and what was not named keeps its looks at another size.
        """
        kind, ground = FIELDS.index("kind"), FIELDS.index("ground")
        fields = self.fields.clone()
        names_a_thing = torch.stack([self.field(f"what {number}") > 0 for number in range(FIGURES)]).any(0)
        names_none = self.is_a("scene") & ~names_a_thing  # a place or a size alone is of nothing
        fields[names_none & (fields[:, ground] > 0), kind] = KINDS.index("ground")
        is_open = (self.is_a("ground") | names_none) & (fields[:, ground] == 0)
        is_open |= self.is_a("add", "replace", "recolour") & (self.field("what 1") == 0) & (self.field("colour 1") == 0)
        fields[is_open] = 0
        fields[self.is_a("resize") & (self.field("what 0") == 0), FIELDS.index("what 1")] = 0
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
