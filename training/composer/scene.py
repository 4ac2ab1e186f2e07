"""Scenes of things: up to three drawings or shapes on a ground, and how they are put together at 128x128.

As in the world of shapes, a `Scene` holds every number that drawing needs: the same scene always gives the same
pixels, and a changed copy of it differs in nothing else (where figures are bent, one that is moved is bent otherwise).
All drawings of a scene are of one design.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np

from training.art.shelf import Drawing
from training.art.subjects import subjects
from training.composer.grounds import PAINTED, VARIANTS, Painted
from training.world import COLOURS, SHAPES, Colour, Place, Shape, Size, paint

Relation = Literal["beside", "above", "on", "in front of"]
RELATIONS: Final[tuple[Relation, ...]] = get_args(Relation)
Ground = Painted | Colour
GROUNDS: Final[tuple[Ground, ...]] = (*COLOURS, *PAINTED)
SIDE: Final = 128
"""Pixels a side."""
_PLACES: Final[dict[Place, tuple[int, int]]] = {
    "left": (36, 68),
    "right": (92, 68),
    "top": (64, 38),
    "bottom": (64, 91),
    "centre": (64, 66),
}
ANIMATE: Final = frozenset({"animals", "people"})
"""Categories of what is alive: it sits where other things lie."""
_SUPPORTS: Final = (
    "chair", "sofa", "bed", "car", "truck", "horse", "elephant", "cow", "turtle", "bicycle", "motorcycle", "skateboard",
    "sled", "canoe", "rocket", "ufo", "package", "books", "pumpkin", "whale", "cloud", "crescent moon", "dragon",
)  # fmt: skip
"""What things are drawn on."""
_SHAPED: Final = 0.12
"""The share of figures that are shapes, in scenes that may hold both."""


@dataclass(frozen=True)
class Figure:
    """One thing in a scene: a drawing, or a shape in one colour.

    Attributes:
        name: the subject's or the shape's.
        colour: of a shape; None for a drawing.
        rgb: of a shape, 0-255.
        size: None where it is neither said nor striking.
        place: where its middle is.
        centre: x and y in pixels.
        side: of the square that it fits in, in pixels.
        mirrored: left and right swapped.
    """

    name: str
    colour: Colour | None
    rgb: tuple[int, int, int] | None
    size: Size | None
    place: Place
    centre: tuple[float, float]
    side: float
    mirrored: bool

    @property
    def is_shape(self) -> bool:
        """Whether it is one of the old world's shapes."""
        return self.colour is not None

    @property
    def is_animate(self) -> bool:
        """Whether it is an animal or a person."""
        return not self.is_shape and subjects()[self.name].category in ANIMATE


@dataclass(frozen=True)
class Scene:
    """A ground with up to three figures, and perhaps a word.

    Attributes:
        ground: a plain colour or a painted ground.
        variant: which of the painted ground's variants.
        ground_rgb: of a plain ground, 0-255.
        design: of all its drawings.
        figures: from the back to the front; in the order in which they are named unless `relation` says otherwise.
        relation: how the first stands to the second, where there are two.
        word: the number of a word in the lettering, None for no word.
    """

    ground: Ground
    variant: int
    ground_rgb: tuple[int, int, int]
    design: str
    figures: tuple[Figure, ...]
    relation: Relation | None = None
    word: int | None = None

    @property
    def is_painted(self) -> bool:
        """Whether the ground is a painted one."""
        return self.ground in PAINTED

    @property
    def count(self) -> int:
        """How many things are the same, 0 where they are not."""
        names = {(figure.name, figure.colour) for figure in self.figures}
        return len(self.figures) if len(self.figures) > 1 and len(names) == 1 else 0


