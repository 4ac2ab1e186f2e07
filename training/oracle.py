"""What is in this picture? Answered by measuring pixels, with no model, to judge what the models draw.

Background: the colour that most of the border has. Things: connected regions that differ from it, split where two
colours meet. Shape: the outline whose filled template, moved, turned and scaled a little, overlaps the region best.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, cast

import numpy as np
from PIL import Image, ImageDraw

from training.world import COLOURS, SHAPES, SIDE, Colour, Place, Scene, Shape, Size

_PALETTE: Final = np.array(
    [
        (215, 38, 40),
        (42, 158, 66),
        (40, 78, 212),
        (242, 216, 48),
        (138, 58, 172),
        (244, 138, 28),
        (243, 243, 243),
        (20, 20, 20),
    ],
    np.float32,
)
"""What red, green, blue, yellow, purple, orange, white and black look like, RGB."""
_CENTRES: Final[dict[Place, tuple[int, int]]] = {
    "left": (15, 32),
    "right": (49, 32),
    "top": (32, 15),
    "bottom": (32, 49),
    "centre": (32, 32),
}
_DIFFERENT: Final = 45.0
"""RGB distance from the background at which a pixel belongs to a thing."""
_SMALLEST_AREA: Final = 30.0
_SMALLEST_CORE: Final = 6
_WORST_FIT: Final = 0.45
_SMALLEST_RADIUS: Final = 5.5
_BIG_RADIUS: Final = 11.25
_TEMPLATE: Final = 160
_TEMPLATE_REACH: Final = 1.25
"""A template square covers -1.25..1.25 radii."""

Grid = np.ndarray
"""Float32 or bool, [64, 64] or a window of it."""


@dataclass(frozen=True)
class Sighting:
    """One thing as it was measured; `centre` and `radius` in pixels, `fit` is the overlap with the template, 0-1."""

    shape: Shape
    colour: Colour
    size: Size
    place: Place
    centre: tuple[float, float]
    radius: float
    fit: float


@dataclass(frozen=True)
class Seen:
    """Everything that was found in a picture."""

    background: Colour
    things: tuple[Sighting, ...]

    def agrees_with(self, scene: Scene) -> bool:
        """Whether this is the scene in every named respect, and nothing more."""
        seen = sorted((t.place, t.shape, t.colour, t.size) for t in self.things)
        asked = sorted((t.place, t.shape, t.colour, t.size) for t in scene.things)
        return self.background == scene.background and seen == asked


def look(picture: Image.Image) -> Seen:
    """Measure a picture of any size (it is brought to 64x64)."""
    rgb = picture.convert("RGB")
    if rgb.size != (SIDE, SIDE):
        rgb = rgb.resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = np.asarray(rgb, np.float32)
    ground = _background_rgb(pixels)
    things = (_measure(region, ink, pixels, ground) for region, ink in _regions(pixels, ground))
    return Seen(_colour_of(ground), tuple(thing for thing in things if thing is not None))


def _nearest(colours: np.ndarray) -> np.ndarray:
    """Index of the nearest named colour: [..., 3] -> int [...]."""
    distances: np.ndarray = np.linalg.norm(colours[..., None, :] - _PALETTE, axis=-1)
    return cast("np.ndarray", distances.argmin(-1))


def _colour_of(rgb: np.ndarray) -> Colour:
    return COLOURS[int(_nearest(rgb))]


def _background_rgb(pixels: np.ndarray) -> np.ndarray:
    border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, :2].reshape(-1, 3)])
    border = np.concatenate([border, pixels[:, -2:].reshape(-1, 3)])
    names = _nearest(border)
    most = np.bincount(names, minlength=len(COLOURS)).argmax()
    return cast("np.ndarray", np.median(border[names == most], axis=0))


def _regions(pixels: np.ndarray, ground: np.ndarray) -> Iterator[tuple[Grid, np.ndarray]]:
    """(pixels of one thing, its RGB) for everything that stands out from the background."""
    foreground = np.linalg.norm(pixels - ground, axis=-1) > _DIFFERENT
    for region in _connected(foreground):
        if region.sum() < _SMALLEST_AREA:
            continue
        yield from _colours_of(region, pixels)


def _colours_of(region: Grid, pixels: np.ndarray) -> Iterator[tuple[Grid, np.ndarray]]:
    """The region by colour; a colour that is nowhere three pixels thick is the blend of an edge and not counted."""
    names = _nearest(pixels)
    cores = {int(name): _eroded(region & (names == name)) for name in np.unique(names[region])}
    thick = {name: core for name, core in cores.items() if core.sum() >= _SMALLEST_CORE}
    if not thick:
        inside = _eroded(region) if _eroded(region).any() else region
        yield region, np.median(pixels[inside], axis=0)
        return
    inks = [np.median(pixels[core], axis=0) for core in thick.values()]
    nearest = np.stack([np.linalg.norm(pixels - ink, axis=-1) for ink in inks]).argmin(0)
    for number, ink in enumerate(inks):
        part = region if len(inks) == 1 else max(_connected(region & (nearest == number)), key=np.sum)
        yield part, ink


def _eroded(region: Grid) -> Grid:
    padded = np.pad(region, 1)
    inner = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return cast("Grid", inner)


def _grown(region: Grid) -> Grid:
    return ~_eroded(~region)


def _connected(mask: Grid) -> list[Grid]:
    """The mask's parts that touch by a side: each pixel takes its neighbours' highest label until nothing changes."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(labels, 1)
        around = [padded[1:-1, 1:-1], padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        spread = np.where(mask, np.max(around, axis=0), 0)
        if (spread == labels).all():
            return [labels == label for label in np.unique(labels) if label]
        labels = spread


def _measure(region: Grid, ink: np.ndarray, pixels: np.ndarray, ground: np.ndarray) -> Sighting | None:
    """Fit every shape to the region's coverage; None for what is too small to be a thing (a letter, a speck)."""
    towards = ink - ground
    coverage = ((pixels - ground) @ towards / max(1.0, float(towards @ towards))).clip(0, 1)
    coverage = np.where(_grown(region), coverage, 0).astype(np.float32)
    area = float(coverage.sum())
    rows, columns = np.nonzero(_grown(_grown(region)))  # beyond this the templates hardly reach
    coverage = coverage[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    down, across = np.mgrid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] + 0.5
    middle = (float((coverage * across).sum() / area), float((coverage * down).sum() / area))
    fits = [_best_fit(shape, coverage, (across, down), area, middle) for shape in SHAPES]
    fit, radius, centre, shape = max(fits)
    if fit < _WORST_FIT or radius < _SMALLEST_RADIUS:
        return None
    place = min(_CENTRES, key=lambda name: math.dist(centre, _CENTRES[name]))
    size: Size = "big" if radius > _BIG_RADIUS else "small"
    return Sighting(shape, _colour_of(ink), size, place, centre, radius, fit)


def _best_fit(
    shape: Shape,
    coverage: Grid,
    points: tuple[np.ndarray, np.ndarray],
    area: float,
    middle: tuple[float, float],
) -> tuple[float, float, tuple[float, float], Shape]:
    """(overlap, radius, centre, shape) of the template that overlaps best, near the size that gives the same area."""
    template, unit_area, (offset_x, offset_y) = _template(shape)
    expected = math.sqrt(area / unit_area)
    best = (0.0, 0.0, middle, shape)
    for radius in (expected * 0.94, expected, expected * 1.06):
        x, y = middle[0] - offset_x * radius, middle[1] - offset_y * radius
        for degrees in (-6, 0, 6):
            for shift_x, shift_y in ((0, 0), (0.6, 0), (-0.6, 0), (0, 0.6), (0, -0.6)):
                centre = (x + shift_x, y + shift_y)
                placed = _placed(template, points, centre, radius, degrees)
                overlap = float(np.minimum(placed, coverage).sum() / np.maximum(placed, coverage).sum())
                best = max(best, (overlap, radius, centre, shape))
    return best


def _placed(
    template: np.ndarray,
    points: tuple[np.ndarray, np.ndarray],
    centre: tuple[float, float],
    radius: float,
    degrees: float,
) -> Grid:
    """The template's coverage at these pixels (each looks up where it falls in the template)."""
    x, y = (points[0] - centre[0]) / radius, (points[1] - centre[1]) / radius
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    scale = _TEMPLATE / (2 * _TEMPLATE_REACH)
    across = ((x * cos + y * sin + _TEMPLATE_REACH) * scale).astype(int).clip(0, _TEMPLATE - 1)
    down = ((-x * sin + y * cos + _TEMPLATE_REACH) * scale).astype(int).clip(0, _TEMPLATE - 1)
    return cast("Grid", template[down, across])


@cache
def _template(shape: Shape) -> tuple[np.ndarray, float, tuple[float, float]]:
    """The shape's mask, its area in square radii, and the middle of its mass in radii."""
    scale = _TEMPLATE / (2 * _TEMPLATE_REACH)
    image = Image.new("L", (_TEMPLATE, _TEMPLATE), 0)
    draw = ImageDraw.Draw(image)
    corners = _corners(shape)
    draw.polygon([((x + _TEMPLATE_REACH) * scale, (y + _TEMPLATE_REACH) * scale) for x, y in corners], fill=255)
    if shape == "ring":
        low, high = ((_TEMPLATE_REACH - 0.55) * scale, (_TEMPLATE_REACH + 0.55) * scale)
        draw.ellipse((low, low, high, high), fill=0)
    mask = np.asarray(image, np.float32) / 255
    rows, columns = (np.mgrid[:_TEMPLATE, :_TEMPLATE] + 0.5) / scale - _TEMPLATE_REACH
    middle = (float((mask * columns).sum() / mask.sum()), float((mask * rows).sum() / mask.sum()))
    return mask, float(mask.sum() / scale**2), middle


def _corners(shape: Shape) -> list[tuple[float, float]]:
    """The outline in radii, y downwards."""
    turns = [i * math.pi / 30 for i in range(60)]
    match shape:
        case "circle" | "ring":
            return [(math.sin(t), math.cos(t)) for t in turns]
        case "square":
            return [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)]
        case "triangle":
            return [(0, -1), (0.95, 0.78), (-0.95, 0.78)]
        case "diamond":
            return [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)]
        case "cross":
            arm, end = 0.32, 0.98
            quarter = [(-arm, -end), (arm, -end), (arm, -arm)]
            return [(x * c - y * s, x * s + y * c) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1)) for x, y in quarter]
        case "star":
            radii = [1.0 if i % 2 == 0 else 0.42 for i in range(10)]
            return [(r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i, r in enumerate(radii)]
        case "heart":
            return [
                (
                    16 * math.sin(t) ** 3 / 16.5,
                    -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) + 2.5) / 15.5,
                )
                for t in turns
            ]
