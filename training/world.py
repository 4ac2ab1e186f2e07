"""The world of shapes: scenes of coloured shapes on a plain background, measured on 64x64, and how they are drawn.

A `Scene` holds every number that drawing needs, so the same scene always gives the same pixels and a changed
copy of it (another colour, one thing less) differs in nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Shape = Literal["circle", "square", "triangle", "star", "heart", "ring", "cross", "diamond"]
Colour = Literal["red", "green", "blue", "yellow", "purple", "orange", "white", "black"]
Size = Literal["big", "small"]
Place = Literal["left", "right", "top", "bottom", "centre"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
PLACES: tuple[Place, ...] = get_args(Place)

SIDE = 64
"""Pixels a side."""
_SUPERSAMPLING = 4
_CENTRES: dict[Place, tuple[int, int]] = {
    "left": (15, 32),
    "right": (49, 32),
    "top": (32, 15),
    "bottom": (32, 49),
    "centre": (32, 32),
}
_RGB: dict[Colour, tuple[int, int, int]] = {
    "red": (215, 38, 40),
    "green": (42, 158, 66),
    "blue": (40, 78, 212),
    "yellow": (242, 216, 48),
    "purple": (138, 58, 172),
    "orange": (244, 138, 28),
    "white": (243, 243, 243),
    "black": (20, 20, 20),
}
_RGB_JITTER = 12
_WORD_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORD_TOP = 50
"""First pixel row of the strip that a word is written in; things stay above it in scenes with a word."""


@dataclass(frozen=True)
class Thing:
    """One shape: what it is called, and exactly how it is drawn (pixels, degrees, RGB 0-255)."""

    shape: Shape
    colour: Colour
    size: Size
    place: Place
    rgb: tuple[int, int, int]
    centre: tuple[float, float]
    radius: float
    angle: float


@dataclass(frozen=True)
class Scene:
    """A plain background, up to three things that do not touch, and optionally one word or number."""

    background: Colour
    background_rgb: tuple[int, int, int]
    things: tuple[Thing, ...]
    word: str | None = None

    def description(self) -> tuple[object, ...]:
        """What can be said of the scene; two scenes with the same description differ only in jitter."""
        said = sorted((t.place, t.shape, t.colour, t.size) for t in self.things)
        return (self.background, tuple(said), self.word)


def paint(colour: Colour, rng: np.random.Generator) -> tuple[int, int, int]:
    """An RGB of the colour's family."""
    jitter = rng.integers(-_RGB_JITTER, _RGB_JITTER + 1, 3)
    red, green, blue = (int(np.clip(c + j, 0, 255)) for c, j in zip(_RGB[colour], jitter, strict=True))
    return red, green, blue


def random_word(rng: np.random.Generator) -> str:
    """Two to four capital letters, or a number of one to four digits."""
    if rng.random() < 0.3:
        return str(rng.integers(0, 10 ** int(rng.integers(1, 5))))
    return "".join(rng.choice(list(_WORD_LETTERS), int(rng.integers(2, 5))))


def random_scene(
    rng: np.random.Generator,
    *,
    things: tuple[float, ...] = (0.0, 0.6, 0.28, 0.12),
    word: float = 0.0,
) -> Scene:
    """A scene with `len(things) - 1` things at most.

    `things[k]` is the probability of k things, `word` that of a word (which leaves the place `bottom` empty).
    """
    background: Colour = COLOURS[rng.integers(len(COLOURS))]
    lettering = random_word(rng) if rng.random() < word else None
    count = int(rng.choice(len(things), p=np.asarray(things)))
    if count == 0 and lettering is None:
        count = 1
    placed: list[Thing] = []
    while len(placed) < count:
        candidate = random_thing(rng, background, crowded=count > 1, with_word=lettering is not None)
        if all(apart(candidate, other) for other in placed):
            placed.append(candidate)
        elif rng.random() < 0.05:  # two big things may leave no room for a third: begin again
            placed.clear()
    return Scene(background, paint(background, rng), tuple(placed), lettering)


def random_thing(rng: np.random.Generator, background: Colour, *, crowded: bool, with_word: bool) -> Thing:
    """One thing on this background; `crowded` leaves room for others, `with_word` for a word at the bottom."""
    colours = [c for c in COLOURS if c != background]
    places = [p for p in PLACES if not (with_word and p == "bottom")]
    place: Place = places[rng.integers(len(places))]
    size: Size = "big" if rng.random() < 0.5 else "small"
    if size == "small":
        radius = rng.uniform(7.5, 9.5)
    else:
        widest = 20.0 if place == "centre" and not crowded and not with_word else 15.0
        radius = rng.uniform(13.0, widest)
    x, y = _CENTRES[place]
    shift = rng.uniform(-1.5, 1.5, 2)
    colour = colours[rng.integers(len(colours))]
    return Thing(
        shape=SHAPES[rng.integers(len(SHAPES))],
        colour=colour,
        size=size,
        place=place,
        rgb=paint(colour, rng),
        centre=(x + float(shift[0]), y + float(shift[1])),
        radius=float(radius),
        angle=float(rng.uniform(-7, 7)),
    )


