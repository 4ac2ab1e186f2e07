"""What judges the pictures: a small network that names a thing, and the ground, in designs the picture model never saw.

`python -m training.picture.recogniser` trains it. It shares neither weights nor drawings with what it judges, and is
not shipped. It is shown the window where the asked thing should be, and whole pictures for their ground.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import nn

from training.composer.scene import GROUNDS, SIDE, Figure, Mix, Scene, random_scene
from training.loop import RUNS, Check, Schedule, fit
from training.picture.wishes import classes
from training.picture.world import World, device_of, drawn_world, to_tensor, unseen_world

KEPT: Final = RUNS / "picture" / "recogniser" / "model.pt"
WINDOW: Final = 64
"""Pixels a side of what it looks at."""
_MIX: Final = Mix(figures=(0.05, 0.45, 0.4, 0.1))
_SEED: Final = 74
_AROUND: Final = 1.25
"""How much wider than the thing a window is."""


def _block(wide_in: int, wide_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(wide_in, wide_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(wide_out),
        nn.SiLU(),
        nn.Conv2d(wide_out, wide_out, 3, 1, 1, bias=False),
        nn.BatchNorm2d(wide_out),
        nn.SiLU(),
    )


class Recogniser(nn.Module):
    """1.4 M parameters: five stages of plain convolutions, one head for things and one for grounds."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 160, 224)
        self.stages = nn.Sequential(*(_block(a, b, 2) for a, b in pairwise(widths)))
        self.things = nn.Linear(widths[-1], len(classes()) + 1)
        self.grounds = nn.Linear(widths[-1], len(GROUNDS))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """float32 [n, 3, 64, 64] in -1..1 -> features [n, 224]."""
        features: torch.Tensor = self.stages(windows).mean((2, 3))
        return features


def window(pixels: np.ndarray, figure: Figure, rng: np.random.Generator | None = None) -> np.ndarray:
    """uint8 [64, 64, 3]: where the figure is, or with a generator about there."""
    side, (x, y) = figure.side * _AROUND, figure.centre
    if rng is not None:
        side *= float(rng.uniform(0.85, 1.25))
        x, y = (c + float(rng.uniform(-0.1, 0.1)) * figure.side for c in (x, y))
    side = min(side, SIDE)
    left, top = (min(max(c - side / 2, 0), SIDE - side) for c in (x, y))
    box = (round(left), round(top), round(left + side), round(top + side))
    cut = Image.fromarray(pixels).crop(box)
    return np.asarray(cut.resize((WINDOW, WINDOW), Image.Resampling.BILINEAR, reducing_gap=2.0))


def whole(pixels: np.ndarray) -> np.ndarray:
    """uint8 [64, 64, 3]: the whole picture."""
    return np.asarray(Image.fromarray(pixels).resize((WINDOW, WINDOW), Image.Resampling.BOX))


