"""The autoencoder of the picture model: 128x128 pixels to 8 channels of 16x16 and back.

It leaves few latents, so that a step of the transformer costs little: everything else is the decoder's to know. It
learns on scenes composed afresh for every batch; most steps see windows cut around a thing, which is where there is
something to learn.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL
from rich.progress import track

from models.image.autoencoder import PackedAutoencoder
from models.image.draft import CHANNELS
from models.image.layers import as_tokens
from training.composer.scene import SIDE, Mix, Scene, on_ground, random_scene
from training.loop import Check, LossOf, Schedule, fit, in_bfloat16
from training.picture.wishes import drawing_table
from training.picture.world import (
    World,
    drawing_alone,
    drawn_world,
    has_lettering,
    has_unseen_world,
    to_tensor,
    unseen_world,
)
from training.processes import in_processes

_WINDOW: Final = 64
_MIX: Final = Mix(figures=(0.06, 0.4, 0.34, 0.2), painted=0.55, word=0.06)
_STRANGE: Final = 0.1
_KL_WEIGHT: Final = 2e-4
"""Of a strong pull towards N(0, 1), which keeps latents smooth."""
_NOISE: Final = 0.1
"""Added to the latents before decoding, so that the decoder forgives what the transformer gets slightly wrong."""
_SEED: Final = 71
_PART: Final = 500
_LAST_STAGES: Final = ("decoder.conv_in", "decoder.up_blocks.2", "decoder.up_blocks.3", "decoder.conv_out")
LINED: Final = "room"
"""The ground whose lines are lost."""
_ONE_ALONE: Final = 6
"""Each sixth picture is a drawing alone, as the upper layer of a picture decodes it."""
_NEAR: Final = 0.75
"""Of the steps see windows, the last ones whole pictures."""


def build_autoencoder() -> PackedAutoencoder:
    """1.7 M parameters, x8 smaller on each side; no attention, so that latents stay local."""
    return PackedAutoencoder(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=SIDE,
        scaling_factor=1.0,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def train_autoencoder(vae: AutoencoderKL, schedule: Schedule, batch: int, name: str = "picture/autoencoder") -> None:
    """Train in place (log: `.runs/picture/autoencoder`), then make latents zero-mean and unit-variance."""
    fit(name, vae, _fresh_loss(vae, schedule, batch), schedule, _check(vae))
    measure(vae, drawn_world(words=has_lettering()))


@torch.no_grad()
def grow_decoder(vae: PackedAutoencoder, factor: float) -> None:
    """Make its decoder so many times as wide; it decodes as before until it has learnt to use what it was given.

    Groups that are normalised keep their size, so that those that were there keep their channels.
    """
    before = dict(vae.decoder.named_parameters())
    vae.widen_decoder(factor)
    for name, weight in vae.decoder.named_parameters():
        was = before[name]
        if weight.ndim > 1:
            weight[: len(was), was.shape[1] :] = 0  # what was there does not see what is new
        weight[tuple(slice(count) for count in was.shape)] = was


def train_decoder(vae: AutoencoderKL, schedule: Schedule, batch: int, name: str = "picture/decoder") -> None:
    """Let the decoder alone go on (log: `.runs/picture/decoder`): latents stay as the transformer learns them."""
    vae.encoder.requires_grad_(False)
    fit(name, vae, _fresh_loss(vae, schedule, batch), schedule, _check(vae))


def train_last_stages(
    vae: AutoencoderKL, world: World, schedule: Schedule, batch: int, name: str = "picture/last-stages"
) -> None:
    """Let what of the decoder works at half and full size go on (log: `.runs/picture/last-stages`), on whole pictures.

    In windows around things it has learnt little of fine lines that belong to a ground, and latents do not tell them.
    But where they always run the same, as between the planks of a floor, it can know them by itself.
    """
    for part, weight in vae.named_parameters():
        weight.requires_grad_(part.startswith(_LAST_STAGES) or (part.startswith("decoder.") and weight.ndim == 1))
    shown = drawing_table(world.stock.drawings)[1]
    alone = [drawing_alone(drawing, way, world.stock) for drawing, way in shown.values()]

    def scene_of(number: int, rng: np.random.Generator) -> Scene:
        if number % _ONE_ALONE == 0:
            return alone[int(rng.integers(len(alone)))]
        scene = random_scene(rng, world.stock, _MIX)
        return on_ground(scene, LINED, rng) if number % 2 else scene

    def loss_of(_step: int, rng: np.random.Generator) -> torch.Tensor:
        drawn = [world.composer.compose(scene_of(number, rng)) for number in range(batch)]
        return reconstruction_loss(vae, to_tensor(np.stack(drawn)).to(vae.device))

    fit(name, vae, loss_of, schedule, _check(vae))


def _fresh_loss(vae: AutoencoderKL, schedule: Schedule, batch: int) -> LossOf:
    """What is wrong with scenes that are composed for each step."""
    world = drawn_world(words=has_lettering())

    def loss_of(step: int, rng: np.random.Generator) -> torch.Tensor:
        near = step < _NEAR * schedule.steps
        scenes = [random_scene(rng, world.stock, _MIX) for _ in range(batch if near else max(1, batch // 3))]
        drawn = [world.composer.compose(scene) for scene in scenes]
        pixels = to_tensor(np.stack([_cut(p, s, rng) for p, s in zip(drawn, scenes, strict=True)] if near else drawn))
        strange = int(len(scenes) * _STRANGE)
        pixels[:strange] = pixels[:strange, torch.as_tensor(rng.permutation(3))] * float(rng.uniform(-1, 1))
        return reconstruction_loss(vae, pixels.to(vae.device))

    return loss_of


def train_on_pool(
    vae: AutoencoderKL, pool: torch.Tensor, schedule: Schedule, batch: int, name: str = "picture/autoencoder"
) -> None:
    """The same on pictures that were composed before, uint8 [n, 3, 128, 128] on the autoencoder's device.

    For a machine that could do more steps than one process can compose pictures for.
    """

    def loss_of(step: int, rng: np.random.Generator) -> torch.Tensor:
        near = step < _NEAR * schedule.steps
        count = batch if near else max(1, batch // 3)
        pixels = pool[torch.from_numpy(rng.integers(len(pool), size=count)).to(pool.device)]
        if near:
            left, top = rng.integers(0, SIDE - _WINDOW + 1, 2)
            pixels = pixels[:, :, top : top + _WINDOW, left : left + _WINDOW]
        return reconstruction_loss(vae, pixels.float() / 127.5 - 1)

    fit(name, vae, loss_of, schedule, _check(vae))
    measure(vae, drawn_world())


def make_pool(count: int, workers: int) -> torch.Tensor:
    """So many pictures to learn from, composed by so many processes: uint8 [n, 3, 128, 128]."""
    drawn_world(words=has_lettering()).composer.prepare()
    parts = [(number, _PART) for number in range(-(-count // _PART))]
    drawn = track(in_processes(compose_part, parts, workers), "composing", len(parts))
    return torch.from_numpy(np.concatenate(list(drawn))).permute(0, 3, 1, 2).contiguous()


def compose_part(number: int, count: int) -> np.ndarray:
    """One part of the pool: uint8 [count, 128, 128, 3]."""
    world, rng = drawn_world(words=has_lettering()), np.random.default_rng((_SEED, 1 << 42, number))
    return np.stack([world.composer.compose(random_scene(rng, world.stock, _MIX)) for _ in range(count)])


def _check(vae: AutoencoderKL) -> Check | None:
    if not has_unseen_world():
        return None
    return Check(500, lambda step: print(f"step {step}: {quality(vae, 32):.2f} dB unseen"))


def _cut(pixels: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A window with most of one of the things."""
    centre = scene.figures[int(rng.integers(len(scene.figures)))].centre if scene.figures else (SIDE / 2, SIDE / 2)
    half = _WINDOW // 2
    left, top = (int(np.clip(c - half + rng.integers(-20, 21), 0, SIDE - _WINDOW)) for c in centre)
    return pixels[top : top + _WINDOW, left : left + _WINDOW]


