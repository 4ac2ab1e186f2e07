"""Pictures from bytes, and back (docs/http-api.md, "Pictures in requests")."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from models.errors import InvalidImage
from models.memory import lacks_memory
from models.picture_files import ACCEPTED, MAX_PIXELS, orientation_of, read_header, readable
from models.picture_parameters import file_options


def open_picture(
    data: bytes,
    param: str | None = None,
    max_pixels: int = MAX_PIXELS,
    mode: str = "RGB",
    side: int | None = None,
) -> Image.Image:
    """The picture, EXIF orientation applied, first frame only, transparency on white when `mode` is RGB.

    With `side`, a JPEG may come smaller, but with no side below that; it is then decoded in a fraction of the time.

    Raises:
        InvalidImage: not a picture we read, truncated, or too large.
        MemoryError: the machine has no room for it; that is not the fault of the picture.
    """
    read_header(data, param, max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(readable(data)), formats=tuple(ACCEPTED)) as opened:
                if side is not None:
                    opened.draft(None, (side, side))
                opened.load()
                picture = _upright(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if lacks_memory(error):  # of which some of Pillow's decoders say so in words only
            raise MemoryError("no memory to decode a picture") from error
        raise InvalidImage("the image is truncated or damaged", param) from error
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        picture = picture.convert("I").point(lambda value: value / 257).convert("L")  # Pillow would cut it off at 255
    if mode == "RGB" and (picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info):
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return picture.convert(mode)


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an EXIF orientation."""


def _upright(picture: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation wants it seen; where the EXIF is damaged, as it lies.

    Not `ImageOps.exif_transpose`, which writes the EXIF again and fails on what it cannot write.
    """
    orientation = orientation_of(picture)
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


THUMBNAIL_SIDE = 512
"""The longer side of a thumbnail in pixels, at most."""


@dataclass(frozen=True)
class PictureInfo:
    """What is kept of a picture beside itself: its sides in pixels as shown, a colour as #rrggbb, a small WebP."""

    width: int
    height: int
    dominant_color: str
    thumbnail: bytes


def examine(data: bytes, param: str | None = None) -> PictureInfo:
    """Decode a picture completely and tell what is kept of it.

    Raises:
        InvalidImage: not a picture we read, truncated, or too large.
    """
    picture = open_picture(data, param, side=THUMBNAIL_SIDE)
    return PictureInfo(*read_header(data, param).upright, dominant_color(picture), thumbnail(picture, THUMBNAIL_SIDE))


def thumbnail(picture: Image.Image, side: int) -> bytes:
    """The picture as WebP, its longer side `side` pixels, or its own where that is less."""
    small = picture.copy()
    small.thumbnail((side, side), reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80, method=2)  # half the time of 4, for files as large
    return buffer.getvalue()


def dominant_color(picture: Image.Image) -> str:
    """The colour that most of the picture has, as #rrggbb: the mean of the fullest of 512 cells of the colour cube."""
    pixels = np.asarray(picture.resize((64, 64), Image.Resampling.BOX)).reshape(-1, 3).astype(np.int64)
    cells = (pixels >> 5) @ (64, 8, 1)
    red, green, blue = pixels[cells == np.bincount(cells).argmax()].mean(0).round().astype(int).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def repainted(mask: bytes) -> Image.Image:
    """What a mask lets change: mode L, 255 where its alpha is 0, 0 elsewhere.

    Raises:
        InvalidImage: not a picture, or one in which no pixel is fully transparent (`mask`).
    """
    alpha = open_picture(mask, "mask", mode="RGBA").getchannel("A")
    if alpha.getextrema()[0] != 0:
        raise InvalidImage("mask: no pixel is fully transparent, so nothing may change", "mask")
    return alpha.point(lambda value: 255 if value == 0 else 0)


def encode(
    picture: Image.Image,
    output_format: Literal["png", "jpeg", "webp"] = "png",
    quality: int = 100,
    parameters: Mapping[str, Any] | None = None,
) -> bytes:
    """Encoded bytes; `quality` 0-100 is for JPEG and WebP. The same picture gives the same bytes.

    `parameters` (models/picture_parameters.py) are written beside the pixels, which they leave as they are.
    """
    buffer = io.BytesIO()
    more = {} if parameters is None else file_options(parameters, output_format)
    match output_format:
        case "png":
            picture.save(buffer, "PNG", **more)
        case "jpeg":
            picture.convert("RGB").save(buffer, "JPEG", quality=max(1, quality), subsampling=0, **more)
        case "webp":
            picture.save(buffer, "WEBP", quality=quality, method=4, **more)
    return buffer.getvalue()