@dataclass(frozen=True)
class Stock:
    """What scenes can be made of.

    Attributes:
        drawings: of each design, the things that it has a usual view of.
        shares: how often each design is drawn.
        words: the numbers of the words that may be written.
    """

    drawings: Mapping[str, tuple[str, ...]]
    shares: Mapping[str, float]
    words: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        usual: Mapping[str, tuple[Drawing, ...]],
        shares: Mapping[str, float] | None = None,
        words: tuple[int, ...] = (),
    ) -> Stock:
        """From the usual views on a shelf; without shares each drawing is drawn as often as another."""
        held: dict[str, list[str]] = {}
        for name, views in usual.items():
            for view in views:
                held.setdefault(view.design, []).append(name)
        total = sum(len(names) for names in held.values())
        shares = shares or {design: len(names) / total for design, names in held.items()}
        return cls({design: tuple(held.get(design, ())) for design in shares}, shares, words)


@dataclass(frozen=True)
class Mix:
    """What random scenes are like: the probability of 0, 1, 2 and 3 figures, of a painted ground and of a word."""

    figures: tuple[float, float, float, float] = (0.05, 0.6, 0.27, 0.08)
    painted: float = 0.5
    word: float = 0.0
    same: float = 0.15
    """Of several figures being the same thing."""


def random_scene(rng: np.random.Generator, stock: Stock, mix: Mix = Mix()) -> Scene:
    """A scene of what is in stock."""
    designs = list(stock.shares)
    design = designs[int(rng.choice(len(designs), p=np.array([stock.shares[d] for d in designs])))]
    word = int(rng.choice(stock.words)) if stock.words and rng.random() < mix.word else None
    count = int(rng.choice(4, p=np.array(mix.figures)))
    ground, variant, rgb = _ground(rng, 1.0 if count == 0 and word is None else mix.painted)
    things = stock.drawings[design]
    scene = Scene(ground, variant, rgb, design, (), None, word)
    if count == 0:
        return scene
    if count == 1:
        return replace(scene, figures=(_alone(_something(rng, things, ground), rng, word is not None),))
    if rng.random() < mix.same:
        what = _something(rng, things, ground)
        return replace(
            scene, figures=_in_a_row([what] * count, rng, sized=False), relation="beside" if count == 2 else None
        )
    chosen: list[Figure] = []
    while len(chosen) < count:
        what = _something(rng, things, ground)
        if all((what.name, what.colour) != (other.name, other.colour) for other in chosen):
            chosen.append(what)
    if count == 3:
        return replace(scene, figures=_in_a_row(chosen, rng, sized=False))
    return replace(scene, **_paired(chosen, things, rng))  # type: ignore[arg-type]


def _ground(rng: np.random.Generator, painted: float) -> tuple[Ground, int, tuple[int, int, int]]:
    if rng.random() < painted:
        return PAINTED[int(rng.integers(len(PAINTED)))], int(rng.integers(VARIANTS)), (0, 0, 0)
    colour = COLOURS[int(rng.integers(len(COLOURS)))]
    return colour, 0, paint(colour, rng)


def on_ground(scene: Scene, ground: Ground, rng: np.random.Generator) -> Scene:
    """The same scene on another ground."""
    if ground in PAINTED:
        return replace(scene, ground=ground, variant=int(rng.integers(VARIANTS)), ground_rgb=(0, 0, 0))
    return replace(scene, ground=ground, variant=0, ground_rgb=paint(ground, rng))  # type: ignore[arg-type]


def _something(rng: np.random.Generator, things: tuple[str, ...], ground: Ground) -> Figure:
    """A thing or shape that has no place yet."""
    mirrored = bool(rng.random() < 0.3)
    if rng.random() < _SHAPED:
        shape: Shape = SHAPES[int(rng.integers(len(SHAPES)))]
        colours = [colour for colour in COLOURS if colour != ground]
        colour = colours[int(rng.integers(len(colours)))]
        return Figure(shape, colour, paint(colour, rng), None, "centre", (0, 0), 0, mirrored)
    return Figure(things[int(rng.integers(len(things)))], None, None, None, "centre", (0, 0), 0, mirrored)


def named(name: str) -> Figure:
    """A thing by its name, without a place."""
    return Figure(name, None, None, None, "centre", (0, 0), 0, mirrored=False)