def _fresh(world: World, count: int, seed: int) -> torch.Tensor:
    scenes = [random_scene(np.random.default_rng((_SEED, seed, i)), world.stock) for i in range(count)]
    return to_tensor(np.stack([world.composer.compose(scene) for scene in scenes]))


@torch.no_grad()
def measure(vae: AutoencoderKL, world: World) -> None:
    """Put `scaling_factor` and `shift_factor` of the mean latents of 512 scenes into the configuration."""
    pixels = torch.split(_fresh(world, 512, 1 << 40), 32)
    latents = torch.cat([vae.encode(part.to(vae.device)).latent_dist.mean.cpu() for part in pixels])
    vae.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean()))


@torch.no_grad()
def quality(vae: AutoencoderKL, count: int = 128) -> float:
    """How well it restores scenes in designs that it never saw: mean PSNR in dB."""
    vae.eval()
    pixels = _fresh(unseen_world(), count, 1 << 41)
    found = []
    for part in torch.split(pixels, 16):
        with in_bfloat16(vae.device):
            restored = vae.decode(vae.encode(part.to(vae.device)).latent_dist.mean).sample
        wrong = (restored.float().cpu().clamp(-1, 1) - part).square().mean((1, 2, 3)) / 4
        found.append(-10 * wrong.log10())
    return float(torch.cat(found).mean())


def reconstruction_loss(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """L1 and L2 on pixels and L1 on their differences (edges), plus the pull towards N(0, 1), per element."""
    posterior = vae.encode(pixels).latent_dist
    latents = posterior.sample()
    decoded = vae.decode(latents + _NOISE * torch.randn_like(latents)).sample
    decoded = decoded.float()
    edges = F.l1_loss(decoded.diff(dim=-1), pixels.diff(dim=-1)) + F.l1_loss(decoded.diff(dim=-2), pixels.diff(dim=-2))
    kl: torch.Tensor = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
    return F.l1_loss(decoded, pixels) + F.mse_loss(decoded, pixels) + edges + _KL_WEIGHT * kl


@torch.no_grad()
def encode(vae: PackedAutoencoder, pixels: torch.Tensor) -> torch.Tensor:
    """The transformer's tokens of pictures: float32 [n, 64, 32], packed 2x2 as `FluxPipeline` packs them."""
    return as_tokens(vae.latents_of(pixels))
