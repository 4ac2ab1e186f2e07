"""Drawings out of their packages: which one shows a thing, and how it looks as pixels.

Iconify's packages hold all SVG bodies in one `icons.json`, by a name that each family chooses; Fluent's drawings in
three dimensions are one picture a file, by code points.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import unicodedata
from functools import cache
from typing import Final, Protocol

import numpy as np
from PIL import Image, ImageDraw

from training.art.designs import Design
from training.art.fetch import ArtError
from training.art.subjects import subjects

SIDE: Final = 128
"""Pixels a side of every drawing."""
_MARGIN: Final = 2
_INK: Final = 96
"""A line is as opaque as this, 0-255, where a colour must not run out of it."""
_LARGE: Final = 256


class Drawings(Protocol):
    """The drawings of one package."""

    def draw(self, emoji: str) -> Image.Image | None:
        """The drawing of these code points ("1F408") as RGBA of any size; None where the design has none."""


def open_drawings(design: Design, package: tarfile.TarFile) -> Drawings:
    """What is in a package, of whichever kind it is."""
    names = package.getnames()
    if "package/icons.json" in names:
        return Icons(package)
    if any(name.startswith("package/assets/") for name in names):
        return Pictures(package)
    raise ArtError(f"{design.package} {design.version} holds neither icons.json nor assets")


def cut_out(drawing: Image.Image) -> np.ndarray:
    """uint8 [128, 128, 4]: what is drawn, without its empty border, as big as fits, in the middle.

    Raises:
        ArtError: nothing is drawn.
    """
    seen = drawing.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0).getbbox()
    if seen is None:
        raise ArtError("an empty drawing")
    left, top, right, bottom = seen
    scale = (SIDE - 2 * _MARGIN) / max(right - left, bottom - top)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    # Scaled with premultiplied alpha: the colour of what cannot be seen must not bleed into the edge.
    cut = drawing.crop(seen).convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    whole = Image.new("RGBA", (SIDE, SIDE))
    whole.paste(cut, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(whole)


def filled(drawing: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Lines, uint8 [128, 128, 4], with a colour behind what they enclose."""
    ink = Image.fromarray(drawing[..., 3])
    walls = Image.new("L", (SIDE + 2, SIDE + 2))
    walls.paste(ink.point(lambda alpha: 255 if alpha > _INK else 0), (1, 1))
    ImageDraw.floodfill(walls, (0, 0), 128)
    # What the flood has not reached is enclosed, and so is what the lines themselves cover.
    enclosed = np.asarray(walls)[1:-1, 1:-1] != 128
    behind = np.full((SIDE, SIDE, 4), (*colour, 255), np.uint8)
    behind[..., 3] *= enclosed
    whole = Image.fromarray(behind)
    whole.alpha_composite(Image.fromarray(drawing))
    return np.asarray(whole)


def _member(package: tarfile.TarFile, name: str) -> bytes:
    held = package.extractfile(name)
    if held is None:
        raise ArtError(f"{name} is no file in {package.name!r}")
    return held.read()


class Pictures:
    """One picture a drawing, named by its code points."""

    def __init__(self, package: tarfile.TarFile) -> None:
        self._package = package
        self._files = {
            _plain(name.removeprefix("package/assets/").rsplit(".", 1)[0]): name
            for name in package.getnames()
            if name.startswith("package/assets/") and name.endswith((".webp", ".png"))
        }

    def draw(self, emoji: str) -> Image.Image | None:
        """The drawing, or None."""
        name = self._files.get(_plain(emoji))
        if name is None:
            return None
        return Image.open(io.BytesIO(_member(self._package, name))).convert("RGBA")


class Icons:
    """Iconify's JSON: SVG bodies by name, and, in some packages, names by code points."""

    def __init__(self, package: tarfile.TarFile) -> None:
        held = json.loads(_member(package, "package/icons.json"))
        characters = json.loads(_member(package, "package/chars.json"))
        self._icons: dict[str, dict[str, object]] = held["icons"]
        self._aliases: dict[str, dict[str, object]] = held.get("aliases", {})
        self._size = (held.get("width", 16), held.get("height", 16))
        self._names: dict[str, str] = {_plain(points): name for points, name in characters.items()}
        self._squeezed: dict[str, str] = {_squeezed(name): name for name in (*self._aliases, *self._icons)}

    def draw(self, emoji: str) -> Image.Image | None:
        """The drawing, or None."""
        svg = self.svg(emoji)
        return None if svg is None else _render(svg)

    def svg(self, emoji: str) -> str | None:
        """The drawing as a document of its own."""
        name = self._names.get(_plain(emoji)) or self._by_name(emoji)
        if name is None:
            return None
        icon = self._icons.get(name) or self._icons[str(self._aliases[name]["parent"])]
        width, height = icon.get("width", self._size[0]), icon.get("height", self._size[1])
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}">{icon["body"]}</svg>'
        )

    def _by_name(self, emoji: str) -> str | None:
        for name in _names_of(emoji):
            found = self._squeezed.get(_squeezed(name))
            if found is not None:
                return found
        return None


def _names_of(emoji: str) -> list[str]:
    """What drawings of these code points may be called: by Unicode's two names for them, or by ours."""
    points = [int(point, 16) for point in _plain(emoji).split("-")]
    names = [] if len(points) > 1 else [unicodedata.name(chr(points[0]), "")]
    label, *others = _labels()[_plain(emoji)]
    return [*filter(None, names), label, f"{label} default", *others]


@cache
def _labels() -> dict[str, tuple[str, ...]]:
    return {
        _plain(emoji): (label, *(subject.names["en"] if view == 0 else ()))
        for subject in subjects().values()
        for view, (emoji, label) in enumerate(zip(subject.emoji, subject.labels, strict=True))
    }


def _plain(emoji: str) -> str:
    """Code points without the selector that asks for colour."""
    return "-".join(point for point in emoji.upper().split("-") if point != "FE0F")


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _render(svg: str) -> Image.Image:
    try:
        import resvg_py
    except ImportError as error:
        raise ArtError("drawings are rendered by resvg-py: pip install -e .[training]") from error
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=_LARGE, height=_LARGE, skip_system_fonts=True)
    except ValueError as error:
        raise ArtError(f"resvg cannot read a drawing: {error}") from error
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")
