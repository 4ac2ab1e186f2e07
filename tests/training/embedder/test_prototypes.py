"""What the vectors of nouns find, on features that were made up: clusters, and a scatter that all of them share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from training.art.subjects import subjects
from training.composer.scene import Figure, Scene
from training.embedder.gallery import Gallery
from training.embedder.lexicon import CLASSES, Lexicon
from training.embedder.material import Material
from training.embedder.measuring import of_nouns
from training.embedder.prototypes import PrototypeLoss, Prototypes
from training.tower import WIDTH
from training.wordnet import WordNet

_NAMES = list(subjects())


class Designs:
    """Each draws every thing, in a style of its own; what tells things apart is much smaller than what does not."""

    def __init__(self) -> None:
        self.chance = torch.Generator().manual_seed(1)
        self.of_things = self.normal(len(_NAMES), WIDTH)
        self.distractions = 2 * self.normal(8, WIDTH)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.chance)

    def another(self, name: str) -> Gallery:
        drawn = self.of_things + self.normal(WIDTH) + self.normal(len(_NAMES), 8) @ self.distractions
        alone = [Scene("white", 0, (255, 255, 255), name, (figure(each),)) for each in _NAMES[:20]]
        return Gallery(torch.arange(len(_NAMES)), drawn, alone, drawn[:20])


def figure(name: str) -> Figure:
    return Figure(name, None, None, None, "centre", (64, 64), 60, mirrored=False)


@pytest.fixture
def designs() -> Designs:
    return Designs()


@pytest.fixture
def material(wordnet: WordNet, designs: Designs) -> Material:
    tower = nn.ModuleDict({"bn2": nn.BatchNorm2d(WIDTH)})
    tower.bn2 = tower["bn2"]
    galleries = tuple(designs.another(name) for name in ("one", "two", "three"))
    return Material.of(galleries, tower, designs.normal(CLASSES, WIDTH), Lexicon.read(wordnet))


def share_found(prototypes: Prototypes, material: Material, gallery: Gallery) -> float:
    """Of the things, by their names, those whose drawing comes first."""
    said = of_nouns(prototypes, material.lexicon)([subjects()[name].names["en"][0] for name in _NAMES])
    likeness = said @ prototypes.pictures(gallery.drawn).T
    return float((likeness.argmax(1) == torch.arange(len(_NAMES))).float().mean())


@torch.no_grad()
def test_a_name_finds_its_drawing_in_a_design_that_was_never_seen(designs: Designs, material: Material) -> None:
    unseen = designs.another("four")
    means = functional.normalize(torch.stack([each.drawn for each in material.galleries]).mean(0), dim=1)
    by_means = (means @ functional.normalize(unseen.drawn, dim=1).T).argmax(1) == torch.arange(len(_NAMES))
    found = share_found(Prototypes(material, 512), material, unseen)
    assert found > 0.95
    assert found > float(by_means.float().mean())


@torch.no_grad()
def test_a_noun_of_a_class_finds_what_lies_where_its_vector_points(material: Material) -> None:
    prototypes = Prototypes(material, 512)
    dog = _NAMES.index("dog")
    (chihuahua,) = (each for each in material.lexicon.nouns[dog].fits if each < CLASSES)
    seen = prototypes.pictures(material.photographed + 12 * material.classes)
    assert int((prototypes.nouns()[dog] @ seen.T).argmax()) == chihuahua


def test_steps_bring_nouns_back_to_the_pictures_that_fit_them(material: Material) -> None:
    prototypes = Prototypes(material, 512)
    with torch.no_grad():
        prototypes.of_nouns.add_(0.2 * torch.randn_like(prototypes.of_nouns))  # so that there is something to put right
    loss = PrototypeLoss(prototypes, material, 64)
    steps = torch.optim.AdamW(prototypes.parameters(), lr=3e-3)

    def of_batch(seed: int) -> torch.Tensor:
        return loss(0, np.random.default_rng(seed))

    with torch.no_grad():
        before = float(torch.stack([of_batch(seed) for seed in range(8)]).mean())
    for seed in range(100, 120):
        steps.zero_grad()
        of_batch(seed).backward()  # type: ignore[no-untyped-call]
        steps.step()
    with torch.no_grad():
        assert float(torch.stack([of_batch(seed) for seed in range(8)]).mean()) < 0.9 * before
