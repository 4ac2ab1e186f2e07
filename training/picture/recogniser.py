"""What judges the pictures: it names a thing, and the ground, in designs that the picture model never saw.

`python -m training.picture.recogniser` makes it, in closed form: a linear discriminant of what an EfficientNet that
ImageNet made sees of drawings in those designs. It shares neither weights nor drawings with what it judges, and is not
shipped. It is shown the window where the asked thing should be, and whole pictures for their ground.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import nn
from torch.nn import functional

from training.composer.scene import GROUNDS, SIDE, Figure, Mix, Scene, Stock, random_scene
from training.loop import RUNS
from training.picture.wishes import classes
from training.picture.world import ALONE, World, device_of, drawn_world, to_tensor, unseen_world
from training.tower import WIDTH, features, load_tower

KEPT: Final = RUNS / "picture" / "recogniser" / "model.pt"
_MIX: Final = Mix(figures=(0.05, 0.45, 0.4, 0.1))
_SEED: Final = 74
_AROUND: Final = 1.25
"""How much wider than the thing a window is."""
_THUMB: Final = 8
"""Pixels a side of the small picture that tells a ground beside the features."""
_GROUNDED: Final = 3000
"""Whole scenes that grounds are learnt from."""
_SHRINKAGE: Final = 0.3
"""How much scatter, the same in every direction, is added to that within classes, as a share of its mean."""
_SHAPES: Final = 400
"""Windows of shapes."""


class Recogniser(nn.Module):
    """Two linear discriminants: of things, from features [n, 1280], and of grounds, from features and thumbnails."""

    def __init__(self, tower: Any = None) -> None:
        super().__init__()
        self.things = nn.Linear(WIDTH, len(classes()) + 1)
        self.grounds = nn.Linear(WIDTH + 3 * _THUMB**2, len(GROUNDS))
        self.register_buffer("spread", torch.ones(()))
        self.spread: torch.Tensor
        self._seen_by = [tower or load_tower()[0]]  # in a list: it is no part of what is kept

    @property
    def tower(self) -> Any:
        """The network that sees, on the device of what it sees for."""
        return self._seen_by[0].to(self.things.weight.device)

    def of_things(self, windows: list[Image.Image]) -> torch.Tensor:
        """How well each thing fits each window: float32 [n, classes + 1]."""
        seen: torch.Tensor = self.things(features(self.tower, windows).to(self.things.weight))
        return seen

    def of_grounds(self, pictures: list[np.ndarray]) -> torch.Tensor:
        """How well each ground fits each picture: float32 [n, grounds]."""
        seen: torch.Tensor = self.grounds(_whole(self.tower, pictures, self.spread).to(self.grounds.weight))
        return seen


def window(pixels: np.ndarray, figure: Figure, rng: np.random.Generator | None = None) -> Image.Image:
    """Where the figure is, or with a generator about there."""
    side, (x, y) = figure.side * _AROUND, figure.centre
    if rng is not None:
        side *= float(rng.uniform(0.85, 1.25))
        x, y = (c + float(rng.uniform(-0.1, 0.1)) * figure.side for c in (x, y))
    side = min(side, SIDE)
    left, top = (min(max(c - side / 2, 0), SIDE - side) for c in (x, y))
    box = (round(left), round(top), round(left + side), round(top + side))
    return Image.fromarray(pixels).crop(box)


def _whole(tower: Any, pictures: list[np.ndarray], spread: torch.Tensor) -> torch.Tensor:
    """Features of whole pictures, and small pictures as large as features are."""
    seen = features(tower, [Image.fromarray(pixels) for pixels in pictures])
    small = functional.adaptive_avg_pool2d(to_tensor(np.stack(pictures)), _THUMB).flatten(1)
    return torch.cat([seen, small * spread.to(small)], 1)


def discriminant(seen: torch.Tensor, right: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [count, n] and biases [count] of Fisher's discriminant of features [m, n] of classes [m].

    A class that was never seen fits nothing.
    """
    seen = seen.double()
    times = torch.zeros(count, dtype=torch.float64).index_add(0, right, torch.ones(len(right), dtype=torch.float64))
    middle = seen.mean(0)
    means = torch.zeros(count, seen.shape[1], dtype=torch.float64).index_add(0, right, seen - middle)
    means /= times.clamp(min=1)[:, None]
    apart = seen - middle - means[right]
    within = apart.T @ apart / len(seen)
    within += _SHRINKAGE * within.diag().mean() * torch.eye(len(within), dtype=torch.float64)
    weights = torch.linalg.solve(within, means.T).T
    biases = -0.5 * (weights * means).sum(1) - weights @ middle
    biases[times == 0] = -1e9
    return weights.float(), biases.float()


