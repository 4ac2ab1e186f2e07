"""Contact sheets: many small pictures with their names in one, to look at."""

from __future__ import annotations

import re
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from training.art.lettering import FONTS
from training.art.shelf import Shelf


def sheet(pictures: Sequence[tuple[str, Image.Image]], columns: int = 30, side: int = 64) -> Image.Image:
    """Pictures with a line of text below each, in rows."""
    height = side + 12
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (columns * (side + 4), rows * (height + 2)), "white")
    draw = ImageDraw.Draw(whole)
    for number, (name, picture) in enumerate(pictures):
        x, y = number % columns * (side + 4), number // columns * (height + 2)
        small = picture.convert("RGBA").resize((side, side), Image.Resampling.LANCZOS)
        whole.paste(small, (x, y), small)
        draw.text((x, y + side), name[: side // 5], fill="black", font=_font_for(name))
    return whole


def _font_for(name: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
    """A small font that has these letters, if its package was unpacked for the lettering; Pillow's own otherwise."""
    script = "hangul" if re.search("[가-힣]", name) else "kana" if re.search("[ぁ-ヿ一-龯]", name) else "latin"
    if script == "latin":
        return None
    found = next((path for font in FONTS if script in font.scripts and (path := font.path()).exists()), None)
    return None if found is None else ImageFont.truetype(found, 10)


def contact_sheet(shelf: Shelf) -> Image.Image:
    """Everything on a shelf."""
    return sheet([(drawing.subject, Image.fromarray(shelf[drawing])) for drawing in shelf.drawings])
