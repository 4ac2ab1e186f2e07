"""The training pictures as the transformer sees them: latents with the wishes that they fulfil.

A bank is kept in shards that are made one by one and are independent of each other: training takes those that are
there, and more can be made later. Processes compose pictures; this one encodes what they send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from rich.progress import track

from models.image.wishes import FIELDS, FIGURES
from training import edits as of_shapes
from training import world as shapes
from training.composer.edits import Edit, random_edit, undone
from training.composer.scene import SIDE, Figure, Scene, Stock, random_scene
from training.composer.words import PLAIN_STYLE
from training.loop import RUNS, in_bfloat16
from training.picture.autoencoder import encode
from training.picture.wishes import Wanted, where_of, wish_of
from training.picture.world import MIX, drawn_world, to_tensor
from training.processes import in_processes

FOLDER: Final = RUNS / "picture" / "bank"
GRID: Final = SIDE // 16
"""Tokens a side."""
CHUNKS: Final = 24
"""Chunks in a shard."""
_SCENES: Final = 120
_EDITS: Final = 60
"""Scenes and changes in a chunk."""
_SEED: Final = 73
_OF_SHAPES: Final = 5
"""Each fifth shard is of the world of shapes."""
_SHAPES: Final = (0.0, 0.3, 0.4, 0.3)
"""How likely a scene there has none, one, two or three."""


@dataclass(frozen=True)
class Chunk:
    """What one process has made: the pictures of some scenes, then those before and after some changes.

    Attributes:
        pixels: uint8 [n, 128, 128, 3].
        wishes: int16 [n, fields].
        where: float32 [n, 3, 3], where each figure is (`where_of`).
        asked: int16 [changes, 2, fields], the wishes of the change and of its undoing.
        moved: float32 [changes, 2, 3, 3], where their target was and their result is.
    """

    pixels: np.ndarray
    wishes: np.ndarray
    where: np.ndarray
    asked: np.ndarray
    moved: np.ndarray


@dataclass(frozen=True)
class Bank:
    """Everything that the transformer learns from, on one device.

    Attributes:
        tokens: float16 [n, 64, 32].
        wishes: int16 [n, fields].
        where: float32 [n, 3, 3].
        scenes: int64 [n - 2 m], which pictures belong to no change.
        pairs: int64 [m, 2], the pictures before and after each change.
        asked: int16 [m, 2, fields], the wishes of each change and of its undoing.
        moved: float32 [m, 2, 3, 3].
    """

    tokens: torch.Tensor
    wishes: torch.Tensor
    where: torch.Tensor
    scenes: torch.Tensor
    pairs: torch.Tensor
    asked: torch.Tensor
    moved: torch.Tensor

    def to(self, device: torch.device) -> Bank:
        """The same bank on another device."""
        return Bank(*(each.to(device) for each in vars(self).values()))


def compose_chunk(shard: int, chunk: int) -> Chunk:
    """One chunk of a shard; the same numbers always give the same chunk."""
    rng = np.random.default_rng((_SEED, shard, chunk))
    return _of_shapes(rng) if shard % _OF_SHAPES == _OF_SHAPES - 1 else _of_things(rng)


def _of_things(rng: np.random.Generator) -> Chunk:
    world = drawn_world()
    edits = [change_of(rng, world.stock) for _ in range(_EDITS)]
    scenes = [_as_it_is(random_scene(rng, world.stock, MIX)) for _ in range(_SCENES)]
    scenes += [scene for edit in edits for scene in (edit.before, edit.after)]
    drawn = np.stack([world.composer.compose(scene) for scene in scenes])
    return _chunk(drawn, scenes, [way for edit in edits for way in (edit, undone(edit))])


def _of_shapes(rng: np.random.Generator) -> Chunk:
    edits = [of_shapes.random_edit(rng) for _ in range(_EDITS)]
    scenes = [shapes.random_scene(rng, things=_SHAPES) for _ in range(_SCENES)]
    scenes += [scene for edit in edits for scene in (edit.before, edit.after)]
    drawn = np.stack([np.asarray(shapes.render(scene, SIDE)) for scene in scenes])
    return _chunk(drawn, scenes, [way for edit in edits for way in (edit, of_shapes.undone(edit))])


def _chunk(pixels: np.ndarray, scenes: Sequence[Wanted], ways: Sequence[Wanted]) -> Chunk:
    """Of pictures of scenes, and changes each with its undoing behind it."""
    return Chunk(
        pixels,
        np.array([wish_of(scene) for scene in scenes], np.int16),
        np.array([where_of(scene) for scene in scenes], np.float32),
        np.array([wish_of(way) for way in ways], np.int16).reshape(-1, 2, len(FIELDS)),
        np.array([where_of(way) for way in ways], np.float32).reshape(-1, 2, FIGURES, 3),
    )


def _as_it_is(scene: Scene) -> Scene:
    """The scene with nothing mirrored: a thing that may look either way is learnt as a mixture of both."""
    return replace(scene, figures=tuple(replace(figure, mirrored=False) for figure in scene.figures))


def change_of(rng: np.random.Generator, stock: Stock) -> Edit:
    """A random change as the picture model is to make it.

    What it or its undoing brings into a picture comes in the design of a prompt that names none, and is not mirrored;
    what stays may be mirrored, since the picture shows it.
    """
    edit = random_edit(rng, stock)
    if edit.kind not in ("add", "remove", "replace", "resize"):
        return edit
    edit = random_edit(rng, Stock(stock.drawings, {PLAIN_STYLE: 1.0}), edit.kind)
    brought = [figure for figure in (edit.target, edit.result) if figure is not None]

    def plain(figure: Figure) -> Figure:
        return replace(figure, mirrored=False) if figure in brought else figure

    def scene_of(scene: Scene) -> Scene:
        return replace(scene, figures=tuple(plain(figure) for figure in scene.figures))

    return replace(edit, before=scene_of(edit.before), after=scene_of(edit.after))


def make_bank(
    shards: int,
    autoencoder: Callable[[], AutoencoderKL],
    workers: int,
    folder: Path = FOLDER,
) -> None:
    """Make the first `shards` shards, those that are not there yet, with so many processes beside this one.

    The autoencoder is asked for once the first pictures are composed; the processes go on meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [shard for shard in range(shards) if not path_of(shard, folder).exists()]
    if not missing:
        return
    drawn_world().composer.prepare()
    wanted = [(shard, chunk) for shard in missing for chunk in range(CHUNKS)]
    made: list[dict[str, torch.Tensor]] = []
    vae: AutoencoderKL | None = None
    pieces = in_processes(compose_chunk, wanted, workers)
    for (shard, chunk), piece in zip(wanted, track(pieces, "bank", len(wanted)), strict=True):
        vae = vae or autoencoder()
        made.append(_encoded(vae, piece))
        if chunk == CHUNKS - 1:
            partial = path_of(shard, folder).with_suffix(".partial")
            torch.save({key: torch.cat([each[key] for each in made]) for key in made[0]}, partial)
            partial.replace(path_of(shard, folder))
            made.clear()