@torch.no_grad()
def make_recogniser(world: World, device: torch.device, grounded: int = _GROUNDED) -> Recogniser:
    """From each drawing of the world once, alone somewhere on some ground, and from so many scenes for the grounds."""
    model = Recogniser().to(device).eval()
    windows: list[Image.Image] = []
    named: list[int] = []
    stocks = [
        Stock({design: (name,)}, {design: 1.0}) for design, names in world.stock.drawings.items() for name in names
    ]
    for number, stock in enumerate([*stocks, *stocks[:_SHAPES]]):
        rng = np.random.default_rng((_SEED, number))
        scene = random_scene(rng, stock, ALONE)
        while scene.figures[0].is_shape != (number >= len(stocks)):
            scene = random_scene(rng, stock, ALONE)
        (figure,) = scene.figures
        windows.append(window(world.composer.compose(scene), figure, rng))
        named.append(classes()[figure.name])
    parts = track(range(0, len(windows), 64), "things")
    seen = torch.cat([features(model.tower, windows[first : first + 64]) for first in parts])
    scenes = [random_scene(np.random.default_rng((_SEED, 1 << 41, i)), world.stock, _MIX) for i in range(grounded)]
    model.spread.copy_(seen.std())
    parts = track(range(0, len(scenes), 64), "grounds")
    whole = torch.cat(
        [
            _whole(model.tower, [world.composer.compose(s) for s in scenes[first : first + 64]], model.spread)
            for first in parts
        ]
    )
    grounds = torch.tensor([GROUNDS.index(scene.ground) for scene in scenes])
    for layer, (weights, biases) in (
        (model.things, discriminant(seen, torch.tensor(named), len(classes()) + 1)),
        (model.grounds, discriminant(whole, grounds, len(GROUNDS))),
    ):
        layer.weight.copy_(weights)
        layer.bias.copy_(biases)
    return model


@torch.inference_mode()
def places(model: Recogniser, pictures: list[np.ndarray], figures: list[Figure]) -> list[int]:
    """Which of the recogniser's answers is right, counted from 0, for one figure in each picture."""
    if not figures:
        return []
    answers = model.of_things([window(p, f) for p, f in zip(pictures, figures, strict=True)])
    right = torch.tensor([classes()[figure.name] for figure in figures], device=answers.device)
    ranks: list[int] = (answers > answers.gather(1, right[:, None])).sum(1).tolist()
    return ranks


@torch.inference_mode()
def grounds_of(model: Recogniser, pictures: list[np.ndarray]) -> list[str]:
    """The ground of each picture."""
    return [GROUNDS[number] for number in model.of_grounds(pictures).argmax(1).tolist()]


def recognised(model: Recogniser, world: World, count: int) -> tuple[float, float, float]:
    """The shares of a world's things that it names at once, and in five, and of its grounds: the most that a picture
    model can reach."""
    scenes = [random_scene(np.random.default_rng((_SEED, 1 << 40, i)), world.stock, _MIX) for i in range(count)]
    pictures = [world.composer.compose(scene) for scene in scenes]
    seen = [(p, f) for p, scene in zip(pictures, scenes, strict=True) for f in visible(scene)]
    ranks = np.array(places(model, [pixels for pixels, _ in seen], [figure for _, figure in seen]))
    grounds = [g == s.ground for g, s in zip(grounds_of(model, pictures), scenes, strict=True)]
    return float((ranks < 1).mean()), float((ranks < 5).mean()), float(np.mean(grounds))


def visible(scene: Scene) -> tuple[Figure, ...]:
    """The figures that no other hides."""
    return scene.figures[:1] if scene.relation in ("on", "in front of") else scene.figures


def load_recogniser(path: Path = KEPT, device: torch.device | None = None) -> Recogniser:
    """What `main` made.

    Raises:
        FileNotFoundError: it has not been made.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: run python -m training.picture.recogniser")
    model = Recogniser()
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return model.to(device or torch.device("cpu")).eval()


def main() -> None:
    """Make it, say what it can, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = make_recogniser(unseen_world(), device_of(given.device))
    first, five, ground = recognised(model, drawn_world(), 600)
    print(f"of exact pictures it names {first:.1%} of the things, {five:.1%} in five, and {ground:.1%} of the grounds")
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.cpu().state_dict(), KEPT)


if __name__ == "__main__":
    main()