def worn(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The windows with other colours, softer or noisier: what tells a thing is its form."""
    count = len(pixels)
    gains = torch.from_numpy(rng.uniform(0.75, 1.2, (count, 3, 1, 1))).float()
    lifts = torch.from_numpy(rng.uniform(-0.15, 0.15, (count, 1, 1, 1))).float()
    pixels = pixels * gains + lifts
    grey = torch.from_numpy(rng.random(count) < 0.12)
    pixels[grey] = pixels[grey].mean(1, keepdim=True)
    if rng.random() < 0.5:
        small = int(rng.integers(24, 56))
        pixels = F.interpolate(pixels, size=(small, small), mode="bilinear", antialias=True)
        pixels = F.interpolate(pixels, size=(WINDOW, WINDOW), mode="bilinear")
    return pixels + float(rng.choice([0.0, 0.03, 0.08])) * torch.randn_like(pixels)


def train_recogniser(model: Recogniser, schedule: Schedule, batch: int) -> None:
    """Train in place (log: `.runs/picture/recogniser`)."""
    world = unseen_world()
    device = model.things.weight.device

    def loss_of(_step: int, rng: np.random.Generator) -> torch.Tensor:
        windows: list[np.ndarray] = []
        wholes: list[np.ndarray] = []
        names: list[int] = []
        grounds: list[int] = []
        while len(windows) < batch:
            scene = random_scene(rng, world.stock, _MIX)
            pixels = world.composer.compose(scene)
            if len(wholes) < batch // 4:
                wholes.append(whole(pixels))
                grounds.append(GROUNDS.index(scene.ground))
            for figure in scene.figures:
                windows.append(window(pixels, figure, rng))
                names.append(classes()[figure.name])
        seen = worn(to_tensor(np.stack([*windows, *wholes])), rng).to(device)
        features = model(seen)
        by_name = F.cross_entropy(model.things(features[: len(windows)]), torch.tensor(names, device=device))
        by_ground = F.cross_entropy(model.grounds(features[len(windows) :]), torch.tensor(grounds, device=device))
        return by_name + 0.3 * by_ground

    def look(step: int) -> None:
        first, five = recognised(model, drawn_world(), 300)
        print(f"step {step}: names {first:.0%} of drawings in the designs to judge, {five:.0%} in five")

    fit("picture/recogniser", model, loss_of, schedule, Check(500, look))


@torch.inference_mode()
def places(model: Recogniser, pictures: list[np.ndarray], figures: list[Figure]) -> list[int]:
    """Which of the recogniser's answers is right, counted from 0, for one figure in each picture."""
    model.eval()
    device = model.things.weight.device
    ranks: list[int] = []
    for first in range(0, len(figures), 64):
        chosen = figures[first : first + 64]
        seen = np.stack([window(p, f) for p, f in zip(pictures[first : first + 64], chosen, strict=True)])
        answers = model.things(model(to_tensor(seen).to(device))).float()
        right = torch.tensor([classes()[figure.name] for figure in chosen], device=device)
        ranks += (answers > answers.gather(1, right[:, None])).sum(1).tolist()
    return ranks


@torch.inference_mode()
def grounds_of(model: Recogniser, pictures: list[np.ndarray]) -> list[str]:
    """The ground of each picture."""
    model.eval()
    seen = to_tensor(np.stack([whole(picture) for picture in pictures])).to(model.things.weight.device)
    return [GROUNDS[number] for number in model.grounds(model(seen)).argmax(1).tolist()]


def recognised(model: Recogniser, world: World, count: int) -> tuple[float, float]:
    """The shares of a world's things that it names at once, and in five: the most that a picture model can reach."""
    scenes = [random_scene(np.random.default_rng((_SEED, 1 << 40, i)), world.stock, _MIX) for i in range(count)]
    seen: list[tuple[np.ndarray, Figure]] = []
    for scene in scenes:
        pixels = world.composer.compose(scene)
        seen += [(pixels, figure) for figure in scene.figures if not _is_covered(scene, figure)]
    ranks = np.array(places(model, [pixels for pixels, _ in seen], [figure for _, figure in seen]))
    return float((ranks < 1).mean()), float((ranks < 5).mean())


def _is_covered(scene: Scene, figure: Figure) -> bool:
    return scene.relation in ("on", "in front of") and figure is not scene.figures[0]


def load_recogniser(path: Path = KEPT, device: torch.device | None = None) -> Recogniser:
    """What `main` trained.

    Raises:
        FileNotFoundError: it has not been trained.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: run python -m training.picture.recogniser")
    model = Recogniser()
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return model.to(device or torch.device("cpu")).eval()


def main() -> None:
    """Train, and keep the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--seconds", type=float, default=0, help="end after so much work, whatever the step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(_SEED)
    model = Recogniser().to(device_of(given.device))
    schedule = Schedule(steps=given.steps, lr=2e-3, weight_decay=0.05, ema=0.995, seed=_SEED, seconds=given.seconds)
    train_recogniser(model, schedule, given.batch)
    first, five = recognised(model, drawn_world(), 1000)
    print(f"names {first:.1%} of drawings in the designs to judge, {five:.1%} in five")
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.cpu().state_dict(), KEPT)


if __name__ == "__main__":
    main()