def path_of(shard: int, folder: Path = FOLDER) -> Path:
    """Where a shard is kept."""
    return folder / f"{shard:04}.pt"


@torch.no_grad()
def _encoded(vae: AutoencoderKL, chunk: Chunk) -> dict[str, torch.Tensor]:
    with in_bfloat16(vae.device):
        pixels = torch.from_numpy(chunk.pixels).to(vae.device)
        tokens = [encode(vae, to_tensor(part)).half() for part in torch.tensor_split(pixels, 8)]
    # Scenes come first in a chunk, then each change's two pictures: told apart by how many changes there are.
    changes = torch.zeros(len(chunk.pixels), dtype=torch.bool)
    changes[len(chunk.pixels) - 2 * len(chunk.asked) :] = True
    return {
        "tokens": torch.cat(tokens).cpu(),
        "wishes": torch.from_numpy(chunk.wishes),
        "where": torch.from_numpy(chunk.where),
        "changes": changes,
        "asked": torch.from_numpy(chunk.asked),
        "moved": torch.from_numpy(chunk.moved),
    }


def open_bank(folder: Path = FOLDER) -> Bank:
    """All shards that are there.

    Raises:
        FileNotFoundError: there is none.
    """
    files = sorted(folder.glob("*.pt"))
    if not files:
        raise FileNotFoundError(f"there is no shard of the bank in {folder}")
    shards = [torch.load(file, weights_only=True, mmap=True) for file in files]
    if any("moved" not in shard for shard in shards):
        raise FileNotFoundError(f"a shard of the bank is of an earlier version: delete {folder}")
    joined = {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
    changed = joined.pop("changes")
    return Bank(**joined, scenes=(~changed).nonzero().flatten(), pairs=changed.nonzero().view(-1, 2))
