"""Wishes for pictures of even things, and an untrained transformer that draws them."""

from __future__ import annotations

import torch
from diffusers import FluxPipeline

from models.image.autoencoder import LayeredAutoencoder, PackedAutoencoder
from models.image.cut_outs import GREY
from models.image.draft import CHANNELS, parts_of
from models.image.layers import as_tokens
from models.image.painter import PaintingTransformer
from models.image.wishes import CELLS, FIELDS, FIGURES, Conditioning

RED = torch.tensor([0.8, -0.9, -0.8]).view(1, 3, 1, 1)
BLUE = torch.tensor([-0.9, -0.8, 0.8]).view(1, 3, 1, 1)
YELLOW = torch.tensor([0.9, 0.8, -0.9]).view(1, 3, 1, 1)
PAINTED = 4 * CHANNELS
"""Numbers of a token's latents in the lower layer."""
VALUES = dict.fromkeys(FIELDS, 7)
CODE = 144
"""Enough for a drawing's codes to be its latents."""


def plain(colour: torch.Tensor, side: int = 128) -> torch.Tensor:
    """A picture of one colour."""
    return colour.expand(-1, -1, side, side).clone()


def with_square(ground: torch.Tensor, colour: torch.Tensor, first: int = 40, last: int = 88) -> torch.Tensor:
    """A square on a ground."""
    picture = ground.clone()
    picture[..., first:last, first:last] = colour
    return picture


def grey(side: int = 128) -> torch.Tensor:
    """What drawings stand on."""
    return torch.full((1, 3, side, side), GREY / 127.5 - 1)


def told(count: int = 1, **fields: int) -> Conditioning:
    """The same wish `count` times: things of one even latent each, with holes nowhere."""
    wish = torch.tensor([[fields.get(name.replace(" ", "_"), 0) for name in FIELDS]] * count)
    shown = torch.ones(count * FIGURES, CHANNELS + 1, 16, 16)
    shown[:, :CHANNELS] *= torch.arange(1.0, FIGURES + 1).repeat(count).view(-1, 1, 1, 1)
    return Conditioning(wish, parts_of(shown).view(count, FIGURES, CELLS, CODE), torch.zeros(count, FIGURES, 3))


def placed(of: Conditioning, *where: tuple[float, float, float]) -> Conditioning:
    at = torch.tensor([*where, *[(0.0, 0.0, 0.0)] * (FIGURES - len(where))])
    return Conditioning(of.fields, of.codes, at.expand(len(of.fields), -1, -1))


def autoencoder() -> PackedAutoencoder:
    """A small one that has learnt nothing."""
    torch.manual_seed(1)
    built: PackedAutoencoder = PackedAutoencoder(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4, norm_num_groups=4, latent_channels=CHANNELS, mid_block_add_attention=False,
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.4, shift_factor=-0.02,
    )  # fmt: skip
    built.eval()
    return built


def painter() -> PaintingTransformer:
    """With the small autoencoder, and drawings whose codes are their latents."""
    torch.manual_seed(0)
    built: PaintingTransformer = PaintingTransformer(
        num_single_layers=1, attention_head_dim=32, num_attention_heads=5, joint_attention_dim=128,
        pooled_projection_dim=16, axes_dims_rope=(8, 12, 12), answers=[7] * len(FIELDS), code=CODE,
    )  # fmt: skip
    built.eval()
    with torch.no_grad():
        built.draft.basis.copy_(torch.eye(CODE))
    return built.see_through(autoencoder())


def ids(height: int, width: int, *, of_reference: bool = False) -> torch.Tensor:
    """Positions of a picture of so many tokens."""
    made: torch.Tensor = FluxPipeline._prepare_latent_image_ids(1, height, width, torch.device("cpu"), torch.float32)
    made[:, 0] = float(of_reference)
    return made


def of_picture(pixels: torch.Tensor) -> torch.Tensor:
    """Tokens of a reference."""
    vae = LayeredAutoencoder.of(autoencoder())
    with torch.no_grad():
        return as_tokens(vae.latents_of(pixels))


def velocity(
    model: PaintingTransformer, wish: Conditioning, tokens: torch.Tensor, at: torch.Tensor, time: float = 1.0
) -> torch.Tensor:
    """What the transformer makes of tokens [n, length, 1056]."""
    with torch.no_grad():
        given = {"timestep": torch.full((len(tokens),), time), "pooled_projections": torch.zeros(len(tokens), 16)}
        found: torch.Tensor = model(
            tokens, wish.rows(), img_ids=at, txt_ids=torch.zeros(1, 3), return_dict=False, **given
        )[0]
    return found
