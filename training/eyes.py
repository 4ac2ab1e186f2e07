"""The vision tower that the built-in CLIP and BLIP begin with: `python -m training.eyes`.

Neither a contrastive loss nor a caption's teaches so small a tower shapes in reasonable time: colours and places alone
tell most scenes apart, and both losses stay there for a thousand steps. So the tower learns first what lies in each of
its patches: shape and colour, which parts of the patch are covered, and where the thing's centre is; and, in its class
token, what is at each place. Patches enter through filters that whiten them, so that edges count as much as colours.
open_clip's and BLIP's towers compute the same thing under other names (pre-norm ViT, no norm before the first block),
so that one training serves both.
"""

from __future__ import annotations

import argparse
import math
from typing import Any, Final

import numpy as np
import torch
from open_clip.transformer import VisionTransformer
from torch import nn
from torch.nn import functional

from training.gallery import ATTRIBUTE_CLASSES, GRID, NOTHING_SHAPE, Gallery, attribute_loss, open_gallery
from training.loop import RUNS, Schedule, fit
from training.world import COLOURS, SHAPES, SIDE

WIDTH: Final = 128
LAYERS: Final = 4
HEAD_WIDTH: Final = 32
PATCH: Final = SIDE // GRID
KEPT: Final = RUNS / "eyes" / "tower.pt"
"""Where the state dicts of the trained tower (under open_clip's names) and of its heads lie."""
_FOREGROUND = 30
"""A pixel this far from the background's colour (largest channel difference, 0-255) is covered by something."""


def tower(output_dim: int = 256) -> VisionTransformer:
    """An untrained tower; `output_dim` is the width of CLIP's embedding."""
    return VisionTransformer(
        image_size=SIDE,
        patch_size=PATCH,
        width=WIDTH,
        layers=LAYERS,
        heads=WIDTH // HEAD_WIDTH,
        mlp_ratio=4.0,
        no_ln_pre=True,
        output_dim=output_dim,
        output_tokens=True,
    )


def whitening(pixels: torch.Tensor) -> torch.Tensor:
    """Filters [128, 3, 8, 8] that make the patches' strongest components independent and about equally strong."""
    patches = functional.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2).reshape(-1, 3 * PATCH * PATCH)
    patches = patches[patches.std(1) > 0.05]
    strengths, directions = torch.linalg.eigh(torch.cov(patches.T))
    strongest = directions[:, -WIDTH:] / (strengths[-WIDTH:] + 1e-3).sqrt()
    filters: torch.Tensor = 0.3 * strongest.T.reshape(WIDTH, 3, PATCH, PATCH)
    return filters


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Positions to begin with, [length, width], as loud as new token embeddings.

    From random ones a text tower first has to learn what "the word before" means at each place; here it is a rotation.
    """
    rates = torch.exp(-torch.arange(0, width, 2) / width * math.log(200))
    angles = torch.arange(length)[:, None] * rates
    return 0.02 * torch.cat([angles.sin(), angles.cos()], 1)


def look(visual: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What an open_clip tower sees: its class token [batch, 128] and its patches [batch, 64, 128]."""
    hidden = visual.ln_post(visual.transformer(visual._embeds(pixels)))
    return hidden[:, 0], hidden[:, 1:]


class Targets:
    """What lies in each patch of a batch.

    Attributes:
        shape: int64 [batch, 64], the shape that covers most of the patch, `NOTHING_SHAPE` where none covers an eighth.
        colour: int64 [batch, 64], its colour likewise.
        geometry: float32 [batch, 64, 3], from the patch's middle to the thing's centre, x and y, and the radius, all
            in units of two patches; 0 where there is nothing.
        covered: float32 [batch, 64, 16], 0-1, how much of each 2x2 pixels differs from the background.
    """

    def __init__(self, gallery: Gallery, chosen: np.ndarray) -> None:
        shape = np.full((len(chosen), GRID, GRID), NOTHING_SHAPE)
        colour = np.full((len(chosen), GRID, GRID), len(COLOURS))
        geometry = np.zeros((len(chosen), GRID, GRID, 3), np.float32)
        middles = (np.arange(GRID) + 0.5) * PATCH
        for row, i in enumerate(chosen):
            for thing, cover in zip(gallery.scenes[i].things, gallery.cover[i], strict=False):
                here = cover > 32
                shape[row][here] = SHAPES.index(thing.shape)
                colour[row][here] = COLOURS.index(thing.colour)
                geometry[row, :, :, 0][here] = np.broadcast_to(thing.centre[0] - middles[None, :], here.shape)[here]
                geometry[row, :, :, 1][here] = np.broadcast_to(thing.centre[1] - middles[:, None], here.shape)[here]
                geometry[row, :, :, 2][here] = thing.radius
        grounds = np.array([gallery.scenes[i].background_rgb for i in chosen], np.int16)
        apart = np.abs(gallery.pixels[chosen].astype(np.int16) - grounds[:, None, None]).max(3) > _FOREGROUND
        cells = apart.reshape(len(chosen), GRID, 4, 2, GRID, 4, 2).mean((3, 6)).transpose(0, 1, 3, 2, 4)
        self.shape = torch.from_numpy(shape).flatten(1)
        self.colour = torch.from_numpy(colour).flatten(1)
        self.geometry = torch.from_numpy(geometry / (2 * PATCH)).flatten(1, 2)
        self.covered = torch.from_numpy(cells.reshape(len(chosen), GRID * GRID, 16).astype(np.float32))


