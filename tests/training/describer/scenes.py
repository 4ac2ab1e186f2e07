"""Scenes made by hand, and all that is asked about them."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.captions import Language
from training.composer.scene import Figure, Ground, Relation, Scene
from training.describer.questions import ask
from training.world import Colour, Place, Shape

DESIGN: Final = "noto"
THINGS: Final = {
    "cat": "red", "chair": "blue", "apple": "lime", "car": "black", "doctor": "white", "rocket": "yellow",
}  # fmt: skip
"""What there are drawings of here: circles of these colours."""
WORDS: Final = ("HELLO", "742", "안녕", "커피", "ねこ", "Open")
"""What may be written, by number."""
_CENTRES: Final[dict[Place, tuple[float, float]]] = {
    "left": (32, 64), "right": (96, 64), "top": (64, 32), "bottom": (64, 96), "centre": (64, 64),
}  # fmt: skip


def thing(name: str, place: Place = "centre", side: float = 56) -> Figure:
    return Figure(name, None, None, None, place, _CENTRES[place], side, mirrored=False)


def shape(name: Shape, colour: Colour, place: Place = "centre") -> Figure:
    return Figure(name, colour, (200, 40, 40), None, place, _CENTRES[place], 56, mirrored=False)


def scene(
    *figures: Figure, ground: Ground = "white", word: str | None = None, relation: Relation | None = None
) -> Scene:
    number = None if word is None else WORDS.index(word)
    return Scene(ground, 0, (240, 240, 240), DESIGN, figures, relation, number)


def asked(about: Scene, kind: str, language: Language, times: int = 200) -> dict[str, str]:
    """Questions of a kind, each with its one answer."""
    found: dict[str, str] = {}
    for seed in range(times):
        said = ask(about, np.random.default_rng((9, seed)), language, kind)
        if said is not None:
            assert found.setdefault(said.question, said.answer) == said.answer, said
    return found
