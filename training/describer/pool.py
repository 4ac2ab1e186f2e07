"""Scenes to tell of, with their pictures and what is right about them, composed in memory by several processes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from models.sight import SIDE
from training.art.designs import designs_for
from training.art.lettering import open_lettering
from training.art.shelf import Shelf
from training.composer.composing import Composer
from training.composer.scene import Mix, Scene, Stock, random_scene
from training.describer.labels import Labels, cells_of, shown_in
from training.describer.naming import words
from training.loop import RUNS
from training.processes import in_processes

FOLDER: Final = RUNS / "describer"
SEEN: Final = 42_000
UNSEEN: Final = 1000
_MIX: Final = Mix(figures=(0.08, 0.5, 0.26, 0.16), painted=0.5, word=0.3, same=0.25)
_WRITTEN: Final = Mix(figures=(0.45, 0.45, 0.1, 0.0), painted=0.5, word=1.0)
_WRITTEN_OF_TEN: Final = 4
"""So many of ten have a word each, which is what takes most examples; the others show anything."""
_SEED: Final = 91
_PART: Final = 500
_WORN: Final = 0.25


@dataclass(frozen=True)
class Pool:
    """Scenes, their pictures, uint8 [n, 128, 128, 3], and what is right about them."""

    scenes: tuple[Scene, ...]
    pixels: Tensor
    labels: Labels

    def to(self, device: torch.device) -> Pool:
        """The same on another device."""
        return Pool(self.scenes, self.pixels.to(device), self.labels.to(device))


@cache
def world(*, unseen: bool) -> tuple[Stock, Composer]:
    """What scenes are made of: designs and letterings that train, or those that never do."""
    designs = designs_for("judge") if unseen else designs_for("draw", "recognise")
    shelf, lettering = Shelf(designs, with_views=not unseen), open_lettering()
    numbers = np.flatnonzero(lettering.judge) if unseen else lettering.training()
    stock = Stock.of(shelf.usual(), words=tuple(int(n) for n in numbers))
    return stock, Composer(shelf, lettering, bends=not unseen)


def scene_of(number: int, *, unseen: bool) -> Scene:
    """Scene by its number."""
    mix = _WRITTEN if number % 10 < _WRITTEN_OF_TEN else _MIX
    return random_scene(np.random.default_rng((_SEED, unseen, number)), world(unseen=unseen)[0], mix)


def picture_of(number: int, scene: Scene, *, unseen: bool) -> Image.Image:
    """As it may reach the model: some have been through JPEG."""
    rng = np.random.default_rng((_SEED, 2 + unseen, number))
    picture = Image.fromarray(world(unseen=unseen)[1].compose(scene))
    if rng.random() < _WORN:
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=int(rng.integers(55, 95)))
        picture = Image.open(packed).convert("RGB")
    return picture


def make_pool(count: int, *, unseen: bool = False, workers: int = 0) -> Pool:
    """The first so many scenes, composed by so many processes beside this one."""
    world(unseen=unseen)[1].prepare()
    words()
    parts = [(first, min(_PART, count - first), unseen) for first in range(0, count, _PART)]
    made = list(track(in_processes(compose_part, parts, workers), "composing scenes", len(parts)))
    scenes = [scene for part in made for scene in part[0]]
    pictures, cells, owners = (torch.from_numpy(np.concatenate([part[i] for part in made])) for i in (1, 2, 3))
    return Pool(tuple(scenes), pictures, Labels(shown_in(scenes, words()), cells, owners))


def compose_part(first: int, count: int, unseen: bool) -> tuple[list[Scene], np.ndarray, np.ndarray, np.ndarray]:
    """A part of a pool: scenes, uint8 [count, 128, 128, 3], and `cells` and `owners` of `Labels`."""
    numbers = range(first, first + count)
    scenes = [scene_of(number, unseen=unseen) for number in numbers]
    pictures = [picture_of(n, scene, unseen=unseen) for n, scene in zip(numbers, scenes, strict=True)]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return scenes, pixels, *cells_of(scenes, world(unseen=unseen)[1])


def pixels(picture: Image.Image) -> Tensor:
    """float32 [3, 224, 224] in -1..1, as the server makes them."""
    large = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(large)).permute(2, 0, 1).float().div_(127.5).sub_(1)
