"""What the built-in picture model makes of a prompt: which things are wished for, and what each of them looks like.

`WishEncoder` stands where FLUX has its T5. It reads a prompt as a *wish*, a few numbers that say what is drawn where on
which ground, or how a picture is to be changed; and says the wish in the transformer's words. A thing is sixteen
vectors, one for each part of its drawing: so the transformer, which all things share, need not know any by heart.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, ModelMixin
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel, T5Config, T5EncoderModel

from models.packed import unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIGURES: Final = 3
"""Things of a wish at most; of a change the first is what it is about, the second what becomes of it."""
GLOBALS: Final = ("kind", "design", "ground", "relation")
PARTS: Final = ("what", "colour", "size", "place")
FIELDS: Final = (*GLOBALS, *(f"{part} {number}" for number in range(FIGURES) for part in PARTS))
"""What a wish says, one number each; 0 where it says nothing."""
CELLS: Final = 16
"""Vectors of a thing."""
_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_WEIGHTS_OF_TEXT: Final = "model.safetensors"
__all__ = [
    "ModelMixin",  # diffusers looks for the base class where the class is
    "PackedAutoencoder",
    "PackedTransformer",
    "PreTrainedModel",
    "WishConfig",
    "WishEncoder",
]


class WishConfig(T5Config):  # type: ignore[misc]
    """The sizes of a `WishEncoder`: those of a T5 encoder, and its own.

    Attributes:
        answers: how many values each of `FIELDS` has, 0 among them.
        shapes: so many numbers of "what", from 1, are shapes: they have a colour where other things have a design.
        drawings: how many of them it knows; 0 is none.
        code: numbers of each of a drawing's vectors.
        said: numbers of each vector that it tells the transformer.
    """

    model_type = "wishes"

    def __init__(
        self,
        answers: Sequence[int] = (2,) * len(FIELDS),
        shapes: int = 0,
        drawings: int = 1,
        code: int = 64,
        said: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.answers = list(answers)
        self.shapes = shapes
        self.drawings = drawings
        self.code = code
        self.said = said

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
    """Wishes into what the transformer attends to: a vector for each global field, sixteen for each thing."""

    def __init__(self, config: WishConfig) -> None:
        super().__init__()
        said = config.said
        self._shapes = config.shapes
        named = config.values
        self.drawings = nn.Embedding(config.drawings, CELLS * config.code)
        ways = max(named["colour 0"], named["design"])
        self.register_buffer("drawing_of", torch.zeros(named["what 0"], ways, dtype=torch.int64))
        self.drawing_of: torch.Tensor
        self.draw = nn.Linear(config.code, said)
        self.cells = nn.Parameter(torch.randn(CELLS, said))
        self.slots = nn.Parameter(torch.randn(FIGURES, said))
        self.globals = nn.ModuleList(nn.Embedding(named[name], said) for name in GLOBALS)
        self.about = nn.ModuleList(
            nn.Embedding(named[name], said) for name in ("size 0", "place 0", "kind", "relation")
        )
        self.attributes = nn.Linear(said, said)

    def forward(self, wishes: torch.Tensor) -> torch.Tensor:
        """Wishes int64 [n, fields] -> [n, 4 + 3 * 16, said]."""
        kind, design, _, relation = wishes[:, : len(GLOBALS)].unbind(1)
        figures = wishes[:, len(GLOBALS) :].reshape(-1, FIGURES, len(PARTS))
        what, colour, size, place = figures.unbind(2)
        drawings = self.drawing_of[what, torch.where(what <= self._shapes, colour, design[:, None])]
        seen = self.draw(self.drawings(drawings).unflatten(-1, (CELLS, -1)))
        values = (size, place, kind[:, None].expand_as(size), relation[:, None].expand_as(size))
        about = torch.stack([embed(value) for embed, value in zip(self.about, values, strict=True)]).sum(0) + self.slots
        things = seen + self.cells + self.attributes(nn.functional.silu(about))[:, :, None]
        whole = [embed(wishes[:, field]) for field, embed in enumerate(self.globals)]
        return torch.cat([torch.stack(whole, 1), things.flatten(1, 2)], 1)


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
        """What they most likely ask for: int64 [n, fields]."""
        return torch.stack([logits.argmax(1) for logits in self.answers(input_ids)], 1)

    def forward(self, input_ids: torch.Tensor, output_hidden_states: bool = False) -> tuple[torch.Tensor]:  # noqa: ARG002
        """Token ids [n, length] -> ([n, 52, said],)."""
        return (self.telling(self.wishes(input_ids)),)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **asked: Any) -> Self:
        """From a folder, whose weights may be packed in 8 bits, in the `dtype` that is asked for."""
        encoder = cls(WishConfig.from_pretrained(folder))
        weights = unpacked(load_file(Path(folder) / _WEIGHTS_OF_TEXT))
        encoder.load_state_dict({"encoder.embed_tokens.weight": weights["shared.weight"], **weights})
        return _ready(encoder, asked)  # type: ignore[no-any-return]


class PackedTransformer(FluxTransformer2DModel):  # type: ignore[misc]
    """FLUX's transformer, whose weights may be packed in 8 bits on disk."""

    @classmethod
    def from_pretrained(cls, folder: str | Path, **asked: Any) -> Self:
        """From a folder, in the `torch_dtype` or `dtype` that is asked for."""
        return _from_folder(cls, folder, asked)  # type: ignore[no-any-return]


class PackedAutoencoder(AutoencoderKL):  # type: ignore[misc]
    """FLUX's autoencoder, whose weights may be packed in 8 bits on disk."""

    @classmethod
    def from_pretrained(cls, folder: str | Path, **asked: Any) -> Self:
        """From a folder, in the `torch_dtype` or `dtype` that is asked for."""
        return _from_folder(cls, folder, asked)  # type: ignore[no-any-return]


def _from_folder(kind: type[ModelMixin], folder: str | Path, asked: Mapping[str, Any]) -> Any:
    part = kind.from_config(kind.load_config(folder))
    part.load_state_dict(unpacked(load_file(Path(folder) / _WEIGHTS)))
    return _ready(part, asked)


def _ready(part: nn.Module, asked: Mapping[str, Any]) -> Any:
    # Diffusers says `torch_dtype` to its own classes and `dtype` to those of transformers. Its own `to` warns of parts
    # that want float32; there are none here.
    return nn.Module.to(part, asked.get("torch_dtype") or asked.get("dtype") or torch.float32).eval()
