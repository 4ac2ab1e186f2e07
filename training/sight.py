"""Teaching a Qwen2.5-VL vision tower to see the built-in world before it learns to speak: `python -m training.sight`.

A language model's loss reaches a vision tower slowly. Here each merged image token learns what to say: a few fixed
tokens name what lies at each place, the background and each character of the word, and every token says how much of
its cell each shape and each colour covers. The heads that ask for this are thrown away after training.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen

from training.loop import RUNS, Schedule, fit
from training.world import COLOURS, PLACES, SHAPES, SIDE, Scene, coverage, random_scene, render

PATCH: Final = 8
"""Pixels a side of a patch; the vision tower merges 2x2 patches into one token."""
MERGE: Final = 2
TEMPORAL: Final = 2
"""Frames in a patch: a still picture counts twice."""
GRID: Final = SIDE // PATCH
"""Patches a side."""
TOKENS: Final = (GRID // MERGE) ** 2
"""Merged tokens of a picture, row by row."""
WIDTH: Final = 192
"""Width of the vision tower, of its merged tokens and of the language model."""
DEPTH: Final = 4
MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
"""The means and deviations of CLIP, as Qwen's image processor has them."""
STD: Final = (0.26862954, 0.26130258, 0.27577711)

CHARACTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_BACKGROUND_TOKEN: Final = 0
_PLACE_TOKENS: Final = tuple({"left": 4, "right": 7, "top": 1, "bottom": 9, "centre": 5}[p] for p in PLACES)
_CHARACTER_TOKENS: Final = (12, 13, 14, 15)
_STRIP_TOP: Final = 48
"""The lowest row of merged tokens begins here; words lie in it."""

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


def configuration(vocabulary: int, **special_tokens: int) -> Qwen2_5_VLConfig:
    """The architecture, for a vocabulary of so many tokens."""
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": WIDTH,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "bos_token_id": special_tokens.get("bos_token_id"),
            "eos_token_id": special_tokens.get("eos_token_id"),
            "use_cache": True,
        },
        vision_config={
            "depth": DEPTH,
            "hidden_size": WIDTH,
            "intermediate_size": 512,
            "num_heads": WIDTH // 32,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "window_size": 2 * SIDE,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": list(range(DEPTH)),
        },
        tie_word_embeddings=True,
        **{k: v for k, v in special_tokens.items() if k not in ("bos_token_id", "eos_token_id")},
    )