class Heads(nn.Module):
    """What a tower is asked while it learns; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = nn.Linear(WIDTH, len(SHAPES) + 1)
        self.colour = nn.Linear(WIDTH, len(COLOURS) + 1)
        self.covered = nn.Linear(WIDTH, 16)
        self.geometry = nn.Linear(WIDTH, 3)
        self.attributes = nn.Linear(WIDTH, sum(ATTRIBUTE_CLASSES))

    def loss(self, whole: torch.Tensor, patches: torch.Tensor, gallery: Gallery, chosen: np.ndarray) -> torch.Tensor:
        """How far the answers are from the truth; class tokens [batch, 128], patches [batch, 64, 128]."""
        targets = Targets(gallery, chosen)
        # Most patches are empty: let them not drown the others.
        weights = torch.ones(len(SHAPES) + 1)
        weights[-1] = 0.2
        shapes, colours = self.shape(patches).float().flatten(0, 1), self.colour(patches).float().flatten(0, 1)
        by_shape = functional.cross_entropy(shapes, targets.shape.flatten(), weights)
        by_colour = functional.cross_entropy(colours, targets.colour.flatten(), weights)
        by_cover = functional.binary_cross_entropy_with_logits(self.covered(patches).float(), targets.covered)
        full = targets.shape != NOTHING_SHAPE
        by_geometry = functional.l1_loss(self.geometry(patches)[full].float(), targets.geometry[full])
        by_place = attribute_loss(self.attributes(whole).float(), gallery.attributes(chosen))
        return 2 * by_shape + by_colour + by_cover + 2 * by_geometry + 2 * by_place


class Eyes(nn.Module):
    """The tower that stays and the heads that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = tower()
        self.heads = Heads()


def worn(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The pictures with a little noise, sometimes blurred, as generated and compressed ones are."""
    if rng.random() < 0.25:
        smaller = int(rng.integers(40, 60))
        pixels = functional.interpolate(pixels, size=(smaller, smaller), mode="bilinear", antialias=True)
        pixels = functional.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear")
    strength = float(rng.choice([0.0, 0.02, 0.06]))
    return pixels + strength * torch.randn_like(pixels) if strength else pixels


@torch.inference_mode()
def accuracy(eyes: Eyes, gallery: Gallery) -> dict[str, float]:
    """Share of things named right from the class token, over a whole gallery."""
    right: dict[str, list[torch.Tensor]] = {"shape": [], "colour": [], "size": []}
    for first in range(0, len(gallery.scenes), 100):
        chosen = np.arange(first, min(first + 100, len(gallery.scenes)))
        whole, _ = look(eyes.tower, gallery.images(chosen))
        pieces = torch.split(eyes.heads.attributes(whole), list(ATTRIBUTE_CLASSES), dim=1)
        named = torch.stack([piece.argmax(1) for piece in pieces], 1)
        classes = gallery.attributes(chosen)
        there = classes[:, :5] != NOTHING_SHAPE
        for i, kind in enumerate(right):
            right[kind].append((named == classes)[:, 5 * i : 5 * i + 5][there])
    return {kind: torch.cat(parts).float().mean().item() for kind, parts in right.items()}


def main() -> None:
    """Train, print how well it sees, and keep the tower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--scenes", type=int, default=40_000, help="pictures drawn once and shown again and again")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="eyes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    gallery = open_gallery(given.scenes)
    eyes = Eyes()
    conv: Any = eyes.tower.conv1
    conv.weight.data.copy_(whitening(gallery.images(np.arange(2000))))

    def loss_of(_step: int, rng: np.random.Generator) -> torch.Tensor:
        chosen = rng.choice(len(gallery.scenes), given.batch, replace=False)
        whole, patches = look(eyes.tower, worn(gallery.images(chosen), rng))
        return eyes.heads.loss(whole, patches, gallery, chosen)

    fit(given.name, eyes, loss_of, Schedule(steps=given.steps, lr=given.lr, warmup=100, weight_decay=0.05, ema=0.995))
    print(accuracy(eyes, open_gallery(1000, word=0.0, seed=2)))
    torch.save({"tower": eyes.tower.state_dict(), "heads": eyes.heads.state_dict()}, KEPT)


if __name__ == "__main__":
    main()