def apart(one: Thing, other: Thing) -> bool:
    """Whether both can be in one scene: they touch nowhere, and place or looks tell them from each other."""
    if one.place == other.place or (one.shape, one.colour) == (other.shape, other.colour):
        return False
    return math.dist(one.centre, other.centre) > one.radius + other.radius + 1


def recoloured(thing: Thing, colour: Colour, rng: np.random.Generator) -> Thing:
    """The same thing in another colour."""
    return replace(thing, colour=colour, rgb=paint(colour, rng))


def render(scene: Scene, side: int = SIDE) -> Image.Image:
    """The scene as an RGB picture of `side` pixels a side."""
    scale = _SUPERSAMPLING
    canvas = Image.new("RGB", (SIDE * scale, SIDE * scale), scene.background_rgb)
    draw = ImageDraw.Draw(canvas)
    for thing in scene.things:
        _draw_thing(draw, thing, thing.rgb, scene.background_rgb)
    if scene.word:
        _draw_word(draw, scene)
    return canvas.resize((side, side), Image.Resampling.BOX)


def coverage(scene: Scene, grid: int) -> np.ndarray:
    """How much of each cell each thing covers: float32 [things, grid, grid], 0-1.

    A dense training target: it tells a vision tower where each named thing is.
    """
    masks = np.zeros((len(scene.things), grid, grid), np.float32)
    for i, thing in enumerate(scene.things):
        mask = Image.new("L", (SIDE * _SUPERSAMPLING, SIDE * _SUPERSAMPLING), 0)
        _draw_thing(ImageDraw.Draw(mask), thing, 255, 0)
        masks[i] = np.asarray(mask.resize((grid, grid), Image.Resampling.BOX), np.float32) / 255
    return masks


def _draw_thing(
    draw: ImageDraw.ImageDraw,
    thing: Thing,
    ink: tuple[int, int, int] | int,
    hole: tuple[int, int, int] | int,
) -> None:
    scale = _SUPERSAMPLING
    x, y = thing.centre
    draw_shape(draw, thing.shape, (x * scale, y * scale), thing.radius * scale, thing.angle, ink, hole)


def draw_shape(
    draw: ImageDraw.ImageDraw,
    shape: Shape,
    centre: tuple[float, float],
    radius: float,
    angle: float,
    ink: tuple[int, int, int] | int,
    hole: tuple[int, int, int] | int,
) -> None:
    """One shape on a canvas, in its pixels and degrees; `hole` is what a ring shows in its middle."""
    x, y, r = *centre, radius
    if shape in ("circle", "ring"):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
        if shape == "ring":
            inner = r * 0.55
            draw.ellipse((x - inner, y - inner, x + inner, y + inner), fill=hole)
        return
    turn = math.radians(angle)
    cos, sin = math.cos(turn), math.sin(turn)
    draw.polygon(
        [(x + r * (px * cos - py * sin), y + r * (px * sin + py * cos)) for px, py in _outline(shape)],
        fill=ink,
    )


@cache
def _outline(shape: Shape) -> tuple[tuple[float, float], ...]:
    """Corners on about the unit circle, y downwards."""
    match shape:
        case "square":
            return ((-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82))
        case "triangle":
            return ((0.0, -1.0), (0.95, 0.78), (-0.95, 0.78))
        case "diamond":
            return ((0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0))
        case "cross":
            a, b = 0.32, 0.98
            return (
                (-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
                (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a),
            )  # fmt: skip
        case "star":
            corners = []
            for i in range(10):
                r = 1.0 if i % 2 == 0 else 0.42
                corners.append((r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)))
            return tuple(corners)
        case "heart":
            curve = []
            for i in range(60):
                t = i * math.pi / 30
                px = 16 * math.sin(t) ** 3
                py = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
                curve.append((px / 16.5, -(py + 2.5) / 15.5))
            return tuple(curve)
        case _:
            raise ValueError(f"{shape} is not drawn by corners")


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=14 * _SUPERSAMPLING)


def _draw_word(draw: ImageDraw.ImageDraw, scene: Scene) -> None:
    """Black on light backgrounds, white on dark ones, centred in the strip at the bottom."""
    assert scene.word is not None
    red, green, blue = scene.background_rgb
    ink = (15, 15, 15) if 0.3 * red + 0.59 * green + 0.11 * blue > 120 else (248, 248, 248)
    middle = (SIDE / 2 * _SUPERSAMPLING, (_WORD_TOP + SIDE - 2) / 2 * _SUPERSAMPLING)
    draw.text(middle, scene.word, fill=ink, font=_font(), anchor="mm")
