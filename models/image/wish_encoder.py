"""The built-in picture model's text encoder, which stands where FLUX has its T5.

It reads a prompt as a *wish*, a few numbers that say what is drawn where on which ground, or how a picture is to be
changed; and tells what each thing looks like and where it stands. A thing is sixteen vectors, one for each part of its
drawing: so the transformer, which all things share, need not know any by heart.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel, T5Config, T5EncoderModel

from models.image.autoencoder import ready
from models.image.draft import Layout
from models.image.wishes import CELLS, DRAWING, FIELDS, FIGURES, GLOBALS, PARTS, SHAPE, Conditioning
from models.packed import unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

_WHAT: Final = [FIELDS.index(f"what {number}") for number in range(FIGURES)]
_WEIGHTS: Final = "model.safetensors"
__all__ = [
    "PreTrainedModel",  # diffusers looks for the base class where the class is
    "Reading",
    "Telling",
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
        weights = unpacked(load_file(Path(folder) / _WEIGHTS))
        encoder.load_state_dict({"encoder.embed_tokens.weight": weights["shared.weight"], **weights})
        return ready(encoder, asked)
