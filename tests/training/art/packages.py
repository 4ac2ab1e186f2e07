"""Small packages of drawings in the two layouts that the real ones have, as npm would have left them in a folder."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

from training.art.designs import Design
from training.art.subjects import subjects


def write_package(folder: Path, name: str, files: Mapping[str, bytes]) -> Design:
    """A package with these files, and the design that pins it."""
    folder = folder / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as package:
        for file, content in files.items():
            entry = tarfile.TarInfo(f"package/{file}")
            entry.size = len(content)
            package.addfile(entry, io.BytesIO(content))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return Design(name, f"@test/{name}", "MIT", "draw", version="1.0.0", integrity=f"sha512-{digest}")


def picture(colour: str, *, side: int = 64, inset: int = 16) -> bytes:
    """A WebP with a filled circle of this colour on nothing."""
    drawn = Image.new("RGBA", (side, side))
    ImageDraw.Draw(drawn).ellipse((inset, inset, side - inset, side - inset), fill=colour)
    held = io.BytesIO()
    drawn.save(held, "WEBP", lossless=True)
    return held.getvalue()


def pictures(folder: Path, name: str, wanted: Mapping[str, str]) -> Design:
    """A package of pictures: for each subject a circle of a colour."""
    files = {f"assets/{subjects()[subject].emoji[0].lower()}.webp": picture(c) for subject, c in wanted.items()}
    return write_package(folder, name, files)


def icons(folder: Path, name: str, bodies: Mapping[str, str], characters: Mapping[str, str]) -> Design:
    """A package of SVG bodies by name."""
    held = {"icons": {key: {"body": body} for key, body in bodies.items()}, "width": 32, "height": 32}
    held["aliases"] = {"kitty-by-another-name": {"parent": next(iter(bodies))}}
    files = {"icons.json": json.dumps(held).encode(), "chars.json": json.dumps(characters).encode()}
    return write_package(folder, name, files)
