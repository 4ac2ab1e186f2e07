"""The autoencoder of the image model: 64x64 pixels to 8 channels of 16x16 and back.

It learns on pictures drawn afresh for every batch, so it never sees one twice. A strong pull towards N(0, 1) keeps the
latents smooth and the decoder forgiving, which the flow transformer is grateful for; one picture in ten has strange
colours, so that what a user brings (for an edit) is not painted over in the world's own.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL

from training.loop import Schedule, fit
from training.world import SIDE, Scene, random_scene, render

CHANNELS = 8
BATCH = 32
_CROPS = 48
_CROPPED = 0.7
"""Share of the steps that see quarters of pictures."""
_KL_WEIGHT = 2e-4
_STRANGE = 0.1
_NOISE = 0.1
"""Added to the latents before decoding, so that the decoder forgives what the transformer gets slightly wrong."""


def build_vae() -> AutoencoderKL:
    """About 0.65 M parameters, x4 smaller on each side; no attention, so that latents stay local."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
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


def pixels_of(scenes: list[Scene]) -> torch.Tensor:
    """Float32 [n, 3, 64, 64] in -1..1."""
    drawn = np.stack([np.asarray(render(scene)) for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_vae(vae: AutoencoderKL, steps: int) -> None:
    """Train in place (log: `.runs/image/vae`), then set the factors that make latents zero-mean and unit-variance.

    The first steps see only quarters of pictures, cut around a thing: a quarter of the work, and more to see.
    """

    def loss_of(step: int, rng: np.random.Generator) -> torch.Tensor:
        near = step < _CROPPED * steps
        count = _CROPS if near else BATCH
        scenes = [random_scene(rng, things=(0.05, 0.3, 0.3, 0.35), word=0.1) for _ in range(count)]
        pixels = pixels_of(scenes)
        strange = int(count * _STRANGE)
        pixels[:strange] = pixels[:strange, torch.as_tensor(rng.permutation(3))] * float(rng.uniform(-1, 1))
        return reconstruction_loss(vae, torch.stack(list(map(_cut, pixels, scenes, [rng] * count))) if near else pixels)

    fit("image/vae", vae, loss_of, Schedule(steps=steps, lr=2e-3, weight_decay=1e-4, ema=0.995, seed=11))
    measure_latents(vae)


def _cut(picture: torch.Tensor, scene: Scene, rng: np.random.Generator) -> torch.Tensor:
    """A window of 32x32 with (most of) one of the things."""
    centre = scene.things[rng.integers(len(scene.things))].centre if scene.things else (32.0, 56.0)
    left, top = (int(np.clip(c - 16 + rng.integers(-8, 9), 0, SIDE // 2)) for c in centre)
    return picture[:, top : top + SIDE // 2, left : left + SIDE // 2]


def reconstruction_loss(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """L1 and L2 on pixels and L1 on their differences (edges), plus the pull towards N(0, 1), per element."""
    with torch.autocast(pixels.device.type, torch.bfloat16):
        posterior = vae.encode(pixels).latent_dist
        latents = posterior.sample()
        decoded = vae.decode(latents + _NOISE * torch.randn_like(latents)).sample
    decoded = decoded.float()
    edges = F.l1_loss(decoded.diff(dim=-1), pixels.diff(dim=-1)) + F.l1_loss(decoded.diff(dim=-2), pixels.diff(dim=-2))
    kl: torch.Tensor = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
    return F.l1_loss(decoded, pixels) + F.mse_loss(decoded, pixels) + edges + _KL_WEIGHT * kl


@torch.no_grad()
def measure_latents(vae: AutoencoderKL) -> None:
    """Put `scaling_factor` and `shift_factor` of the mean latents of 512 scenes into the configuration."""
    rng = np.random.default_rng((11, 1 << 40))
    latents = torch.cat(
        [vae.encode(pixels_of([random_scene(rng) for _ in range(64)])).latent_dist.mean for _ in range(8)]
    )
    vae.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean()))


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """The transformer's tokens of pictures: float32 [n, 64, 32], packed 2x2 as `FluxPipeline` packs them."""
    latents = (vae.encode(pixels).latent_dist.mean - vae.config.shift_factor) * vae.config.scaling_factor
    count, channels, height, width = latents.shape
    folded = latents.view(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    tokens: torch.Tensor = folded.reshape(count, height // 2 * (width // 2), channels * 4)
    return tokens
