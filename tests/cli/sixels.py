"""Sixel as a terminal reads it: the pixels of a sequence."""

from __future__ import annotations

import re

from PIL import Image

Pixel = tuple[int, int, int]
_SEQUENCE = re.compile(rb'\x1bP0;1q"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\')
_TOKEN = re.compile(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|([$-])")


def drawn(output: bytes) -> list[Image.Image]:
    """The pictures in what a terminal was sent; pixels that nothing was drawn on are transparent."""
    return [_picture(int(width), int(height), body.decode()) for width, height, body in _SEQUENCE.findall(output)]


def _picture(width: int, height: int, body: str) -> Image.Image:
    picture = Image.new("RGBA", (width, height))
    palette: dict[int, tuple[int, int, int, int]] = {}
    colour, x, top, read = (0, 0, 0, 0), 0, 0, 0
    for token in _TOKEN.finditer(body):
        assert token.start() == read, f"not Sixel: {body[read : read + 20]!r}"
        read = token.end()
        number, red, green, blue, chosen, count, repeated, single, move = token.groups()
        if number:
            percents = (int(red), int(green), int(blue))
            palette[int(number)] = (*(round(each * 255 / 100) for each in percents), 255)  # type: ignore[assignment]
        elif chosen:
            colour = palette[int(chosen)]
        elif move:
            x, top = 0, top + 6 if move == "-" else top
        else:
            bits = ord(single or repeated) - 63
            begin, x = x, x + int(count or 1)
            for row in (row for row in range(6) if bits >> row & 1):
                for column in range(begin, x):
                    picture.putpixel((column, top + row), colour)  # of a place that there is none of, it raises
    assert read == len(body)
    return picture
