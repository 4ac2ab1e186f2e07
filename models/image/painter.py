"""The built-in picture model's own components, as `FluxPipeline` and `FluxKontextPipeline` use them.

`WishEncoder` stands where FLUX has its T5. It reads a prompt as a *wish*, a few numbers that say what is drawn where on
which ground, or how a picture is to be changed; and tells what each thing looks like and where it stands. A thing is
sixteen vectors, one for each part of its drawing: so the `PaintingTransformer`, which all things share, need not know
any by heart. It begins each picture from a draft (`models.image.draft`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import Decoder
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel, T5Config, T5EncoderModel

from models.image.draft import (
    CELLS,
    CHANNELS,
    DRAFTED,
    DRAWING,
    FIELDS,
    FIGURES,
    GLOBALS,
    PARTS,
    SHAPE,
    Conditioning,
    Draft,
    Finder,
    Layout,
    WishTokens,
)
from models.packed import unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_WHAT: Final = [FIELDS.index(f"what {number}") for number in range(FIGURES)]
_WIDENED: Final = "decoder_widened"
"""What says in an autoencoder's configuration how much wider its decoder is."""
_WEIGHTS_OF_TEXT: Final = "model.safetensors"
__all__ = [
    "ModelMixin",  # diffusers looks for the base class where the class is
    "PackedAutoencoder",
    "PaintingTransformer",
    "PreTrainedModel",
    "WishConfig",
    "WishEncoder",
]


class WishConfig(T5Config):  # type: ignore[misc]
    """The sizes of a `WishEncoder`: those of a T5 encoder, and its own.

    Attributes:
        answers: how many values each of `FIELDS` has, 0 among them.
        shapes: so many numbers of "what", from 1, are shapes: they have a colour where other things have a design,
            and so has 0, what is not named.
        drawings: how many of them it knows; 0 is none.
        code: numbers of each of a drawing's vectors.
    """

    model_type = "wishes"

    def __init__(
        self,
        answers: Sequence[int] = (2,) * len(FIELDS),
        shapes: int = 0,
        drawings: int = 1,
        code: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.answers = list(answers)
        self.shapes = shapes
        self.drawings = drawings
        self.code = code

    @property
    def values(self) -> dict[str, int]:
        """How many values each field has, by its name."""
        return dict(zip(FIELDS, self.answers, strict=True))


class Reading(nn.Module):
    """What the encoder made of a prompt into a wish: a question to it for each field."""

    def __init__(self, config: WishConfig) -> None:
        super().__init__()
        width = config.d_model
        self.questions = nn.Parameter(torch.randn(len(FIELDS), width))
        self.attention = nn.MultiheadAttention(width, config.num_heads, batch_first=True)
        self.heads = nn.ModuleList(nn.Linear(width, count) for count in config.answers)

    def forward(self, sequence: torch.Tensor) -> list[torch.Tensor]:
        """[n, length, width] -> the logits of each field [n, values]."""
        questions = self.questions.expand(len(sequence), -1, -1)
        heard = self.attention(questions, sequence, sequence, need_weights=False)[0]
        return [head(heard[:, field]).float() for field, head in enumerate(self.heads)]


class Telling(nn.Module):
    """What the transformer is told of wishes: what each thing looks like, and where it stands."""

    def __init__(self, config: WishConfig) -> None:
        super().__init__()
        self._shapes = config.shapes
        self.code = config.code
        named = config.values
        self.drawings = nn.Embedding(config.drawings, CELLS * config.code)
        ways = max(named["colour 0"], named["design"])
        self.register_buffer("drawing_of", torch.zeros(named["what 0"], ways, dtype=torch.int64))
        self.drawing_of: torch.Tensor
        self.layout = Layout(config.answers)

    def fields(self, wishes: torch.Tensor) -> torch.Tensor:
        """Those of wishes int64 [n, fields] as the transformer is told them: `Conditioning.fields`."""
        fields = wishes.clone()
        what = fields[:, _WHAT]
        fields[:, _WHAT] = torch.where(what > self._shapes, DRAWING, what.clamp(max=SHAPE))
        return fields

    def told(self, wishes: torch.Tensor) -> Conditioning:
        """Of wishes int64 [n, fields]."""
        figures = wishes[:, len(GLOBALS) :].reshape(-1, FIGURES, len(PARTS))
        what, colour = figures[..., 0], figures[..., 1]
        drawings = self.drawing_of[what, torch.where(what <= self._shapes, colour, wishes[:, 1:2])]
        fields = self.fields(wishes)
        where = self.layout(fields) * (what > 0)[..., None]
        return Conditioning(fields, self.drawings(drawings).view(*what.shape, CELLS, -1), where)

    def forward(self, wishes: torch.Tensor) -> torch.Tensor:
        """Wishes int64 [n, fields] -> [n, 2 + 3 * 16, code]."""
        return self.told(wishes).rows()


class WishEncoder(T5EncoderModel):  # type: ignore[misc]
    """Prompts into what the transformer attends to, as `FluxPipeline` asks its `text_encoder_2`."""

    config_class = WishConfig

    def __init__(self, config: WishConfig) -> None:
        super().__init__(config)
        self.reading = Reading(config)
        self.telling = Telling(config)
        self.post_init()

    def answers(self, input_ids: torch.Tensor) -> list[torch.Tensor]:
        """What prompts [n, length] may ask for: the logits of each field [n, values]."""
        return self.reading(super().forward(input_ids)[0])  # type: ignore[no-any-return]

    def wishes(self, input_ids: torch.Tensor) -> torch.Tensor:
        """What they most likely ask for: int64 [n, fields]. What a scene has stands somewhere in it."""
        answers = dict(zip(FIELDS, self.answers(input_ids), strict=True))
        said = {field: logits.argmax(1) for field, logits in answers.items()}
        for number in range(FIGURES):
            field = f"place {number}"
            is_placed = (said["kind"] == 0) & (said[f"what {number}"] > 0)
            said[field] = torch.where(is_placed, 1 + answers[field][:, 1:].argmax(1), said[field])
        return torch.stack(list(said.values()), 1)

    def forward(self, input_ids: torch.Tensor, output_hidden_states: bool = False) -> tuple[torch.Tensor]:  # noqa: ARG002
        """Token ids [n, length] -> ([n, 50, code],), the rows of `Conditioning`."""
        return (self.telling(self.wishes(input_ids)),)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **asked: Any) -> Self:
        """From a folder, whose weights may be packed in 8 bits, in the `dtype` that is asked for."""
        encoder = cls(WishConfig.from_pretrained(folder))
        weights = unpacked(load_file(Path(folder) / _WEIGHTS_OF_TEXT))
        encoder.load_state_dict({"encoder.embed_tokens.weight": weights["shared.weight"], **weights})
        return _ready(encoder, asked)  # type: ignore[no-any-return]


