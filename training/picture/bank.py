"""The training pictures as the transformer sees them: latents with the wishes that they fulfil.

A bank is kept in shards that are made one by one and are independent of each other: training takes those that are
there, and more can be made later. Processes compose pictures; this one encodes what they send.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from rich.progress import track

from models.painter import FIELDS
from training.composer.edits import Edit, random_edit, undone
from training.composer.scene import Scene, Stock, random_scene
from training.image_flow import GRID
from training.image_vae import encode
from training.loop import RUNS
from training.picture.wishes import classes, wish_of
from training.picture.world import MIX, PLAIN, drawn_world, to_tensor
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
        changed: int16 [changes, 2, fields], the wishes of the change and of its undoing.
    """

    pixels: np.ndarray
    layout: np.ndarray
    wishes: np.ndarray
    changed: np.ndarray


@dataclass(frozen=True)
class Bank:
    """Everything that the transformer learns from, on one device.

    Attributes:
        tokens: float16 [n, 64, 32].
        layout: int16 [n, 64].
        wishes: int16 [n, fields].
        changes: int64 [m, 2], the pictures before and after.
        changed: int16 [m, 2, fields].
    """

    tokens: torch.Tensor
    layout: torch.Tensor
    wishes: torch.Tensor
    changes: torch.Tensor
    changed: torch.Tensor

    def to(self, device: torch.device) -> Bank:
        """The same bank on another device."""
        return Bank(*(each.to(device) for each in vars(self).values()))


def compose_chunk(shard: int, chunk: int) -> Chunk:
    """One chunk of a shard; the same numbers always give the same chunk."""
    world = drawn_world()
    rng = np.random.default_rng((_SEED, shard, chunk))
    edits = [_random_edit(rng, world.stock) for _ in range(_EDITS)]
    scenes = [random_scene(rng, world.stock, MIX) for _ in range(_SCENES)]
    scenes += [scene for edit in edits for scene in (edit.before, edit.after)]
    changed = np.array([wish_of(way) for edit in edits for way in (edit, undone(edit))], np.int16)
    return Chunk(
        np.stack([world.composer.compose(scene) for scene in scenes]),
        np.stack([_layout(scene) for scene in scenes]),
        np.array([wish_of(scene) for scene in scenes], np.int16),
        changed.reshape(len(edits), 2, len(FIELDS)),
    )


def _random_edit(rng: np.random.Generator, stock: Stock) -> Edit:
    """A change; one that brings a thing into a picture brings it in the design of a prompt that names none."""
    edit = random_edit(rng, stock)
    brings = edit.kind in ("add", "remove", "replace")
    return random_edit(rng, Stock(stock.drawings, PLAIN), edit.kind) if brings else edit


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
    changes[len(chunk.pixels) - 2 * len(chunk.changed) :] = True
    return {
        "tokens": torch.cat(tokens).cpu(),
        "layout": torch.from_numpy(chunk.layout),
        "wishes": torch.from_numpy(chunk.wishes),
        "changes": changes,
        "changed": torch.from_numpy(chunk.changed),
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
    joined["changes"] = joined["changes"].nonzero().view(-1, 2)
    return Bank(**joined)
