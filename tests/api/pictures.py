"""Pictures that API tests send: scenes of the built-in world that training never saw, and broken ones."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from training.world import Scene, Thing, paint, random_scene, render


def scene(shape: str = "circle", colour: str = "red", background: str = "blue", place: str = "centre") -> Scene:
    rng = np.random.default_rng(987_654)
    centre = {"centre": (32.0, 32.0), "left": (15.0, 32.0), "right": (49.0, 32.0)}[place]
    thing = Thing(shape, colour, "big", place, paint(colour, rng), centre, 14.0, 2.0)  # type: ignore[arg-type]
    return Scene(background, paint(background, rng), (thing,))  # type: ignore[arg-type]


def png(picture: Scene | Image.Image | None = None) -> bytes:
    picture = picture if isinstance(picture, Image.Image) else render(picture or scene())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def many_scenes(count: int) -> list[Scene]:
    """Distinct scenes of one or two things."""
    rng = np.random.default_rng(555_000)
    found: dict[object, Scene] = {}
    while len(found) < count:
        made = random_scene(rng, things=(0.0, 0.5, 0.5))
        found.setdefault(made.description(), made)
    return list(found.values())


def data_url(data: bytes | None = None, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(png() if data is None else data).decode()}"


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
TRUNCATED = png(render(random_scene(np.random.default_rng(5), word=1.0)))[:-200]


def bomb() -> bytes:
    """A small file of 100 million pixels."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    return buffer.getvalue()