def patches(pictures: npt.NDArray[np.uint8]) -> FloatArray:
    """What Qwen's image processor makes of pictures [n, height, width, 3] 0-255: [n, patches, 3 * 2 * 8 * 8].

    Heights and widths are multiples of 16, so nothing is resized.
    """
    n, height, width, _ = pictures.shape
    values = (pictures.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    cells = values.reshape(n, height // 16, MERGE, PATCH, width // 16, MERGE, PATCH, 3)
    cells = cells.transpose(0, 1, 4, 2, 5, 7, 3, 6)[:, :, :, :, :, :, None]
    cells = np.repeat(cells, TEMPORAL, axis=6)
    return cells.reshape(n, (height // PATCH) * (width // PATCH), -1).astype(np.float32)


def look(visual: Any, pixels: Tensor, rows: int = GRID, columns: int = GRID) -> Tensor:
    """The merged tokens [n, tokens, width] of n pictures of one size, all at once.

    The same numbers as `visual(pixels, grid)` gives, which goes picture by picture. `pixels`: [n, rows * columns, -1].
    """
    n, length, _ = pixels.shape
    positions = qwen.get_vision_position_ids(torch.tensor([[1, rows, columns]]), MERGE, kwargs={})
    cos, sin = visual.rotary_pos_emb(pixels, positions)
    hidden = F.linear(pixels, visual.patch_embed.proj.weight.flatten(1))
    for block in visual.blocks:
        attention = block.attn
        qkv = attention.qkv(block.norm1(hidden)).view(n, length, 3, attention.num_heads, -1)
        query, key, value = qkv.unbind(2)
        query, key = qwen.apply_rotary_pos_emb_vision(query, key, cos, sin)
        mixed = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        hidden = hidden + attention.proj(mixed.transpose(1, 2).reshape(n, length, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
    merger = visual.merger
    merged: Tensor = merger.mlp(merger.ln_q(hidden).view(n, length // MERGE**2, -1))
    return merged


def worn(picture: Image.Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The picture's pixels [64, 64, 3], now and then after a detour through JPEG or another size, as uploads are."""
    chance = rng.random()
    if chance < 0.12:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(60, 96)))
        picture = Image.open(buffer)
    elif chance < 0.24:
        side = int(rng.integers(72, 257))
        methods = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.NEAREST)
        picture = picture.resize((side, side), methods[rng.integers(3)]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture.convert("RGB"))


class Heads(nn.Module):
    """The questions that the merged tokens answer while they learn."""

    def __init__(self) -> None:
        super().__init__()
        self.background = nn.Linear(WIDTH, len(COLOURS))
        self.shape = nn.Linear(WIDTH, len(SHAPES) + 1)
        self.colour = nn.Linear(WIDTH, len(COLOURS) + 1)
        self.size = nn.Linear(WIDTH, 3)
        self.character = nn.Linear(WIDTH, len(CHARACTERS) + 1)
        self.cover = nn.Linear(WIDTH, len(SHAPES) + len(COLOURS))
        self.where = nn.Linear(WIDTH, TOKENS)


def targets(scenes: list[Scene]) -> tuple[IntArray, FloatArray]:
    """What the heads should say of whole pictures.

    Names: [n, 1 + 5 * 3 + 4] (background; shape, colour and size by place, 0 for none; characters, 0 for none).
    Covers: [n, 16, shapes + colours], 0-1.
    """
    names = np.zeros((len(scenes), 1 + 3 * len(PLACES) + 4), np.int64)
    covers = np.zeros((len(scenes), TOKENS, len(SHAPES) + len(COLOURS)), np.float32)
    for name, cover, scene in zip(names, covers, scenes, strict=True):
        name[0] = COLOURS.index(scene.background)
        masks = coverage(scene, GRID // MERGE)
        for thing, mask in zip(scene.things, masks, strict=True):
            shape, colour = SHAPES.index(thing.shape), COLOURS.index(thing.colour)
            first = 1 + 3 * PLACES.index(thing.place)
            name[first : first + 3] = shape + 1, colour + 1, 1 + (thing.size == "big")
            cover[:, shape] += mask.ravel()
            cover[:, len(SHAPES) + colour] += mask.ravel()
        for i, character in enumerate(scene.word or ""):
            name[16 + i] = CHARACTERS.index(character) + 1
    return names, covers.clip(0, 1)


def sight_loss(heads: Heads, merged: Tensor, names: Tensor, covers: Tensor) -> Tensor:
    """How far the tokens of whole pictures [n, 16, width] are from `targets`."""
    places = merged[:, list(_PLACE_TOKENS)]
    characters = merged[:, list(_CHARACTER_TOKENS)]
    by_place = names[:, 1:16].view(-1, len(PLACES), 3)
    loss = F.cross_entropy(heads.background(merged[:, _BACKGROUND_TOKEN]), names[:, 0])
    for i, head in enumerate((heads.shape, heads.colour, heads.size)):
        loss = loss + len(PLACES) * F.cross_entropy(head(places).flatten(0, 1), by_place[..., i].flatten())
    loss = loss + 4 * F.cross_entropy(heads.character(characters).flatten(0, 1), names[:, 16:].flatten())
    # Which token it is: attention only knows positions relative to each other, and answers ask where things are.
    which = torch.arange(TOKENS).expand(len(merged), TOKENS)
    loss = loss + F.cross_entropy(heads.where(merged).flatten(0, 1), which.flatten())
    return loss + 10 * F.binary_cross_entropy_with_logits(heads.cover(merged), covers)


class Sight(nn.Module):
    """A vision tower with its heads."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual
        self.heads = Heads()


def _strips(count: int, rng: np.random.Generator) -> tuple[FloatArray, IntArray]:
    """Only the lowest row of tokens, [count, 16, -1], with words in it, and their characters [count, 4]: cheap."""
    scenes = [random_scene(rng, things=(1.0,), word=0.97) for _ in range(count)]
    pixels = patches(np.stack([worn(render(s), rng)[_STRIP_TOP:] for s in scenes]))
    names = np.zeros((count, 4), np.int64)
    for name, scene in zip(names, scenes, strict=True):
        for i, character in enumerate(scene.word or ""):
            name[i] = CHARACTERS.index(character) + 1
    return pixels, names


def learn(steps: int, lr: float, start: Path | None = None, *, pictures: int = 32, strips: int = 48) -> Sight:
    """Train a vision tower, from nothing or from a file that was kept before; the run is called `vlm-sight`."""
    torch.manual_seed(7)
    sight = Sight(qwen.Qwen2_5_VisionTransformerPretrainedModel(configuration(1000).vision_config))
    if start:
        sight.load_state_dict(torch.load(start, weights_only=True), strict=False)

    def loss_of(_: int, rng: np.random.Generator) -> Tensor:
        scenes = [random_scene(rng, things=(0.02, 0.32, 0.33, 0.33), word=0.35) for _ in range(pictures)]
        names, covers = map(torch.from_numpy, targets(scenes))
        pixels = torch.from_numpy(patches(np.stack([worn(render(s), rng) for s in scenes])))
        strip_pixels, strip_names = map(torch.from_numpy, _strips(strips, rng))
        merged = look(sight.visual, pixels)
        words = sight.heads.character(look(sight.visual, strip_pixels, rows=MERGE))
        loss = sight_loss(sight.heads, merged, names, covers)
        return loss.float() + 2 * F.cross_entropy(words.float().flatten(0, 1), strip_names.flatten())

    fit("vlm-sight", sight, loss_of, Schedule(steps=steps, lr=lr, warmup=100, weight_decay=0.02, ema=0.997))
    return sight


@torch.no_grad()
def accuracy(sight: Sight, count: int = 500) -> dict[str, float]:
    """How often the heads are right on new scenes, in all of a picture's places or characters at once."""
    rng = np.random.default_rng(987_654_321)
    scenes = [random_scene(rng, things=(0.0, 0.4, 0.3, 0.3), word=0.4) for _ in range(count)]
    names = torch.from_numpy(targets(scenes)[0])
    merged = look(sight.visual, torch.from_numpy(patches(np.stack([np.asarray(render(s)) for s in scenes]))))
    places, by_place = merged[:, list(_PLACE_TOKENS)], names[:, 1:16].view(-1, len(PLACES), 3)
    heads = sight.heads
    right = {"background": heads.background(merged[:, 0]).argmax(-1) == names[:, 0]}
    for i, (kind, head) in enumerate((("shape", heads.shape), ("colour", heads.colour), ("size", heads.size))):
        right[kind] = (head(places).argmax(-1) == by_place[..., i]).all(1)
    worded = torch.tensor([s.word is not None for s in scenes])
    characters = heads.character(merged[:, list(_CHARACTER_TOKENS)]).argmax(-1) == names[:, 16:]
    right["word"] = characters.all(1)[worded]
    right["no word"] = characters.all(1)[~worded]
    return {kind: value.float().mean().item() for kind, value in right.items()}


def main() -> None:
    """Train, print how well it sees, and keep the tower for `training.vlm`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--start", type=Path, help="go on from this sight.pt")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sight = learn(arguments.steps, arguments.lr, arguments.start)
    sight.eval()
    print(accuracy(sight))
    torch.save(sight.state_dict(), kept())


def kept() -> Path:
    """Where the trained tower and its heads lie."""
    return RUNS / "vlm-sight" / "sight.pt"


if __name__ == "__main__":
    main()
