"""What every CLIP is given of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

_MOST_ASPECT: Final = 16
"""How many times as long as the other a side of what is preprocessed may be."""


def middle(picture: Image.Image) -> Image.Image:
    """What a CLIP sees of a picture, and somewhat more: a line of 1x8000 pixels would become gigabytes.

    Most bring the shorter side to the model's own and cut a square from the middle.
    """
    width, height = picture.size
    longest = _MOST_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return picture
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return picture.crop((left, top, min(width, left + longest), min(height, top + longest)))