class PaintingTransformer(FluxTransformer2DModel):  # type: ignore[misc]
    """FLUX's transformer, which sees a draft of the picture, and the picture that is to be changed, behind the noise.

    Both are further channels of the noisy latents, as in FLUX.1 Canny and Fill: what stays is copied from where it is,
    in a sequence of 64 + 19. Its weights may be packed in 8 bits on disk.

    Args:
        answers: how many values each of `FIELDS` has.
        code: numbers of each of a drawing's vectors.

    The other arguments are those of `FluxTransformer2DModel`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        patch_size: int = 1,
        in_channels: int = 4 * CHANNELS,
        out_channels: int | None = None,
        num_layers: int = 0,
        num_single_layers: int = 8,
        attention_head_dim: int = 32,
        num_attention_heads: int = 5,
        joint_attention_dim: int = 128,
        pooled_projection_dim: int = 16,
        guidance_embeds: bool = False,
        axes_dims_rope: tuple[int, int, int] = (8, 12, 12),
        answers: Sequence[int] = (2,) * len(FIELDS),
        code: int = 128,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            in_channels=in_channels,
            out_channels=out_channels,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            pooled_projection_dim=pooled_projection_dim,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=axes_dims_rope,
        )
        values = dict(zip(FIELDS, answers, strict=True))
        self.x_embedder = nn.Linear(2 * in_channels + 1 + DRAFTED, self.inner_dim)
        self.draft = Draft(values, code)
        self.words = WishTokens(values, code, joint_attention_dim)
        self.finder = Finder(values, code)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        img_ids: torch.Tensor,
        return_dict: bool = True,
        **given: Any,
    ) -> Any:
        """As FLUX's: tokens [n, length, 32] at `img_ids` [length, 3], those of a reference behind the noisy ones.

        Returns the velocities of the noisy ones alone.
        """
        told = Conditioning.of(encoder_hidden_states)
        of_noise = img_ids[:, 0] == 0
        height, width = _grid(img_ids[of_noise])
        noisy, reference, found = hidden_states[:, of_noise], None, told.where.new_zeros(len(told.where), 3)
        if not of_noise.all():
            rows, columns = grid = _grid(img_ids[~of_noise])
            reference = _filling(hidden_states[:, -rows * columns :].contiguous(), grid, (height, width))
            found = self.finder.find(told, reference, height, width)
        given |= {"timestep": timestep, "return_dict": return_dict}
        return self.paint(noisy, told, found, reference, height, width, **given)

    def paint(
        self,
        noisy: torch.Tensor,
        told: Conditioning,
        found: torch.Tensor,
        reference: torch.Tensor | None,
        height: int,
        width: int,
        **given: Any,
    ) -> Any:
        """The velocities of noisy tokens [n, height * width, 32]; the reference, if there is one, has as many.

        `found` [n, 3] is where in it the thing is that a change is about, as in `drawn_where`.
        """
        drafted = self.draft(told, found, height, width).to(noisy.dtype)
        behind = torch.zeros_like(noisy) if reference is None else reference
        is_there = torch.full_like(noisy[..., :1], reference is not None)
        words = self.words(told)
        return super().forward(
            hidden_states=torch.cat([noisy, behind, is_there, drafted], 2),
            encoder_hidden_states=words,
            img_ids=_positions(height, width, noisy.device),
            **given | {"txt_ids": torch.zeros(words.shape[1], 3, device=noisy.device)},
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path, **asked: Any) -> Self:
        """From a folder, in the `torch_dtype` or `dtype` that is asked for."""
        return _filled(cls.from_config(cls.load_config(folder)), folder, asked)  # type: ignore[no-any-return]


class PackedAutoencoder(AutoencoderKL):  # type: ignore[misc]
    """FLUX's autoencoder, whose weights may be packed in 8 bits on disk, and whose decoder may be the wider half."""

    def widen_decoder(self, factor: float) -> None:
        """Put an untrained decoder with `factor` times as many channels, and groups of them, in the decoder's place."""
        config = self.config
        self.decoder = Decoder(
            in_channels=config.latent_channels,
            out_channels=config.out_channels,
            up_block_types=config.up_block_types,
            block_out_channels=[int(factor * width) for width in config.block_out_channels],
            layers_per_block=config.layers_per_block,
            norm_num_groups=int(factor * config.norm_num_groups),
            act_fn=config.act_fn,
            mid_block_add_attention=config.mid_block_add_attention,
        )
        self.register_to_config(**{_WIDENED: factor})

    @classmethod
    def from_pretrained(cls, folder: str | Path, **asked: Any) -> Self:
        """From a folder, in the `torch_dtype` or `dtype` that is asked for."""
        config = dict(cls.load_config(folder))
        factor = config.pop(_WIDENED, None)
        autoencoder = cls.from_config(config)
        if factor is not None:
            autoencoder.widen_decoder(factor)
        return _filled(autoencoder, folder, asked)  # type: ignore[no-any-return]


