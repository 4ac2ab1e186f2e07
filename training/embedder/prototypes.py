"""Where each noun lies among the pictures, and the linear layer that brings features there.

Both begin in closed form: a class of ImageNet points where its vector does, a thing where Fisher's discriminant of its
drawings does, and the layer keeps the directions in which these differ most. A few hundred steps put right what the two
kinds of picture have in common. No text is read yet: a noun is a vector of its own here.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.embedder.lexicon import CLASSES
from training.embedder.material import Material
from training.tower import WIDTH

_MOSTLY: Final = (0.31, 0.19, 0.5)
"""Shares of a batch: drawings, scenes of one thing, photographs."""
_APART: Final = -1e9


class Prototypes(nn.Module):
    """The layer, and a vector for each noun; all of length 1 in `dim` directions."""

    def __init__(self, material: Material, dim: int) -> None:
        super().__init__()
        nouns = material.noun_directions()
        axes = torch.linalg.svd(nouns, full_matrices=False).Vh[:dim]
        self.layer = nn.Linear(WIDTH, dim)
        with torch.no_grad():
            self.layer.weight.copy_(axes)
            self.layer.bias.copy_(-axes @ material.middle)
        self.of_nouns = nn.Parameter(functional.normalize(nouns @ axes.T, dim=1))
        self.scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def pictures(self, features: torch.Tensor) -> torch.Tensor:
        """Features [n, 1280] -> embeddings [n, dim] of length 1."""
        return functional.normalize(self.layer(features), dim=1)

    def nouns(self) -> torch.Tensor:
        """[nouns, dim] of length 1."""
        return functional.normalize(self.of_nouns, dim=1)


class PrototypeLoss:
    """Each picture finds the nouns that fit it, the narrow ones first, and each noun its picture."""

    def __init__(self, model: Prototypes, material: Material, batch: int) -> None:
        self._model, self._material = model, material
        self._counts = [round(share * batch) for share in _MOSTLY]
        self._narrowness = 1 / material.lexicon.table.sum(1).float()

    def __call__(self, _step: int, rng: np.random.Generator) -> torch.Tensor:
        """The loss of a random batch."""
        drawn, things = self._material.drawings(self._counts[0], rng)
        alone, alone_things = self._material.scenes_of_one(self._counts[1], rng)
        photographed, classes = self._material.photographs(self._counts[2], rng)
        shown = torch.cat([CLASSES + things, CLASSES + alone_things, classes])
        seen = self._model.pictures(torch.cat([drawn, alone, photographed]))
        scores = self._model.scale.clamp(max=math.log(60)).exp() * seen @ self._model.nouns().T
        fits = self._material.lexicon.table[:, shown].T
        weights = fits * self._narrowness
        weights /= weights.sum(1, keepdim=True)
        wrong = torch.logsumexp(scores.masked_fill(fits, _APART), 1)
        to_nouns = (weights * functional.softplus(wrong[:, None] - scores)).sum(1).mean()
        said = torch.multinomial(weights, 1).squeeze(1)
        others = scores[:, said].T.masked_fill(self._material.lexicon.table[said][:, shown], _APART)
        own = scores[torch.arange(len(said)), said]
        to_pictures = functional.softplus(torch.logsumexp(others, 1) - own).mean()
        return to_nouns + to_pictures
