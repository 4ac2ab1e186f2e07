"""Pictures from bytes: how they lie, how deep they are, and what is damaged."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from models.errors import InvalidImage
from models.picture_files import check
from models.pictures import encode, open_picture

ORIENTATION = 0x0112


def photograph(orientation: int, kind: str = "JPEG") -> bytes:
    """A picture of four colours with EXIF like a camera's."""
    picture = Image.new("RGB", (48, 32))
    for box, colour in (((0, 0), "red"), ((24, 0), "lime"), ((0, 16), "blue"), ((24, 16), "white")):
        picture.paste(colour, (*box, box[0] + 24, box[1] + 16))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010E] = "a description"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 0.0)
    buffer = io.BytesIO()
    picture.save(buffer, kind, exif=exif, quality=100)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(orientation: int) -> None:
    data = photograph(orientation)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert open_picture(data).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_damaged_exif_costs_the_orientation_at_most(kind: str) -> None:
    whole = photograph(6, kind)
    rng = np.random.default_rng(8)
    start = whole.index(b"Exif" if kind == "JPEG" else b"EXIF")
    read = 0
    for _ in range(600):
        damaged = bytearray(whole)
        for at in rng.integers(start + 4, min(start + 160, len(whole)), int(rng.integers(1, 7))):
            damaged[at] = int(rng.integers(256))
        try:
            read += open_picture(bytes(damaged)).size in ((48, 32), (32, 48))
        except InvalidImage:
            continue
    assert read > 300


def test_sixteen_bits_of_grey_keep_their_shades() -> None:
    shades = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(shades).save(buffer, "PNG")
    seen = np.asarray(open_picture(buffer.getvalue()), int)[..., 0]
    assert np.abs(seen - shades / 257).max() <= 1


def test_transparency_is_on_white() -> None:
    assert open_picture(encode(Image.new("RGBA", (8, 8), (255, 0, 0, 0)))).getpixel((4, 4)) == (255, 255, 255)


def test_a_photograph_with_another_behind_it_is_a_jpeg() -> None:
    picture = Image.new("RGB", (48, 32), "red")
    buffer = io.BytesIO()
    picture.save(buffer, "MPO", save_all=True, append_images=[picture])
    assert check(buffer.getvalue()).upright == (48, 32)
    assert open_picture(buffer.getvalue()).size == (48, 32)
