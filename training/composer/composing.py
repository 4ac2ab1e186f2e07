"""Scenes into pixels: grounds, drawings, shapes and words laid over each other."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from training.art.lettering import Lettering
from training.art.shelf import Drawing, Shelf
from training.composer.grounds import PAINTED, VARIANTS, Painted, paint_ground
from training.composer.scene import SIDE, Figure, Scene
from training.world import SHAPES, Shape, draw_shape

_WORD_MIDDLE: Final = 112
"""The row that a word below figures is centred on."""
_TURNED: Final = 0.2
"""How far a figure that is bent is turned at most, in radians."""
_SHRUNK: Final = (1.1, 1.4)
"""By how much its width and its height shrink, each for itself, so that it stays within its square."""
RADIUS: Final = 0.485
"""Of a shape, as a share of the side of its square."""
_ASKEW: Final = 0.1
"""How far each corner of the square moves at most, in half sides."""


class Composer:
    """Draws scenes from what is in memory; the same scene always gives the same pixels.

    One that bends draws each figure a little turned, stretched and askew, so that a thing is not known by one outline.
    """

    def __init__(self, shelf: Shelf, lettering: Lettering | None = None, *, bends: bool = False) -> None:
        self._shelf = shelf
        self._lettering = lettering
        self._bends = bends
        self._grounds: dict[tuple[Painted, int], np.ndarray] = {}

    def prepare(self) -> None:
        """Paint every ground now, so that processes forked from this one share them."""
        for ground in PAINTED:
            for variant in range(VARIANTS):
                self._ground(ground, variant)

    def compose(self, scene: Scene) -> np.ndarray:
        """uint8 [128, 128, 3]."""
        canvas = self._canvas(scene)
        # What is named first stands in front of what is named after it.
        for figure in reversed(scene.figures):
            _lay(canvas, *self._cut(figure, scene.design))
        if scene.word is not None:
            self._write(canvas, scene.word, alone=not scene.figures)
        return canvas

    def covers(self, scene: Scene, grid: int) -> np.ndarray:
        """How much of each cell each figure covers where nothing lies over it: float32 [figures, grid, grid], 0-1."""
        masks = np.zeros((len(scene.figures), SIDE, SIDE), np.float32)
        for number, figure in enumerate(scene.figures):
            piece, top, left = self._cut(figure, scene.design)
            window, part = _overlap(piece.shape, top, left)
            masks[number][window] = piece[part][..., 3] / np.float32(255)
            masks[number] *= 1 - masks[:number].max(0, initial=0)
        cell = SIDE // grid
        covered: np.ndarray = masks.reshape(len(masks), grid, cell, grid, cell).mean((2, 4))
        return covered

    def _canvas(self, scene: Scene) -> np.ndarray:
        if scene.is_painted:
            return self._ground(scene.ground, scene.variant).copy()  # type: ignore[arg-type]
        canvas = np.empty((SIDE, SIDE, 3), np.uint8)
        canvas[:] = scene.ground_rgb
        return canvas

    def _ground(self, ground: Painted, variant: int) -> np.ndarray:
        if (ground, variant) not in self._grounds:
            self._grounds[ground, variant] = paint_ground(ground, variant)
        return self._grounds[ground, variant]

    def _cut(self, figure: Figure, design: str) -> tuple[np.ndarray, int, int]:
        """Premultiplied RGBA of the figure's size, and the row and column of its corner."""
        side = max(2, round(figure.side))
        if figure.rgb is not None:
            alpha = _shape_mask(figure.name, side)
            piece = (alpha[..., None].astype(np.uint16) * np.array([*figure.rgb, 255], np.uint16) // 255).astype(
                np.uint8
            )
        else:
            drawn = Image.fromarray(self._shelf[Drawing(figure.name, design)])
            picture = (_bent(drawn, figure) if self._bends else drawn).convert("RGBa")
            piece = np.asarray(picture.resize((side, side), Image.Resampling.HAMMING))
        if figure.mirrored:
            piece = piece[:, ::-1]
        return piece, round(figure.centre[1] - side / 2), round(figure.centre[0] - side / 2)

    def _write(self, canvas: np.ndarray, word: int, *, alone: bool) -> None:
        assert self._lettering is not None, "a scene with a word needs the lettering"
        mask = self._lettering.masks[word]
        if alone:
            top = (SIDE - mask.shape[0]) // 2
        else:
            mask = np.asarray(Image.fromarray(mask).resize((112, 28), Image.Resampling.HAMMING))
            top = _WORD_MIDDLE - mask.shape[0] // 2
        left = (SIDE - mask.shape[1]) // 2
        behind = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
        dark = float(behind.mean()) > 125
        ink = np.zeros((*mask.shape, 4), np.uint8)
        ink[..., :3] = (mask if not dark else mask // 14)[..., None]
        ink[..., 3] = mask
        _lay(canvas, ink, top, left)


def _bent(drawn: Image.Image, figure: Figure) -> Image.Image:
    """The drawing with its square's corners drawn from a tilted, stretched and uneven one; of each figure the same."""
    rng = np.random.default_rng(zlib.crc32(repr((figure.name, figure.centre, figure.side)).encode()))
    turn = rng.uniform(-_TURNED, _TURNED)
    wide, high = rng.uniform(*_SHRUNK, 2)
    corners = np.array([(-wide, -high), (-wide, high), (wide, high), (wide, -high)])
    corners = corners @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = (corners + rng.uniform(-_ASKEW, _ASKEW, (4, 2)) + 1) * drawn.width / 2
    return drawn.transform(drawn.size, Image.Transform.QUAD, tuple(corners.ravel().tolist()), Image.Resampling.BICUBIC)


def _overlap(shape: tuple[int, ...], top: int, left: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a piece lies on the canvas, and which part of it."""
    bottom, right = min(SIDE, top + shape[0]), min(SIDE, left + shape[1])
    window = slice(max(0, top), bottom), slice(max(0, left), right)
    return window, (slice(max(0, -top), bottom - top), slice(max(0, -left), right - left))


def _lay(canvas: np.ndarray, piece: np.ndarray, top: int, left: int) -> None:
    """Premultiplied RGBA over the canvas."""
    window, part = _overlap(piece.shape, top, left)
    over = piece[part]
    behind = canvas[window].astype(np.uint16) * (255 - over[..., 3:].astype(np.uint16)) // 255
    canvas[window] = np.minimum(over[..., :3] + behind, 255).astype(np.uint8)


@cache
def _shape_mask(shape: Shape, side: int) -> np.ndarray:
    """uint8 [side, side]."""
    assert shape in SHAPES
    large = Image.new("L", (side * 4, side * 4))
    draw_shape(ImageDraw.Draw(large), shape, (2.0 * side, 2.0 * side), 4 * RADIUS * side, 0.0, 255, 0)
    return np.asarray(large.resize((side, side), Image.Resampling.BOX))
