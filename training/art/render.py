"""Drawings out of their packages: which one shows a thing, and how it looks as pixels.

Iconify's packages hold all SVG bodies in one `icons.json`, by a name that each family chooses; Fluent's drawings in
three dimensions are one picture a file, by code points. Fonts have glyphs by code points. Openclipart has files by many
people, of which `clipart.json` names those that show a thing plainly.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from PIL import Image, ImageFont

from training.art.designs import Design
from training.art.fetch import UNPACKED, ArtError, fetch, unpack
from training.art.subjects import subjects

SIDE: Final = 128
"""Pixels a side of every drawing."""
_MARGIN: Final = 2
_LARGE: Final = 256
CLIP_ART: Final = "openclipart-svg"
_SYMBOLS: Final = "fonts-symbola"
"""Packages of Debian."""
_CLIPART: Final = Path(__file__).with_name("clipart.json")
_CLIPS: Final = UNPACKED / "openclipart" / "svg"
_SYMBOLA: Final = UNPACKED / "fonts" / "truetype" / "ancient-scripts" / "Symbola_hint.ttf"
_NO_CHARACTER: Final = "\U000fffff"
"""No font has it, so that it shows what a font draws for what it lacks."""
_UNITS: Final = {"": 1.0, "px": 1.0, "pt": 1.25, "mm": 3.543, "cm": 35.43, "in": 90.0}
"""Pixels, as Inkscape counted them when Openclipart was drawn."""


class Drawings(Protocol):
    """The drawings of one package."""

    def draw(self, emoji: str) -> Image.Image | None:
        """The drawing of these code points ("1F408") as RGBA of any size; None where the design has none."""


def open_drawings(design: Design, folder: Path) -> Drawings:
    """What is in a package, of whichever kind it is; npm's are downloaded to `folder`.

    Raises:
        ArtError: it cannot be had, or holds nothing known.
    """
    if design.package == CLIP_ART:
        clips = {name: _CLIPS / file for name, file in clips_of(design).items()}
        unpack(design.package, clips.values())
        return Clips(clips)
    if design.package == _SYMBOLS:
        unpack(design.package, [_SYMBOLA])
        return Glyphs([_SYMBOLA.read_bytes()])
    package = fetch(design, folder)
    names = package.getnames()
    if "package/icons.json" in names:
        return Icons(package)
    if any(name.startswith("package/assets/") for name in names):
        return Pictures(package)
    fonts = [name for name in names if name.endswith("-400-normal.woff")]
    if fonts:
        return Glyphs(_member(package, name) for name in fonts)
    raise ArtError(f"{design.package} {design.version} holds neither icons.json nor assets nor a font")


def clips_of(design: Design) -> dict[str, str]:
    """Openclipart's files for a design, by what they show."""
    kept: dict[str, list[str]] = json.loads(_CLIPART.read_text())
    return {name: files[design.index] for name, files in kept.items() if len(files) > design.index}


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


class Glyphs:
    """Fonts: one glyph a drawing, by its code point."""

    def __init__(self, fonts: Iterable[bytes]) -> None:
        self._fonts = [ImageFont.truetype(io.BytesIO(font), _LARGE) for font in fonts]
        self._missing = [bytes(font.getmask(_NO_CHARACTER)) for font in self._fonts]

    def draw(self, emoji: str) -> Image.Image | None:
        """The drawing, or None; what takes several code points is not looked for."""
        points = _plain(emoji).split("-")
        if len(points) > 1:
            return None
        character = chr(int(points[0], 16))
        for font, missing in zip(self._fonts, self._missing, strict=True):
            mask = font.getmask(character)
            if bytes(mask) not in (missing, b""):
                black = Image.new("RGBA", mask.size, "black")
                black.putalpha(Image.frombytes("L", mask.size, bytes(mask)))
                return black
        return None


class Clips:
    """Openclipart: files by what they show."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = {_plain(subjects()[name].emoji[0]): file for name, file in files.items()}

    def draw(self, emoji: str) -> Image.Image | None:
        """The drawing, or None."""
        file = self._files.get(_plain(emoji))
        return None if file is None else _render(_as_large_as_wanted(file.read_text("utf-8", errors="replace")))


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


def _as_large_as_wanted(svg: str) -> str:
    """An SVG document whose size is left to what renders it; old ones give one in points, and no box of their own."""
    root = re.search(r"<svg\b[^>]*>", svg)
    if root is None:
        raise ArtError("a drawing without an svg element")
    sizes = {
        name: float(value) * _UNITS[unit]
        for name, value, unit in re.findall(r'\s(width|height)\s*=\s*"([\d.]+)(px|pt|mm|cm|in|)"', root[0])
    }
    plain = re.sub(r'\s(?:width|height)\s*=\s*"[^"]*"', "", root[0])
    if "viewBox" not in plain and len(sizes) == 2:
        plain = plain.replace("<svg", f'<svg viewBox="0 0 {sizes["width"]} {sizes["height"]}"', 1)
    return svg.replace(root[0], plain, 1)


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
