"""What the built-in describer sees: an EfficientNet that ImageNet taught, and how its cells become tokens to read.

A picture is cut into cells of 32 pixels a side. Of a drawing it is found, by what three stages of the network made of
each cell, which thing it is of, what the ground is, how many things there are and which letters: that becomes its
token. Of a photograph the network's own guess is all that is trusted: every token says which of ImageNet's classes it
may show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2VLImageProcessor
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import SizeDict
from transformers.modeling_outputs import BaseModelOutputWithPooling

from models.packed import efficientnet
from models.picture_kinds import PictureKind

CELL: Final = 32
"""Pixels a side of what becomes a token."""
SIDE: Final = 224
"""Pixels a side of what is looked at: any picture is squeezed to a square."""
PATCH: Final = CELL // 2
"""Pixels a side of a patch of Qwen2.5-VL's processor; four of them are a cell."""
_GRID: Final = SIDE // CELL
CLASSES: Final = 1000
WIDTH: Final = 1280
"""Numbers of a cell at the end of the network, before they are averaged."""
_FINE: Final = 40 * 16 + 112 * 4
_STAGES: Final = (2, 4)
"""Blocks whose results are read too: cells of 8 and of 16 pixels."""
_KNOWN: Final = 0.12
"""Where a guess has this probability, it is told more clearly than the network says it, which is rarely sure."""
_DOUBT: Final = 0.02
"""Guesses below this probability are not told."""
_SAID: Final = 0.3
"""How large what is told to the language model is at first."""