def _put(
    figure: Figure,
    place: Place,
    at: tuple[float, float],
    side: tuple[float, float],
    rng: np.random.Generator,
    size: Size | None = None,
    shake: float = 3.0,
) -> Figure:
    x, y = (c + s for c, s in zip(at, rng.uniform(-shake, shake, 2), strict=True))
    return replace(figure, place=place, size=size, centre=(float(x), float(y)), side=float(rng.uniform(*side)))


def _alone(figure: Figure, rng: np.random.Generator, with_word: bool) -> Figure:
    chance = rng.random()
    size: Size | None = None if chance < 0.56 else "big" if chance < 0.78 else "small"
    if with_word:
        return _put(figure, "centre", (64, 52), {"big": (80, 86), "small": (34, 44), None: (58, 70)}[size], rng, size)
    if rng.random() < 0.7:
        return _put(figure, "centre", (64, 66), sides_alone(figure)[size], rng, size)
    places: tuple[Place, ...] = ("left", "right", "top", "bottom")
    place = places[int(rng.integers(4))]
    return _put(figure, place, _PLACES[place], {"big": (58, 64), "small": (30, 38), None: (44, 54)}[size], rng, size)


def sides_alone(figure: Figure) -> dict[Size | None, tuple[float, float]]:
    """How wide a figure is that stands in the middle alone, in pixels; shapes are as in their own world."""
    if figure.is_shape:
        return {"big": (60, 80), "small": (30, 38), None: (52, 72)}
    return {"big": (100, 114), "small": (34, 46), None: (70, 86)}


def _in_a_row(figures: list[Figure], rng: np.random.Generator, *, sized: bool) -> tuple[Figure, ...]:
    if len(figures) == 3:
        row: tuple[tuple[Place, tuple[float, float]], ...] = (
            ("left", (24, 68)),
            ("centre", (64, 68)),
            ("right", (104, 68)),
        )
        return tuple(_put(f, place, at, (36, 40), rng, shake=1.5) for f, (place, at) in zip(figures, row, strict=True))
    sizes: tuple[Size | None, Size | None] = (None, None)
    if sized:
        sizes = ("big", "small") if rng.random() < 0.5 else ("small", "big")
    sides = {"big": (60.0, 66.0), "small": (30.0, 38.0), None: (48.0, 56.0)}
    places: tuple[Place, ...] = ("left", "right")
    spots = {"left": (33.0, 68.0), "right": (95.0, 68.0)}
    return tuple(
        _put(f, place, spots[place], sides[size], rng, size, 1.5)
        for f, place, size in zip(figures, places, sizes, strict=True)
    )


def _paired(figures: list[Figure], things: tuple[str, ...], rng: np.random.Generator) -> dict[str, object]:
    """Two figures and their relation; the order is that of drawing, except that `on` names the upper one first."""
    one, other = figures
    relation = RELATIONS[int(rng.choice(4, p=[0.52, 0.14, 0.2, 0.14]))]
    supports = [name for name in _SUPPORTS if name in things and name != one.name]
    if relation == "beside" or (relation == "on" and not supports):
        return {"figures": _in_a_row(figures, rng, sized=bool(rng.random() < 0.3)), "relation": "beside"}
    if relation == "above":
        upper = _put(one, "top", (64, 34), (46, 54), rng)
        return {"figures": (upper, _put(other, "bottom", (64, 95), (48, 56), rng)), "relation": relation}
    if relation == "on":
        other = replace(named(supports[int(rng.integers(len(supports)))]), mirrored=other.mirrored)
        return {"figures": stacked(one, other, rng), "relation": relation}
    behind = _put(other, "centre", (64, 56), (86, 98), rng)
    front = _put(one, "bottom", (64 + float(rng.choice([-16, 16])), 96), (46, 54), rng)
    return {"figures": (front, behind), "relation": relation}


def stacked(upper: Figure, lower: Figure, rng: np.random.Generator) -> tuple[Figure, Figure]:
    """The first on the second."""
    base = _put(lower, "bottom", (64, 88), (64, 72), rng, shake=2)
    top = base.centre[1] - 0.22 * base.side
    side = float(rng.uniform(46, 54))
    return replace(upper, place="top", centre=(base.centre[0], top - 0.42 * side), side=side, size=None), base
