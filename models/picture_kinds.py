"""The kinds of pictures that the built-in describer tells apart."""

from __future__ import annotations

from enum import IntEnum


class PictureKind(IntEnum):
    """Numbered as the describer's gate scores them."""

    SHAPES = 0
    DRAWING = 1
    PHOTOGRAPH = 2
