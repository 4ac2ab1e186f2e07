"""Scenes to tell of, and what the frozen network made of them: computed once, kept under `.runs/describer/`.

A picture's cells are 116,000 numbers; forty thousand pictures are 10 GB, which lie in a file and are read from there.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from models.sight import SIDE, cells_of, load_trunk
from training.art.designs import designs_for
from training.art.lettering import open_lettering
from training.art.shelf import Shelf
from training.composer.composing import Composer
from training.composer.scene import Mix, Scene, Stock, random_scene
from training.loop import RUNS

FOLDER: Final = RUNS / "describer"
SEEN: Final = 42_000
_ANY: Final = 30_000
"""So many of them show anything; the others have a word each, which is what takes most examples."""
UNSEEN: Final = 1000
_MIX: Final = Mix(figures=(0.08, 0.5, 0.26, 0.16), painted=0.5, word=0.3, same=0.25)
_WRITTEN: Final = Mix(figures=(0.45, 0.45, 0.1, 0.0), painted=0.5, word=1.0)
_SEED: Final = 91
_BATCH: Final = 16
_WORN: Final = 0.25
_GRID: Final = SIDE // 32
_FINE: Final = 1088


@dataclass(frozen=True)
class Pool:
    """Scenes and their cells.

    Attributes:
        scenes: n of them.
            coarse: float16 [n, 7, 7, 1280], on disk.
        fine: float16 [n, 7, 7, 1088], on disk.
    """

    scenes: tuple[Scene, ...]
    coarse: np.ndarray
    fine: np.ndarray

    def cells(self, numbers: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Of some scenes, float32."""
        order = np.argsort(numbers)
        back = torch.from_numpy(np.argsort(order))
        found = [torch.from_numpy(kept[numbers[order]]).float()[back] for kept in (self.coarse, self.fine)]
        return found[0], found[1]


@cache
def world(*, unseen: bool) -> tuple[Stock, Composer]:
    """What scenes are made of: designs and letterings that train, or those that never do."""
    designs = designs_for("judge") if unseen else designs_for("draw", "recognise")
    shelf, lettering = Shelf(designs), open_lettering()
    numbers = np.flatnonzero(lettering.judge) if unseen else lettering.training()
    stock = Stock.of(shelf.usual(), {design: 1 / len(designs) for design in designs}, tuple(int(n) for n in numbers))
    return stock, Composer(shelf, lettering)


@cache
def words() -> tuple[str, ...]:
    """Every word of the lettering, by its number."""
    return tuple(str(word) for word in open_lettering().words)


def scene_of(number: int, *, unseen: bool) -> Scene:
    """Scene by its number."""
    mix = _MIX if number < _ANY else _WRITTEN
    return random_scene(np.random.default_rng((_SEED, unseen, number)), world(unseen=unseen)[0], mix)


def picture_of(number: int, scene: Scene, *, unseen: bool) -> Image.Image:
    """As it may reach the model: some have been through JPEG, and sizes differ."""
    rng = np.random.default_rng((_SEED, 2 + unseen, number))
    picture = Image.fromarray(world(unseen=unseen)[1].compose(scene))
    if rng.random() < _WORN:
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=int(rng.integers(55, 95)))
        picture = Image.open(packed).convert("RGB")
    return picture


def open_pool(*, unseen: bool = False, folder: Path = FOLDER) -> Pool:
    """The pool, computed as far as it is not there yet."""
    count = UNSEEN if unseen else SEEN
    name = "unseen" if unseen else "seen"
    folder.mkdir(parents=True, exist_ok=True)
    told = [scene_of(number, unseen=unseen) for number in range(count)]
    kept = []
    for part, width in (("coarse", 1280), ("fine", _FINE)):
        path = folder / f"{name}-{part}.f16"
        shape = (count, _GRID, _GRID, width)
        kept.append(np.memmap(path, np.float16, "r+" if path.exists() else "w+", shape=shape))
    done = folder / f"{name}.done"
    first = int(done.read_text()) if done.exists() else 0
    if first < count:
        trunk = load_trunk()
        for start in track(range(first, count, _BATCH), f"looking at {name} scenes"):
            numbers = range(start, min(start + _BATCH, count))
            pictures = [picture_of(n, told[n], unseen=unseen) for n in numbers]
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                for to, made in zip(kept, cells_of(trunk, _batch(pictures)), strict=True):
                    to[start : start + len(numbers)] = made.half().numpy()
            done.write_text(str(start + len(numbers)))
    return Pool(tuple(told), kept[0], kept[1])


def _batch(pictures: list[Image.Image]) -> torch.Tensor:
    return torch.stack([pixels(picture) for picture in pictures])


def pixels(picture: Image.Image) -> torch.Tensor:
    """float32 [3, 224, 224] in -1..1."""
    large = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(large)).permute(2, 0, 1).float().div_(127.5).sub_(1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    open_pool(unseen=True)
    open_pool()
