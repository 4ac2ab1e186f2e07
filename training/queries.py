"""What people type to find a picture: a few words that claim little ("red circle", "왼쪽의 별", "青い背景").

A query is true of many scenes, so each comes with its `Claim`, from which training sees which pictures it fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from training.captions import (
    BACKGROUND_WORD,
    COLOUR_ADJECTIVES,
    COLOUR_NOUNS,
    SHAPE_NOUNS,
    SHAPE_WORD,
    SIZE_ADJECTIVES,
    Language,
    article,
    pick,
    place_phrase,
)
from training.world import COLOURS, PLACES, SHAPES, Colour, Place, Scene, Shape, Size


@dataclass(frozen=True)
class Claim:
    """There is a thing of which these are true, on this background; None claims nothing."""

    shape: Shape | None = None
    colour: Colour | None = None
    size: Size | None = None
    place: Place | None = None
    background: Colour | None = None

    def true_of(self, attributes: torch.Tensor) -> torch.Tensor:
        """Which scenes it is true of: bool [scenes], from `gallery.attributes`, int64 [scenes, 16]."""
        shapes, colours, sizes = attributes[:, :5], attributes[:, 5:10], attributes[:, 10:15]
        fits = torch.ones_like(shapes, dtype=torch.bool)
        if self.shape is not None:
            fits &= shapes == SHAPES.index(self.shape)
        if self.colour is not None:
            fits &= colours == COLOURS.index(self.colour)
        if self.size is not None:
            fits &= sizes == (0 if self.size == "big" else 1)
        claims_a_thing = (self.shape, self.colour, self.size) != (None, None, None)
        if self.place is not None:
            fits = fits[:, [PLACES.index(self.place)]]
        true = fits.any(1) if claims_a_thing else torch.ones(len(attributes), dtype=torch.bool)
        if self.background is not None:
            true &= attributes[:, 15] == COLOURS.index(self.background)
        return true


def query(scene: Scene, rng: np.random.Generator, language: Language = "en") -> tuple[str, Claim]:
    """A query that the scene answers, and what it claims. The scene has a thing."""
    if rng.random() < 0.12:
        return _ground(scene.background, rng, language), Claim(background=scene.background)
    thing = scene.things[int(rng.integers(len(scene.things)))]
    named = rng.random()  # colour and shape, shape alone, colour alone
    claim = Claim(
        shape=thing.shape if named < 0.8 else None,
        colour=thing.colour if named < 0.55 or named >= 0.8 else None,
        size=thing.size if rng.random() < 0.25 else None,
        place=thing.place if rng.random() < 0.35 else None,
        background=scene.background if rng.random() < 0.2 else None,
    )
    return _words(claim, rng, language), claim


def _ground(colour: Colour, rng: np.random.Generator, language: Language) -> str:
    between = "" if language == "ja" else " "
    words = pick(COLOUR_ADJECTIVES[language][colour], rng) + between + BACKGROUND_WORD[language]
    return article(words) if language == "en" and rng.random() < 0.4 else words


def _words(claim: Claim, rng: np.random.Generator, language: Language) -> str:
    if claim.shape is None and claim.size is None and claim.colour is not None and rng.random() < 0.4:
        noun = pick(COLOUR_NOUNS[language][claim.colour], rng)
    else:
        words = []
        if claim.size is not None:
            words.append(pick(SIZE_ADJECTIVES[language][claim.size], rng))
        if claim.colour is not None:
            words.append(pick(COLOUR_ADJECTIVES[language][claim.colour], rng))
        words.append(SHAPE_WORD[language] if claim.shape is None else pick(SHAPE_NOUNS[language][claim.shape], rng))
        noun = ("" if language == "ja" else " ").join(words)
        if language == "en" and (claim.place is not None or rng.random() < 0.5):
            noun = article(noun)
        elif language == "en" and rng.random() < 0.3:
            noun += "s"
    where = "" if claim.place is None else place_phrase(claim.place, language, rng)
    ground = "" if claim.background is None else _ground(claim.background, rng, language)
    match language:
        case "en":
            lead = "a picture of " if rng.random() < 0.1 else ""
            return lead + noun + (f" {where}" if where else "") + (f" on {ground}" if ground else "")
        case "ko":
            link = " 있는 " if rng.random() < 0.6 else " "
            placed = f"{where}{link}{noun}" if where else noun
            return f"{ground}에 {placed}" if ground else placed
        case "ja":
            placed = f"{where.removesuffix('に')}の{noun}" if where else noun
            return f"{ground}に{placed}" if ground else placed
