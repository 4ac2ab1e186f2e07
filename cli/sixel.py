"""Sixel pictures: six rows of pixels in a band, one line of a band for each colour in it (VT340; DEC STD 070, 9)."""

from __future__ import annotations

import io
import math
import re
from typing import Final

_BAND: Final = 6
"""Rows of pixels in one character."""
_REPEATED: Final = re.compile(r"(.)\1{3,}")


def encoded(picture: bytes, width: int, height: int, colours: int) -> str:
    """A PNG, JPEG or WebP as the sequence that draws it, as large as fits into so many pixels, in so many colours."""
    import numpy as np
    from PIL import Image  # most commands show no picture

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    scale = min(width / image.width, height / image.height)
    # whole bands: pixels of one that reaches below its place would have the terminal scroll
    size = max(1, int(image.width * scale)), max(_BAND, int(image.height * scale) // _BAND * _BAND)
    drawn = image.resize(size).quantize(colours)
    channels = np.asarray(drawn.getpalette()).reshape(-1, 3)
    pixels = np.asarray(drawn)
    palette = "".join(
        f"#{colour};2;" + ";".join(str(math.floor(each * 100 / 255 + 0.5)) for each in channels[colour])
        for colour in np.unique(pixels)
    )
    weights = np.uint8(1) << np.arange(_BAND, dtype=np.uint8)
    bands = []
    for top in range(0, size[1], _BAND):
        band = pixels[top : top + _BAND]
        lines = ((colour, weights @ (band == colour)) for colour in np.unique(band))
        bands.append("$".join(f"#{colour}{_line((63 + bits).tobytes().decode())}" for colour, bits in lines))
    # 0;1: pixels of no colour stay as they are; 1;1: as high as wide
    return f'\x1bP0;1q"1;1;{size[0]};{size[1]}{palette}{"-".join(bands)}\x1b\\'


def _line(sixels: str) -> str:
    """One colour's characters, where they repeat as a number and one of them, without what is empty at the end."""
    return _REPEATED.sub(lambda found: f"!{len(found[0])}{found[1]}", sixels.rstrip("?"))
