"""Painted grounds: a few hundred variants of space, sea, meadow and so on, drawn by formula.

A variant is a number; the same number always gives the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Painted = Literal[
    "space", "sea", "beach", "meadow", "mountains", "sunset", "sunrise", "snow", "city at night", "room",
    "forest", "sky",
    "desert", "underwater", "sunset sea", "sunrise mountains",
]  # fmt: skip
PAINTED: Final[tuple[Painted, ...]] = get_args(Painted)
SIDE: Final = 128
VARIANTS: Final = 40
"""Of each ground."""
_SCALE: Final = 2
_FULL: Final = SIDE * _SCALE

RGB = tuple[int, int, int]


def paint_ground(ground: Painted, variant: int) -> np.ndarray:
    """uint8 [128, 128, 3]: one variant of a ground."""
    rng = np.random.default_rng((61, PAINTED.index(ground), variant))
    picture = _PAINTERS[ground](rng)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def horizon(ground: Painted) -> float:
    """How far down, 0-1, the floor begins that things stand on; 1 where they float."""
    return _HORIZONS.get(ground, 1.0)


_HORIZONS: Final[dict[Painted, float]] = {
    "sea": 0.55, "beach": 0.62, "meadow": 0.58, "mountains": 0.72, "sunset": 0.62, "sunrise": 0.62, "snow": 0.6,
    "city at night": 0.85, "room": 0.66, "forest": 0.66, "desert": 0.58, "sunset sea": 0.58, "sunrise mountains": 0.75,
}  # fmt: skip


def _shade(colour: RGB, rng: np.random.Generator, spread: int = 10) -> RGB:
    red, green, blue = (int(np.clip(c + s, 0, 255)) for c, s in zip(colour, rng.integers(-spread, spread + 1, 3)))  # noqa: B905
    return red, green, blue


def _mix(one: RGB, other: RGB, share: float) -> RGB:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _gradient(colours: list[RGB], top: int = 0, bottom: int = _FULL) -> Image.Image:
    """Vertical, through evenly spaced colours."""
    stops = np.linspace(top, bottom, len(colours))
    rows = np.stack([np.interp(np.arange(_FULL), stops, [c[i] for c in colours]) for i in range(3)], -1)
    return Image.fromarray(np.repeat(rows[:, None].round().astype(np.uint8), _FULL, 1))


def _hills(draw: ImageDraw.ImageDraw, rng: np.random.Generator, base: float, height: float, colour: RGB) -> None:
    """A soft ridge: `base` and `height` are shares of the side."""
    x = np.arange(0, _FULL + 8, 8)
    phases = rng.uniform(0, 6.3, 3)
    wave = sum(np.sin(x / _FULL * 6.3 * f + p) / (i + 1) for i, (f, p) in enumerate(zip((0.8, 1.7, 2.9), phases)))  # noqa: B905
    y = (base - height * (0.5 + 0.3 * wave)) * _FULL
    draw.polygon([*zip(x.tolist(), y.tolist(), strict=True), (_FULL + 8, _FULL), (0, _FULL)], fill=colour)


def _peaks(draw: ImageDraw.ImageDraw, rng: np.random.Generator, base: float, colour: RGB, cap: RGB | None) -> None:
    """A row of pointed mountains, with caps of snow."""
    count = int(rng.integers(3, 5))
    for i in rng.permutation(count):
        x = (i + rng.uniform(0.2, 0.8)) / count * _FULL
        height = rng.uniform(0.28, 0.48) * _FULL
        half = height * rng.uniform(0.7, 1.0)
        top, floor = base * _FULL - height, base * _FULL
        near = _shade(colour, rng, 6)
        draw.polygon([(x, top), (x + half, floor), (x - half, floor)], fill=near)
        draw.polygon([(x, top), (x + half, floor), (x + half * 0.1, floor)], fill=_mix(near, (0, 0, 0), 0.12))
        if cap:
            c = 0.28
            points = [(x, top), (x + half * c, top + height * c), (x + half * c * 0.4, top + height * c * 0.8)]
            points += [(x, top + height * c * 1.15), (x - half * c * 0.4, top + height * c * 0.8)]
            draw.polygon([*points, (x - half * c, top + height * c)], fill=cap)


def _clouds(picture: Image.Image, rng: np.random.Generator, colour: RGB, lowest: float, most: int = 4) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(1, most + 1))):
        x, y = rng.uniform(0, _FULL), rng.uniform(0.05, lowest) * _FULL
        size = rng.uniform(8, 16)
        for dx, dy, r in ((-1.5, 0.25, 0.8), (-0.5, -0.25, 1.1), (0.7, -0.1, 1.0), (1.6, 0.3, 0.7)):
            cx, cy, cr = x + dx * size, y + dy * size, r * size
            draw.ellipse((cx - cr, cy - cr * 0.8, cx + cr, cy + cr * 0.8), fill=colour)
        draw.rectangle((x - 2 * size, y + 0.2 * size, x + 2 * size, y + 0.9 * size), fill=colour)


def _glow(picture: Image.Image, centre: tuple[float, float], radius: float, colour: RGB) -> Image.Image:
    """A soft light added to the picture."""
    y, x = np.mgrid[:_FULL, :_FULL]
    strength = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * radius**2))[..., None]
    return ImageChops.add(picture, Image.fromarray((strength * np.array(colour)).astype(np.uint8)))


def _disc(picture: Image.Image, centre: tuple[float, float], radius: float, colour: RGB) -> None:
    x, y = centre
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _stars(picture: Image.Image, rng: np.random.Generator, count: int, lowest: float = 1.0) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(count):
        x, y = rng.uniform(0, _FULL), rng.uniform(0, lowest * _FULL)
        r = float(rng.choice([0.8, 1.2, 1.8, 2.4], p=[0.45, 0.3, 0.17, 0.08]))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_mix((255, 255, 255), (255, 230, 180), rng.uniform()))


def _ripples(picture: Image.Image, rng: np.random.Generator, top: float, colour: RGB, bottom: float = 1.0) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(10, 20))):
        y = rng.uniform(top + 0.03, bottom - 0.02)
        length = rng.uniform(0.05, 0.18) * (0.4 + (y - top) * 2) * _FULL
        x = rng.uniform(-0.1, 1.0) * _FULL
        draw.line((x, y * _FULL, x + length, y * _FULL), fill=colour, width=2)


def _tufts(picture: Image.Image, rng: np.random.Generator, top: float, colours: list[RGB], count: int) -> None:
    """Small flowers or stones on a floor."""
    draw = ImageDraw.Draw(picture)
    for _ in range(count):
        y = rng.uniform(top + 0.05, 0.98)
        r = 1 + 3 * (y - top)
        x = rng.uniform(0, _FULL)
        draw.ellipse((x - r, y * _FULL - r, x + r, y * _FULL + r), fill=colours[int(rng.integers(len(colours)))])


def _day(rng: np.random.Generator) -> Image.Image:
    return _gradient([_shade((96, 176, 240), rng, 14), _shade((196, 228, 250), rng, 8)], 0, int(0.7 * _FULL))


def _space(rng: np.random.Generator) -> Image.Image:
    picture = _gradient([_shade((14, 12, 40), rng, 8), _shade((34, 22, 74), rng, 12)])
    for _ in range(2):
        where = (rng.uniform(0, _FULL), rng.uniform(0, _FULL))
        tint = ((60, 20, 80), (20, 40, 90), (70, 30, 60))[int(rng.integers(3))]
        picture = _glow(picture, where, rng.uniform(30, 60), tint)
    _stars(picture, rng, int(rng.integers(50, 90)))
    if rng.random() < 0.5:
        corner = (rng.choice([0.1, 0.9]) * _FULL, rng.choice([0.12, 0.88]) * _FULL)
        colour = ((214, 140, 90), (120, 170, 220), (200, 200, 190), (180, 120, 200))[int(rng.integers(4))]
        _disc(picture, corner, rng.uniform(14, 30), colour)
    return picture


def _sea(rng: np.random.Generator) -> Image.Image:
    picture = _day(rng)
    _clouds(picture, rng, (250, 252, 255), 0.35)
    water = _gradient([_shade((58, 150, 206), rng), _shade((18, 84, 156), rng)], int(0.55 * _FULL), _FULL)
    picture.paste(water.crop((0, int(0.55 * _FULL), _FULL, _FULL)), (0, int(0.55 * _FULL)))
    _ripples(picture, rng, 0.55, (150, 206, 236))
    return picture


def _beach(rng: np.random.Generator) -> Image.Image:
    picture = _day(rng)
    _clouds(picture, rng, (252, 253, 255), 0.28, 3)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0.45 * _FULL, _FULL, _FULL), fill=_shade((52, 160, 208), rng))
    _ripples(picture, rng, 0.45, (160, 216, 236), 0.64)
    _hills(draw, rng, 0.7, 0.04, (236, 246, 248))
    _hills(draw, rng, 0.73, 0.05, _shade((242, 218, 162), rng, 8))
    _tufts(picture, rng, 0.72, [(214, 186, 130), (250, 236, 200)], 14)
    return picture


def _meadow(rng: np.random.Generator) -> Image.Image:
    picture = _day(rng)
    _clouds(picture, rng, (252, 254, 255), 0.35)
    draw = ImageDraw.Draw(picture)
    _hills(draw, rng, 0.66, 0.14, _shade((126, 196, 96), rng))
    _hills(draw, rng, 0.72, 0.1, _shade((94, 176, 70), rng))
    _tufts(picture, rng, 0.68, [(250, 240, 120), (250, 250, 250), (240, 130, 160), (70, 150, 56)], 26)
    return picture


def _mountains(rng: np.random.Generator) -> Image.Image:
    picture = _day(rng)
    _clouds(picture, rng, (250, 252, 255), 0.25, 3)
    draw = ImageDraw.Draw(picture)
    _peaks(draw, rng, 0.78, _shade((120, 134, 160), rng), (248, 250, 255))
    _hills(draw, rng, 0.8, 0.1, _shade((92, 150, 84), rng))
    return picture


def _low_sun(rng: np.random.Generator, sky: list[RGB], disc: RGB, land: RGB) -> Image.Image:
    picture = _gradient([_shade(c, rng, 8) for c in sky], 0, int(0.7 * _FULL))
    centre = (rng.uniform(0.3, 0.7) * _FULL, rng.uniform(0.5, 0.6) * _FULL)
    picture = _glow(picture, centre, 46, (90, 60, 20))
    _disc(picture, centre, rng.uniform(20, 28), disc)
    draw = ImageDraw.Draw(picture)
    _hills(draw, rng, 0.72, 0.1, _mix(land, sky[-1], 0.35))
    _hills(draw, rng, 0.82, 0.1, _shade(land, rng, 6))
    return picture


_DUSK: Final[list[RGB]] = [(84, 48, 120), (206, 84, 110), (250, 150, 70), (254, 196, 96)]
_DAWN: Final[list[RGB]] = [(112, 160, 222), (190, 200, 230), (252, 208, 190), (255, 232, 176)]


def _sunset(rng: np.random.Generator) -> Image.Image:
    return _low_sun(rng, _DUSK, (255, 120, 60), (70, 44, 84))


def _sunrise(rng: np.random.Generator) -> Image.Image:
    return _low_sun(rng, _DAWN, (255, 214, 92), (104, 138, 112))


def _sunset_sea(rng: np.random.Generator) -> Image.Image:
    picture = _gradient([_shade(c, rng, 8) for c in _DUSK], 0, int(0.58 * _FULL))
    centre = (rng.uniform(0.35, 0.65) * _FULL, 0.55 * _FULL)
    picture = _glow(picture, centre, 50, (90, 60, 20))
    _disc(picture, centre, rng.uniform(22, 30), (255, 132, 64))
    edge = int(0.58 * _FULL)
    water = _gradient([_shade((196, 96, 100), rng), _shade((56, 40, 100), rng)], edge, _FULL)
    picture.paste(water.crop((0, edge, _FULL, _FULL)), (0, edge))
    draw = ImageDraw.Draw(picture)
    for i in range(9):
        y, half = (0.6 + i * 0.045) * _FULL, rng.uniform(8, 26)
        draw.line((centre[0] - half, y, centre[0] + half, y), fill=(255, 176, 96), width=3)
    _ripples(picture, rng, 0.6, (226, 130, 112))
    return picture


def _sunrise_mountains(rng: np.random.Generator) -> Image.Image:
    picture = _gradient([_shade(c, rng, 8) for c in _DAWN], 0, int(0.65 * _FULL))
    centre = (rng.uniform(0.3, 0.7) * _FULL, rng.uniform(0.32, 0.4) * _FULL)
    picture = _glow(picture, centre, 50, (80, 60, 20))
    _disc(picture, centre, rng.uniform(20, 26), (255, 206, 84))
    draw = ImageDraw.Draw(picture)
    _peaks(draw, rng, 0.8, _shade((146, 122, 158), rng), (255, 226, 214))
    _hills(draw, rng, 0.82, 0.1, _shade((92, 112, 108), rng))
    return picture


def _snow(rng: np.random.Generator) -> Image.Image:
    picture = _gradient([_shade((142, 178, 214), rng), _shade((214, 228, 242), rng, 6)], 0, int(0.7 * _FULL))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(3, 7))):
        x, height = rng.uniform(0, _FULL), rng.uniform(30, 56)
        floor = 0.66 * _FULL
        for share in (0.0, 0.3, 0.6):
            half = height * (0.24 + 0.16 * share)
            top = floor - height * (1 - share)
            draw.polygon(
                [(x, top), (x + half, top + height * 0.45), (x - half, top + height * 0.45)], fill=(86, 124, 120)
            )
    _hills(draw, rng, 0.68, 0.08, (232, 240, 250))
    _hills(draw, rng, 0.78, 0.08, (248, 251, 255))
    _tufts(picture, rng, -0.05, [(255, 255, 255)], 50)
    return picture


def _city_at_night(rng: np.random.Generator) -> Image.Image:
    picture = _gradient([_shade((14, 18, 52), rng, 6), _shade((70, 56, 110), rng, 10)])
    _stars(picture, rng, 24, 0.4)
    if rng.random() < 0.6:
        _disc(picture, (rng.uniform(0.1, 0.9) * _FULL, rng.uniform(0.08, 0.2) * _FULL), 11, (250, 244, 210))
    draw = ImageDraw.Draw(picture)
    for row, (tallest, colour) in enumerate((((0.5, 0.66), (44, 44, 84)), ((0.32, 0.52), (26, 28, 58)))):
        x = -rng.uniform(0, 20)
        while x < _FULL:
            width = rng.uniform(22, 40)
            top = _FULL * (0.9 - rng.uniform(*tallest)) + 20 * row
            draw.rectangle((x, top, x + width, 0.9 * _FULL), fill=_shade(colour, rng, 5))
            for wx in np.arange(x + 4, x + width - 6, 9):
                for wy in np.arange(top + 6, 0.88 * _FULL - 8, 13):
                    if rng.random() < 0.45:
                        lit = (255, 222, 120) if rng.random() < 0.8 else (170, 214, 250)
                        draw.rectangle((wx, wy, wx + 4, wy + 6), fill=lit)
            x += width + rng.uniform(0, 4)
    draw.rectangle((0, 0.88 * _FULL, _FULL, _FULL), fill=(34, 34, 46))
    for x in range(8, _FULL, 44):
        draw.rectangle((x, 0.935 * _FULL, x + 22, 0.95 * _FULL), fill=(210, 204, 150))
    return picture


def _room(rng: np.random.Generator) -> Image.Image:
    walls: tuple[RGB, ...] = ((244, 226, 200), (206, 226, 216), (214, 222, 240), (242, 212, 212), (250, 240, 206))
    wall = _shade(walls[int(rng.integers(len(walls)))], rng, 5)
    picture = Image.new("RGB", (_FULL, _FULL), wall)
    draw = ImageDraw.Draw(picture)
    floor = _shade((186, 132, 84), rng, 14)
    edge = 0.68 * _FULL
    draw.rectangle((0, edge, _FULL, _FULL), fill=floor)
    for i in range(1, 5):
        y = edge + (_FULL - edge) * (i / 5) ** 1.3
        draw.line((0, y, _FULL, y), fill=_mix(floor, (0, 0, 0), 0.12), width=2)
    draw.rectangle((0, edge - 8, _FULL, edge), fill=_mix(wall, (255, 255, 255), 0.6))
    x, y = rng.choice([0.1, 0.62]) * _FULL, 0.12 * _FULL
    draw.rectangle((x - 4, y - 4, x + 74, y + 84), fill=(250, 250, 248))
    draw.rectangle((x, y, x + 70, y + 80), fill=_shade((150, 206, 244), rng, 8))
    draw.rectangle((x + 33, y, x + 37, y + 80), fill=(250, 250, 248))
    draw.rectangle((x, y + 38, x + 70, y + 42), fill=(250, 250, 248))
    if rng.random() < 0.5:
        px = 0.62 * _FULL if x < 0.4 * _FULL else 0.16 * _FULL
        draw.rectangle((px, 0.2 * _FULL, px + 56, 0.2 * _FULL + 42), fill=(140, 96, 60))
        draw.rectangle((px + 5, 0.2 * _FULL + 5, px + 51, 0.2 * _FULL + 37), fill=_shade((170, 200, 150), rng, 30))
    return picture


def _forest(rng: np.random.Generator) -> Image.Image:
    picture = _gradient([_shade((150, 200, 160), rng), _shade((206, 228, 186), rng)])
    draw = ImageDraw.Draw(picture)
    for depth, (leaf, base) in enumerate((((104, 164, 112), 0.66), ((64, 132, 80), 0.7), ((38, 102, 60), 0.74))):
        x = rng.uniform(-20, 10)
        while x < _FULL + 20:
            height = rng.uniform(0.42, 0.62) * _FULL
            floor = base * _FULL
            draw.rectangle((x - 4, floor - height * 0.4, x + 4, floor + 4), fill=_shade((104, 74, 50), rng, 8))
            colour = _shade(leaf, rng, 10)
            for share in (0.0, 0.25, 0.5):
                half, top = height * (0.2 + 0.14 * share), floor - height * (1 - share)
                draw.polygon([(x, top), (x + half, top + height * 0.4), (x - half, top + height * 0.4)], fill=colour)
            x += rng.uniform(34, 60) - 4 * depth
    _hills(draw, rng, 0.74, 0.06, _shade((74, 130, 62), rng))
    _tufts(picture, rng, 0.72, [(110, 170, 80), (56, 104, 50), (230, 120, 90)], 18)
    return picture


def _sky(rng: np.random.Generator) -> Image.Image:
    picture = _gradient([_shade((84, 164, 236), rng, 12), _shade((186, 222, 250), rng, 8)])
    _clouds(picture, rng, (252, 254, 255), 0.95, 6)
    return picture


def _desert(rng: np.random.Generator) -> Image.Image:
    picture = _gradient([_shade((104, 180, 232), rng), _shade((250, 226, 180), rng, 8)], 0, int(0.65 * _FULL))
    _disc(picture, (rng.uniform(0.15, 0.85) * _FULL, rng.uniform(0.12, 0.22) * _FULL), 16, (255, 236, 150))
    draw = ImageDraw.Draw(picture)
    _hills(draw, rng, 0.68, 0.14, _shade((232, 188, 116), rng))
    _hills(draw, rng, 0.8, 0.12, _shade((218, 164, 92), rng))
    return picture


def _underwater(rng: np.random.Generator) -> Image.Image:
    picture = _gradient([_shade((92, 196, 226), rng), _shade((14, 74, 140), rng)])
    draw = ImageDraw.Draw(picture)
    _hills(draw, rng, 0.94, 0.08, _shade((206, 190, 140), rng))
    for _ in range(int(rng.integers(4, 8))):
        x, height = rng.uniform(0, _FULL), rng.uniform(20, 56)
        for i in range(int(height / 6)):
            y, sway = 0.94 * _FULL - i * 6, 4 * np.sin(i)
            draw.ellipse((x + sway - 5, y - 6, x + sway + 5, y + 4), fill=_shade((50, 140, 90), rng, 10))
    light = picture.filter(ImageFilter.GaussianBlur(0.6))
    draw = ImageDraw.Draw(light)
    for _ in range(int(rng.integers(10, 20))):
        x, y, r = rng.uniform(0, _FULL), rng.uniform(0, 0.85 * _FULL), rng.uniform(2, 6)
        draw.ellipse((x - r, y - r, x + r, y + r), outline=(206, 238, 250), width=2)
    return light


_PAINTERS: Final[dict[Painted, Callable[[np.random.Generator], Image.Image]]] = {
    "space": _space, "sea": _sea, "beach": _beach, "meadow": _meadow, "mountains": _mountains, "sunset": _sunset,
    "sunrise": _sunrise, "snow": _snow, "city at night": _city_at_night, "room": _room, "forest": _forest, "sky": _sky,
    "desert": _desert, "underwater": _underwater, "sunset sea": _sunset_sea, "sunrise mountains": _sunrise_mountains,
}  # fmt: skip
