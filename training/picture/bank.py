"""The training pictures as the transformer sees them: latents with the wishes that they fulfil.

A bank is kept in shards that are made one by one and are independent of each other: training takes those that are
there, and more can be made later. Processes compose pictures; this one encodes what they send.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from rich.progress import track

from models.image.painter import FIELDS
from training.composer.edits import Edit, random_edit, undone
from training.composer.scene import Figure, Scene, Stock, random_scene
from training.composer.words import PLAIN_STYLE
from training.image_flow import GRID
from training.image_vae import encode
from training.loop import RUNS
from training.picture.wishes import classes, wish_of
from training.picture.world import MIX, drawn_world, to_tensor
from training.processes import in_processes

FOLDER: Final = RUNS / "picture" / "bank"
CHUNKS: Final = 24
"""Chunks in a shard."""
_SCENES: Final = 160
_EDITS: Final = 40
"""Scenes and changes in a chunk."""
_SEED: Final = 73
_COVERED: Final = 0.15


@dataclass(frozen=True)
class Chunk:
    """What one process has made: the pictures of some scenes, then those before and after some changes.

    Attributes:
        pixels: uint8 [n, 128, 128, 3].
        layout: int16 [n, 64], what lies in each token's cell (`classes`), 0 for nothing.
        wishes: int16 [n, fields].
        asked: int16 [changes, 2, fields], the wishes of the change and of its undoing.
    """

    pixels: np.ndarray
    layout: np.ndarray
    wishes: np.ndarray
    asked: np.ndarray


@dataclass(frozen=True)
class Bank:
    """Everything that the transformer learns from, on one device.

    Attributes:
        tokens: float16 [n, 64, 32].
        layout: int16 [n, 64].
        wishes: int16 [n, fields].
        scenes: int64 [n - 2 m], which pictures belong to no change.
        pairs: int64 [m, 2], the pictures before and after each change.
        asked: int16 [m, 2, fields], the wishes of each change and of its undoing.
    """

    tokens: torch.Tensor
    layout: torch.Tensor
    wishes: torch.Tensor
    scenes: torch.Tensor
    pairs: torch.Tensor
    asked: torch.Tensor

    def to(self, device: torch.device) -> Bank:
        """The same bank on another device."""
        return Bank(*(each.to(device) for each in vars(self).values()))


def compose_chunk(shard: int, chunk: int) -> Chunk:
    """One chunk of a shard; the same numbers always give the same chunk."""
    world = drawn_world()
    rng = np.random.default_rng((_SEED, shard, chunk))
    edits = [change_of(rng, world.stock) for _ in range(_EDITS)]
    scenes = [_as_it_is(random_scene(rng, world.stock, MIX)) for _ in range(_SCENES)]
    scenes += [scene for edit in edits for scene in (edit.before, edit.after)]
    asked = np.array([wish_of(way) for edit in edits for way in (edit, undone(edit))], np.int16)
    return Chunk(
        np.stack([world.composer.compose(scene) for scene in scenes]),
        np.stack([_layout(scene) for scene in scenes]),
        np.array([wish_of(scene) for scene in scenes], np.int16),
        asked.reshape(len(edits), 2, len(FIELDS)),
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
    if edit.kind not in ("add", "remove", "replace"):
        return edit
    edit = random_edit(rng, Stock(stock.drawings, {PLAIN_STYLE: 1.0}), edit.kind)
    brought = [figure for figure in (edit.target, edit.result) if figure is not None]

    def plain(figure: Figure) -> Figure:
        return replace(figure, mirrored=False) if figure in brought else figure

    def scene_of(scene: Scene) -> Scene:
        return replace(scene, figures=tuple(plain(figure) for figure in scene.figures))

    return replace(edit, before=scene_of(edit.before), after=scene_of(edit.after))


def _layout(scene: Scene) -> np.ndarray:
    cells = np.zeros(GRID * GRID, np.int16)
    if scene.figures:
        covered = drawn_world().composer.covers(scene, GRID).reshape(len(scene.figures), -1)
        most = covered.argmax(0)
        numbers = np.array([classes()[figure.name] for figure in scene.figures], np.int16)
        cells = np.where(covered.max(0) > _COVERED, numbers[most], 0).astype(np.int16)
    return cells


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
    with torch.autocast(vae.device.type, torch.bfloat16):
        pixels = torch.from_numpy(chunk.pixels).to(vae.device)
        tokens = [encode(vae, to_tensor(part)).half() for part in torch.tensor_split(pixels, 8)]
    # Scenes come first in a chunk, then each change's two pictures: told apart by how many changes there are.
    changes = torch.zeros(len(chunk.pixels), dtype=torch.bool)
    changes[len(chunk.pixels) - 2 * len(chunk.asked) :] = True
    return {
        "tokens": torch.cat(tokens).cpu(),
        "layout": torch.from_numpy(chunk.layout),
        "wishes": torch.from_numpy(chunk.wishes),
        "changes": changes,
        "asked": torch.from_numpy(chunk.asked),
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
    joined = {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
    changed = joined.pop("changes")
    return Bank(**joined, scenes=(~changed).nonzero().flatten(), pairs=changed.nonzero().view(-1, 2))
