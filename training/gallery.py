"""Scenes drawn once and kept under `.runs/`, for trainings that look at the same pictures again and again."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import track
from torch.nn import functional

from training.loop import RUNS
from training.world import COLOURS, PLACES, SHAPES, SIDE, Scene, coverage, random_scene, render

GRID = 8
"""Cells a side of the dense targets: one per 8-pixel patch."""
MOST_THINGS = 3
NOTHING_SHAPE, NOTHING_COLOUR, NOTHING_SIZE = len(SHAPES), len(COLOURS), 2
"""The class of an empty place."""


@dataclass(frozen=True)
class Gallery:
    """Scenes and how they look.

    Attributes:
        scenes: `count` scenes.
        pixels: uint8 [count, 64, 64, 3], RGB.
        cover: uint8 [count, 3, 8, 8], how much of each patch each thing covers, 255 for all of it.
    """

    scenes: list[Scene]
    pixels: np.ndarray
    cover: np.ndarray

    def images(self, chosen: np.ndarray) -> torch.Tensor:
        """float32 [len(chosen), 3, 64, 64], -1 to 1."""
        return torch.from_numpy(self.pixels[chosen]).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

    def attributes(self, chosen: np.ndarray) -> torch.Tensor:
        """What is where: int64 [len(chosen), 16]; shape, colour and size of each of the five places, the background."""
        return torch.stack([attributes(self.scenes[i]) for i in chosen])


def attributes(scene: Scene) -> torch.Tensor:
    """int64 [16]: shape classes of the five places, then their colours, then their sizes, then the background."""
    classes = torch.tensor([[NOTHING_SHAPE], [NOTHING_COLOUR], [NOTHING_SIZE]]).repeat(1, len(PLACES))
    for thing in scene.things:
        place = PLACES.index(thing.place)
        classes[0, place] = SHAPES.index(thing.shape)
        classes[1, place] = COLOURS.index(thing.colour)
        classes[2, place] = 0 if thing.size == "big" else 1
    return torch.cat([classes.flatten(), torch.tensor([COLOURS.index(scene.background)])])


ATTRIBUTE_CLASSES = (len(SHAPES) + 1,) * 5 + (len(COLOURS) + 1,) * 5 + (3,) * 5 + (len(COLOURS),)
"""How many classes each of the 16 attributes has."""


def attribute_loss(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the 16 attributes; logits [batch, sum of classes], classes int64 [batch, 16]."""
    pieces = torch.split(logits, list(ATTRIBUTE_CLASSES), dim=1)
    losses = [functional.cross_entropy(piece, classes[:, i]) for i, piece in enumerate(pieces)]
    return torch.stack(losses).mean()


def open_gallery(
    count: int, *, things: tuple[float, ...] = (0.0, 0.45, 0.33, 0.22), word: float = 0.06, seed: int = 1
) -> Gallery:
    """Draw `count` scenes, or read back those drawn by an earlier call with the same arguments."""
    scenes = [random_scene(np.random.default_rng((seed, i)), things=things, word=word) for i in range(count)]
    key = f"{count}-{seed}-{word}-" + "-".join(str(p) for p in things)
    folder = RUNS / "gallery" / key
    if not (folder / "cover.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((count, SIDE, SIDE, 3), np.uint8)
        cover = np.zeros((count, MOST_THINGS, GRID, GRID), np.uint8)
        for i, scene in enumerate(track(scenes, "drawing scenes")):
            pixels[i] = np.asarray(render(scene))
            cover[i, : len(scene.things)] = np.rint(coverage(scene, GRID) * 255)
        for name, array in (("pixels", pixels), ("cover", cover)):
            partial = folder / f"{name}.{os.getpid()}.npy"
            np.save(partial, array)
            partial.replace(folder / f"{name}.npy")
    return Gallery(scenes, np.load(folder / "pixels.npy", "r"), np.load(folder / "cover.npy", "r"))