def _positions(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Float32 [tokens, 3], as `FluxPipeline` gives them: 0, row, column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).view(-1, 3).float().to(device)


def _grid(ids: torch.Tensor) -> tuple[int, int]:
    """Rows and columns of a picture's tokens, from their positions."""
    rows, columns = (ids[:, 1:].amax(0) - ids[:, 1:].amin(0) + 1).long().tolist()
    return rows, columns


def _filling(tokens: torch.Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> torch.Tensor:
    """A picture's tokens [n, rows * columns, 32] as those of its middle, in a picture of another shape or size."""
    if grid == wanted:
        return tokens
    scale = max(sought / count for sought, count in zip(wanted, grid, strict=True))
    latents = functional.pixel_shuffle(tokens.transpose(1, 2).reshape(len(tokens), -1, *grid), 2)
    if scale != 1:
        sizes = [round(2 * count * scale) for count in grid]
        latents = functional.interpolate(latents.float(), sizes, mode="bilinear", antialias=True).to(tokens.dtype)
    top, left = ((have - 2 * sought) // 2 for have, sought in zip(latents.shape[2:], wanted, strict=True))
    latents = latents[:, :, top : top + 2 * wanted[0], left : left + 2 * wanted[1]]
    return functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2).contiguous()


def _filled(part: ModelMixin, folder: str | Path, asked: Mapping[str, Any]) -> Any:
    part.load_state_dict(unpacked(load_file(Path(folder) / _WEIGHTS)))
    return _ready(part, asked)


def _ready(part: nn.Module, asked: Mapping[str, Any]) -> Any:
    # Diffusers says `torch_dtype` to its own classes and `dtype` to those of transformers. Its own `to` warns of parts
    # that want float32; there are none here.
    return nn.Module.to(part, asked.get("torch_dtype") or asked.get("dtype") or torch.float32).eval()
