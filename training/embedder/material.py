"""What the embedder learns from: features of drawings and scenes, ImageNet's class vectors, nouns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from training.art.designs import designs_for
from training.art.subjects import subjects
from training.embedder.gallery import Gallery, open_gallery
from training.embedder.lexicon import CLASSES, Lexicon
from training.tower import WIDTH

_LIKENESS: Final = 0.3
"""How much of a photograph's feature, as a cosine, points where its class vector does; 0.25 in real ones, measured."""
_SHRINKAGE: Final = 0.3
"""Of the scatter within things towards the same in every direction."""


@dataclass(frozen=True)
class Material:
    """Features by what they show.

    Attributes:
        galleries: of the designs that may train what recognises.
        things: int64 [n], which thing each drawing on white is of.
        drawn: float32 [n, 1280], its feature.
        alone: float32 [m, 1280], features of scenes of one thing.
        alone_things: int64 [m].
        scatter: float32 [n, 1280], how far features of one thing lie from their mean; each design without its own mean.
        directions: float32 [things, 1280], of length 1: what tells each thing from the others (Fisher's discriminant).
        classes: float32 [1000, 1280], where the features of each class point, of length 1.
        photographed: float32 [1280], the mean feature of photographs.
        lexicon: the nouns.
    """

    galleries: tuple[Gallery, ...]
    things: torch.Tensor
    drawn: torch.Tensor
    alone: torch.Tensor
    alone_things: torch.Tensor
    scatter: torch.Tensor
    directions: torch.Tensor
    classes: torch.Tensor
    photographed: torch.Tensor
    lexicon: Lexicon

    @classmethod
    def gather(cls, tower: Any, class_vectors: torch.Tensor, lexicon: Lexicon) -> Material:
        """Compute or read everything."""
        galleries = tuple(open_gallery(design, tower) for design in designs_for("draw", "recognise"))
        return cls.of(galleries, tower, class_vectors, lexicon)

    @classmethod
    def of(cls, galleries: tuple[Gallery, ...], tower: Any, class_vectors: torch.Tensor, lexicon: Lexicon) -> Material:
        """From features: `class_vectors` float32 [1000, 1280]; of the tower only the last norm, `bn2`, is read."""
        things = torch.cat([gallery.things for gallery in galleries])
        apart = torch.cat([gallery.drawn - gallery.drawn.mean(0) for gallery in galleries])
        count = torch.zeros(len(subjects())).index_add(0, things, torch.ones(len(things)))
        means = torch.zeros(len(subjects()), WIDTH).index_add(0, things, apart) / count.clamp(min=1)[:, None]
        scatter = apart - means[things]
        within = scatter.T @ scatter / (len(scatter) - len(subjects()))
        within += _SHRINKAGE * within.diag().mean() * torch.eye(WIDTH)
        directions = functional.normalize(torch.linalg.solve(within, means.T).T, dim=1)
        # Before its last rectifier a feature has the mean and spread that batch norm gave it.
        norm = tower.bn2
        before = norm.bias + norm.weight.abs() * torch.randn(4000, WIDTH, generator=torch.Generator().manual_seed(0))
        alone = [(gallery.seen[row], thing) for gallery in galleries for row, thing in _scenes_of_one(gallery)]
        return cls(
            galleries,
            things,
            torch.cat([gallery.drawn for gallery in galleries]),
            torch.stack([feature for feature, _ in alone]),
            torch.tensor([thing for _, thing in alone]),
            scatter,
            directions,
            functional.normalize(class_vectors - class_vectors.mean(0), dim=1),
            before.clamp(0, 6).mean(0).detach(),
            lexicon,
        )

    @property
    def middle(self) -> torch.Tensor:
        """Between drawings and photographs, float32 [1280]."""
        return (self.drawn.mean(0) + self.photographed) / 2

    def drawings(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Features like those of drawings in designs that there are not, float32 [count, 1280], and their things."""
        rows = torch.from_numpy(rng.integers(len(self.drawn), size=count))
        astray = self.scatter[torch.from_numpy(rng.integers(len(self.scatter), size=count))]
        return self.drawn[rows] + _share(rng, count, 0, 0.6) * astray, self.things[rows]

    def scenes_of_one(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of scenes of one thing, float32 [count, 1280], and these things."""
        rows = torch.from_numpy(rng.integers(len(self.alone), size=count))
        return self.alone[rows], self.alone_things[rows]

    def photographs(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Features like those of photographs, float32 [count, 1280], and their classes."""
        named = self.lexicon.table[:, :CLASSES].any(0).nonzero().flatten()
        classes = named[torch.from_numpy(rng.integers(len(named), size=count))]
        noise = self.scatter[torch.from_numpy(rng.integers(len(self.scatter), size=(2, count)))].sum(0)
        likeness = _share(rng, count, 0.7, 1.4) * _LIKENESS
        towards = likeness * self.classes[classes] + (1 - likeness**2).sqrt() * functional.normalize(noise, dim=1)
        return self.photographed + _share(rng, count, 9, 16) * towards, classes

    def noun_directions(self) -> torch.Tensor:
        """Where the features of what each noun fits lie, float32 [nouns, 1280], of length 1."""
        found = []
        for noun in self.lexicon.nouns:
            parts = [
                functional.normalize(of[chosen].mean(0), dim=0)
                for of, chosen in (
                    (self.classes, [each for each in noun.fits if each < CLASSES]),
                    (self.directions, [each - CLASSES for each in noun.fits if each >= CLASSES]),
                )
                if chosen
            ]
            found.append(functional.normalize(torch.stack(parts).sum(0), dim=0))
        return torch.stack(found)


def _share(rng: np.random.Generator, count: int, low: float, high: float) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(low, high, (count, 1))).float()


def _scenes_of_one(gallery: Gallery) -> list[tuple[int, int]]:
    """The numbers of the scenes that show one thing alone, and which."""
    order = {name: number for number, name in enumerate(subjects())}
    return [
        (row, order[scene.figures[0].name])
        for row, scene in enumerate(gallery.scenes)
        if len(scene.figures) == 1 and not scene.figures[0].is_shape
    ]