def load_trunk() -> Any:
    """EfficientNet-Lite0 with its classifier, as its wheel brings it.

    Raises:
        ModuleNotFoundError: the wheel is not installed.
    """
    trunk: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    trunk.load_state_dict(efficientnet(list(trunk.state_dict())))
    # On a CPU this layout is a third faster.
    return trunk.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def cells_of(trunk: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures of one size, float [n, 3, height, width] in -1..1, sides multiples of 32.

    Returns:
        What the last stage made of each cell, float [n, rows, columns, 1280], and what two earlier ones did, float
        [n, rows, columns, 1088].
    """
    seen = trunk.bn1(trunk.conv_stem(pixels))
    fine = []
    for number, block in enumerate(trunk.blocks):
        seen = block(seen)
        if number in _STAGES:
            fine.append(functional.pixel_unshuffle(seen, seen.shape[-1] * CELL // pixels.shape[-1]))
    coarse = trunk.bn2(trunk.conv_head(seen))
    return coarse.permute(0, 2, 3, 1), torch.cat(fine, 1).permute(0, 2, 3, 1)


def glance(trunk: Any, pixels: Tensor) -> Tensor:
    """The mean over its cells of each picture, float [n, 1280], which is seen at half its size.

    It takes a third of the time of `cells_of`, and is enough to tell of which kind a picture is.
    """
    seen: Tensor = trunk.forward_features(functional.avg_pool2d(pixels, 2))
    return seen.mean((2, 3))


@dataclass(frozen=True)
class Found:
    """What is found in n drawings, as scores before softmax.

    Attributes:
        things: float [n, 49, things], of each cell; 0 is nothing, shapes come last.
        colours: float [n, 49, colours], of cells of shapes.
        grounds: float [n, grounds].
        counts: float [n, counts].
        letters: float [n, letters of a word, alphabet], 0 is none.
    """

    things: Tensor
    colours: Tensor
    grounds: Tensor
    counts: Tensor
    letters: Tensor


class Reader(nn.Module):
    """Cells into tokens as wide as the language model is.

    Of a drawing it is decided first what is there. The language model is told that alone, so it speaks of designs that
    nobody has seen as of those that taught it.
    """

    def __init__(
        self,
        width: int,
        *,
        things: int,
        shapes: int,
        colours: int,
        grounds: int,
        counts: int,
        alphabet: int,
        letters: int = 6,
        depth: int = 2,
        heads: int = 8,
    ) -> None:
        """How many there are of each: `things` with nothing and shapes, `alphabet` with none, `letters` of a word."""
        super().__init__()
        self.coarse = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, width))
        self.fine = nn.Sequential(nn.LayerNorm(_FINE), nn.Linear(_FINE, width), nn.GELU(), nn.Linear(width, width))
        self.rows = nn.Embedding(_GRID, width)
        self.columns = nn.Embedding(_GRID, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.things = nn.Linear(width, things)
        self.colours = nn.Linear(width, colours)
        self.grounds = nn.Linear(width, grounds)
        self.counts = nn.Linear(width, counts)
        self.places = nn.Parameter(torch.randn(letters, width) * 0.02)
        self.ask = nn.MultiheadAttention(width, heads, batch_first=True)
        self.letters = nn.Linear(width, alphabet)
        self._shapes = shapes
        sizes = {"thing": things, "colour": colours, "ground": grounds, "count": counts, "letter": alphabet}
        said = {name: nn.Linear(size, width, bias=False) for name, size in sizes.items()}
        for each in said.values():
            nn.init.normal_(each.weight, std=_SAID)
        self.said = nn.ModuleDict(said)
        self.cells = nn.Parameter(torch.randn(_GRID * _GRID, width) * _SAID)
        self.guess = nn.Linear(CLASSES, width)
        self.kinds = nn.Linear(WIDTH, len(PictureKind))

    def drawn(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Tokens of drawings, float [n, 49, width], from `cells_of`."""
        return self.told(self.found(self.seen(coarse, fine)))

    def seen(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """What each cell shows, float [n, 49, width], from `cells_of`."""
        places = self.rows.weight[:, None] + self.columns.weight[None]
        tokens: Tensor = self.blocks((self.coarse(coarse) + self.fine(fine) + places).flatten(1, 2))
        return tokens

    def found(self, seen: Tensor) -> Found:
        """What is there, by what `seen` gives."""
        whole = seen.mean(1)
        asked = self.places.expand(len(seen), -1, -1).to(seen.dtype)
        spelt = self.ask(asked, seen, seen, need_weights=False)[0] + asked
        return Found(
            self.things(seen), self.colours(seen), self.grounds(whole), self.counts(whole), self.letters(spelt)
        )

    def told(self, found: Found) -> Tensor:
        """The same for the language model: float [n, 49, width].

        Each token says of what thing its cell is; where that is a shape, of what colour; the ground and how many things
        there are; and the first ones a letter each.
        """
        things = found.things.softmax(-1)
        of_shapes = things[..., things.shape[-1] - self._shapes :].sum(-1, keepdim=True)
        tokens = self.said["thing"](things) + of_shapes * self.said["colour"](found.colours.softmax(-1))
        whole = self.said["ground"](found.grounds.softmax(-1)) + self.said["count"](found.counts.softmax(-1))
        spelt = self.said["letter"](found.letters.softmax(-1))
        left = tokens.shape[1] - spelt.shape[1]
        told: Tensor = tokens + whole[:, None] + functional.pad(spelt, (0, 0, 0, left)) + self.cells
        return told

    def photographed(self, guesses: Tensor) -> Tensor:
        """One token of each photograph, float [n, width], from the probabilities of ImageNet's classes [n, 1000]."""
        top, sharp = guesses.amax(-1, keepdim=True), guesses.square()
        told = torch.where(top < _KNOWN, guesses, sharp / sharp.sum(-1, keepdim=True))
        told = told * (told > _DOUBT)
        token: Tensor = self.guess(told.sqrt())
        return token

    def kind(self, pooled: Tensor) -> Tensor:
        """Of which `PictureKind` pictures are, int64 [n], from what `glance` makes of them [n, 1280]."""
        likeliest: Tensor = self.kinds(pooled).argmax(-1)
        return likeliest


class Squares(Qwen2VLImageProcessor):  # type: ignore[misc]
    """Qwen's patches of pictures that are squeezed to a square first, as the network saw them when it learnt."""

    def resize(self, images: Tensor, resample: Any, **_: Any) -> Tensor:
        """Any picture to 224x224."""
        square: Tensor = TorchvisionBackend.resize(self, images, SizeDict(height=SIDE, width=SIDE), resample=resample)
        return square


class Eyes(nn.Module):
    """Trunk and reader in the place of Qwen2.5-VL's vision tower."""

    spatial_merge_size: Final = 2

    def __init__(self, trunk: nn.Module, reader: Reader) -> None:
        super().__init__()
        self.trunk: Any = trunk
        self.reader = reader

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are."""
        return self.reader.guess.weight.dtype

    def forward(self, pixel_values: Tensor, grid_thw: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Patches as Qwen2VLImageProcessor cuts them, and for each picture how many: (1, high, wide).

        Returns:
            As `pooler_output` the tokens of all pictures, one after the other, row by row, float [tokens, width].
        """
        tokens = [self._tokens(picture[None]) for picture in pictures_of(pixel_values.to(self.dtype), grid_thw)]
        return BaseModelOutputWithPooling(pooler_output=torch.cat(tokens))

    def kinds(self, pixels: Tensor) -> Tensor:
        """Of which kind pictures are, int64 [n], from float [n, 3, height, width] in -1..1."""
        return self.reader.kind(glance(self.trunk, pixels.to(self.dtype)))

    def _tokens(self, picture: Tensor) -> Tensor:
        coarse, fine = cells_of(self.trunk, picture)
        if int(self.kinds(picture)) != PictureKind.PHOTOGRAPH:
            return self.reader.drawn(coarse, fine)[0]
        guesses = self.trunk.classifier(coarse.mean((1, 2))).float().softmax(-1).to(self.dtype)
        return self.reader.photographed(guesses).expand(coarse.shape[1] * coarse.shape[2], -1)


def pictures_of(patches: Tensor, grid_thw: Tensor) -> list[Tensor]:
    """What Qwen2VLImageProcessor has cut into patches, whole again: float [3, height, width] each.

    Args:
        patches: float [patches of all pictures, 3 * 2 * 16 * 16], cell by cell; every picture is there twice, as the
            two frames of a film that stands still.
        grid_thw: how many patches each picture has: (1, high, wide).
    """
    grids = grid_thw.tolist()
    pictures = []
    for cut, (_, high, wide) in zip(torch.split(patches, [t * h * w for t, h, w in grids]), grids, strict=True):
        parts = cut.reshape(high // 2, wide // 2, 2, 2, 3, 2, PATCH, PATCH)[:, :, :, :, :, 0]
        pictures.append(parts.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, high * PATCH, wide * PATCH))
    return pictures
