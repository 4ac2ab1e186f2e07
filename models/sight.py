"""What the built-in describer sees: an EfficientNet that ImageNet taught, and what a reader finds in its cells.

A picture is cut into cells of 32 pixels a side. Of a drawing it is decided, by what three stages of the network made of
each cell, how many things stand where, which they are, what the ground is and which letters there are: that is what its
tokens say. Of a photograph the network's own guess is all that is trusted: every token says which of ImageNet's classes
it may show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2VLImageProcessor
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import SizeDict
from transformers.modeling_outputs import BaseModelOutputWithPooling

from models.cells import CELL, CLASSES, FINE, WIDTH, Cells, cells_of, glance, strokes_of
from models.picture_kinds import PictureKind
from models.spelling import Speller, read_together, spelt
from models.views import View, seen

SIDE: Final = 224
"""Pixels a side of what is looked at: any picture is squeezed to a square."""
DRAWN: Final = 128
"""Pixels a side of the drawings that taught the reader."""
PATCH: Final = 14
"""Pixels a side of a patch of Qwen2.5-VL's processor."""
MERGE: Final = 4
"""Patches a side of what becomes one token; what a token says is not of these pixels alone, but of the picture."""
TOKENS: Final = (SIDE // PATCH // MERGE) ** 2
"""Of a picture."""
_GRID: Final = SIDE // CELL
_KNOWN: Final = 0.12
"""Where a guess has this probability, it is told more clearly than the network says it, which is rarely sure."""
_DOUBT: Final = 0.02
"""Guesses at a photograph below this probability are not told."""
_UNLIKELY: Final = 0.005
"""What a thing in a drawing is less likely to be than this is not told."""
_SURER: Final = 1.4
"""Scores are multiplied by this: label smoothing made the reader less sure than it is right."""
_THINGS: Final = (View(), View(mirrored=True))
"""How a drawing is looked at to say what stands in it; all else is found as it is."""
_LETTERS: Final = (View(squeezed=(1.1, 1.0)), View(squeezed=(1.0, 1.15)), View(squeezed=(1.15, 1.15)))
"""And where letters stand, to read them: those that taught were narrower and lower."""
_SAID: Final = 0.3
"""How large what is told to the language model is at first."""


@dataclass(frozen=True)
class Found:
    """What is found in n drawings, as scores before softmax.

    Attributes:
        cells: float [n, 49, things], of what each cell is part; 0 is nothing, shapes come last.
        looks: float [n, 49, places], of each cell for being part of what stands there.
        things: float [n, places, things], of what stands there, if anything does.
        colours: float [n, places, colours].
        sizes: float [n, places]: the largest thing has the highest.
        arrangements: float [n, arrangements].
        grounds: float [n, grounds].
    """

    cells: Tensor
    looks: Tensor
    things: Tensor
    colours: Tensor
    sizes: Tensor
    arrangements: Tensor
    grounds: Tensor


@dataclass(frozen=True)
class Shown:
    """What n drawings show.

    Attributes:
        things: int64 [n, places], 0 where nothing stands.
        colours: int64 [n, places], 0 there too.
        largest: bool [n, places], of the things one.
        arrangements: int64 [n].
        grounds: int64 [n].
        letters: int64 [n, letters of a word], 0 for none.
    """

    things: Tensor
    colours: Tensor
    largest: Tensor
    arrangements: Tensor
    grounds: Tensor
    letters: Tensor

    def to(self, device: torch.device) -> Shown:
        """The same on another device."""
        return Shown(*(each.to(device) for each in vars(self).values()))


def believed(scores: Tensor, taken: Tensor) -> Tensor:
    """How likely each thing stands at each place, float [n, places, things]; unlikely ones are left out.

    Args:
        scores: as `Found.things`.
        taken: bool [n, places]; elsewhere there is nothing, for sure.
    """
    likely = functional.pad(scores[..., 1:].softmax(-1), (1, 0))
    nothing = functional.one_hot(torch.zeros_like(taken, dtype=torch.int64), scores.shape[-1])
    return torch.where(taken[..., None], likely * (likely > _UNLIKELY), nothing.to(likely.dtype))


class Reader(nn.Module):
    """What drawings show, and tokens that tell it, as wide as the language model is.

    All is found before anything is told, so the language model speaks of designs that nobody has seen as of those that
    taught it, and learns to speak without looking.
    """

    def __init__(
        self,
        width: int,
        *,
        things: int,
        shapes: int,
        colours: int,
        grounds: int,
        places: int,
        mirrored: list[int],
        arrangements: list[list[int]],
        alphabet: int,
        letters: int,
        depth: int = 2,
        heads: int = 8,
    ) -> None:
        """How many there are of each.

        Args:
            width: numbers of a token.
            things: with nothing, and with shapes, which come last.
            shapes: of the things.
            colours: of a thing.
            grounds: to stand on.
            places: to stand at.
            mirrored: where what stands at each place stands in a mirror.
            arrangements: at which places things stand together, for each way of standing.
            alphabet: with none.
            letters: of a word.
            depth: layers of the transformer that reads cells.
            heads: of its attention.

        Raises:
            ValueError: there are more places and letters than tokens to tell them.
        """
        super().__init__()
        if places + 2 + letters > TOKENS:
            raise ValueError(f"{places} places and {letters} letters are told by more than {TOKENS} tokens")
        self.coarse = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, width))
        self.fine = nn.Sequential(nn.LayerNorm(FINE), nn.Linear(FINE, width), nn.GELU(), nn.Linear(width, width))
        self.rows = nn.Embedding(_GRID, width)
        self.columns = nn.Embedding(_GRID, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.things = nn.Linear(width, things)
        self.looks = nn.Linear(width, places)
        self.colours = nn.Linear(width, colours)
        self.sizes = nn.Linear(width, 1)
        self.arrangements = nn.Linear(width, len(arrangements))
        self.grounds = nn.Linear(width, grounds)
        self.speller = Speller(alphabet)
        self._taken: Tensor
        self.longest = letters
        self._mirrored = mirrored
        self._first_shape = things - shapes
        self._colours = colours
        taken = torch.tensor([[place in there for place in range(places)] for there in arrangements])
        self.register_buffer("_taken", taken, persistent=False)
        sizes = {
            "thing": things, "colour": colours, "arrangement": len(arrangements), "ground": grounds,
            "letter": alphabet, "largest": 2, "same": 2, "other": things,
        }  # fmt: skip
        said = {name: nn.Embedding(size, width) for name, size in sizes.items()}
        for each in said.values():
            nn.init.normal_(each.weight, std=_SAID)
        self.said = nn.ModuleDict(said)
        self.tokens = nn.Parameter(torch.randn(TOKENS, width) * _SAID)
        self.guess = nn.Linear(CLASSES, width)
        self.kinds = nn.Linear(WIDTH, len(PictureKind))

    def found(self, cells: Cells) -> Found:
        """What is there, but for words."""
        places = self.rows.weight[:, None] + self.columns.weight[None]
        seen = self.blocks((self.coarse(cells.coarse) + self.fine(cells.fine) + places).flatten(1, 2))
        looks = self.looks(seen)
        there = looks.softmax(1).transpose(1, 2) @ seen
        whole = seen.mean(1)
        return Found(
            cells=self.things(seen),
            looks=looks,
            things=self.things(there),
            colours=self.colours(there),
            sizes=self.sizes(there)[..., 0],
            arrangements=self.arrangements(whole),
            grounds=self.grounds(whole),
        )

    def agreed(self, found: Found, views: Sequence[View]) -> Found:
        """What is found in several views of a drawing, the first of them as it is: things are what all make likely."""
        likely = found.things.log_softmax(-1)
        mean = torch.stack(
            [each[self._mirrored] if view.mirrored else each for each, view in zip(likely, views, strict=True)]
        ).mean(0)
        one = Found(*(each[:1] for each in vars(found).values()))
        return replace(one, things=_SURER * mean[None])

    def decided(self, found: Found, words: Tensor) -> Shown:
        """The likeliest of everything; `words` as `spelt` gives them."""
        arrangements = found.arrangements.argmax(-1)
        taken = self._taken[arrangements]
        sizes = found.sizes.masked_fill(~taken, -torch.inf)
        largest = functional.one_hot(sizes.argmax(-1), taken.shape[1]).bool()
        return Shown(
            things=(1 + found.things[..., 1:].argmax(-1)) * taken,
            colours=found.colours.argmax(-1) * taken,
            largest=largest & taken,
            arrangements=arrangements,
            grounds=found.grounds.argmax(-1),
            letters=words,
        )

    def told(self, shown: Shown, beliefs: Tensor) -> Tensor:
        """The same for the language model: float [n, 16, width].

        A token for each place, one for the ground, one for how the things stand, one for each letter; the rest say
        nothing. `beliefs` as `believed` gives them: what else a thing may be is told too, since a question may name it,
        but in another way than what it is most likely to be.
        """
        said, taken = self.said, (shown.things > 0)[..., None]
        there = (said["colour"](shown.colours) + said["largest"](shown.largest.long())) * taken
        likeliest = functional.one_hot(beliefs.argmax(-1), beliefs.shape[-1]).bool()
        for part, believed_so in (("thing", beliefs * likeliest), ("other", beliefs * ~likeliest)):
            there = believed_so.sqrt() @ self.get_parameter(f"said.{part}.weight") + there
        stand = said["arrangement"](shown.arrangements) + said["same"](self._are_the_same(shown).long())
        told = torch.cat(
            [there, said["ground"](shown.grounds)[:, None], stand[:, None], said["letter"](shown.letters)], 1
        )
        tokens: Tensor = functional.pad(told, (0, 0, 0, TOKENS - told.shape[1])) + self.tokens
        return tokens

    def _are_the_same(self, shown: Shown) -> Tensor:
        """Of which drawings the things are several of one kind; shapes of one colour. bool [n]."""
        things, colours, taken = shown.things, shown.colours, shown.things > 0
        kinds = things * self._colours + colours * (things >= self._first_shape)
        first = kinds.amax(1, keepdim=True)
        return ((kinds == first) | ~taken).all(1) & (taken.sum(1) > 1)

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

    spatial_merge_size: Final = MERGE

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
            As `pooler_output` the tokens of all pictures, 16 of each, float [tokens, width].
        """
        tokens = [self._tokens(picture[None]) for picture in pictures_of(pixel_values.to(self.dtype), grid_thw)]
        return BaseModelOutputWithPooling(pooler_output=torch.cat(tokens))

    def kinds(self, pixels: Tensor) -> Tensor:
        """Of which kind pictures are, int64 [n], from float [n, 3, height, width] in -1..1."""
        return self.reader.kind(glance(self.trunk, pixels.to(self.dtype)))

    def drawn(self, picture: Tensor) -> Tensor:
        """Tokens of a drawing, float [16, width], from float [1, 3, 224, 224] in -1..1."""
        learnt = as_learnt(picture)
        cells = cells_of(self.trunk, seen(learnt, _THINGS))
        found = self.reader.agreed(self.reader.found(cells), _THINGS)
        words = spelt(self.reader.speller(cells.strokes[:1]), self.reader.longest)
        if words.any():
            closer = strokes_of(self.trunk, seen(learnt, _LETTERS))
            words = read_together(self.reader.speller(closer), self.reader.longest)
        shown = self.reader.decided(found, words)
        return self.reader.told(shown, believed(found.things, shown.things > 0))[0]

    def _tokens(self, picture: Tensor) -> Tensor:
        if int(self.kinds(picture)) != PictureKind.PHOTOGRAPH:
            return self.drawn(picture)
        cells = cells_of(self.trunk, picture)
        guesses = self.trunk.classifier(cells.coarse.mean((1, 2))).float().softmax(-1).to(self.dtype)
        return self.reader.photographed(guesses).expand(TOKENS, -1)


def as_learnt(pixels: Tensor) -> Tensor:
    """Drawings as sharp as those that taught the reader: float [n, 3, 224, 224] at 128x128 and back."""
    small = functional.interpolate(pixels.float(), (DRAWN, DRAWN), mode="bicubic", antialias=True)
    large = functional.interpolate(small, pixels.shape[-2:], mode="bicubic", antialias=True)
    return large.clamp(-1, 1).to(pixels.dtype)


def pictures_of(patches: Tensor, grid_thw: Tensor) -> list[Tensor]:
    """What Qwen2VLImageProcessor has cut into patches, whole again: float [3, height, width] each.

    Args:
        patches: float [patches of all pictures, 3 * 2 * 14 * 14], 4x4 of them after 4x4; every picture is there twice,
            as the two frames of a film that stands still.
        grid_thw: how many patches each picture has: (1, high, wide).
    """
    grids = grid_thw.tolist()
    pictures = []
    for cut, (_, high, wide) in zip(torch.split(patches, [t * h * w for t, h, w in grids]), grids, strict=True):
        blocks = high // MERGE, wide // MERGE
        parts = cut.reshape(*blocks, MERGE, MERGE, 3, 2, PATCH, PATCH)[:, :, :, :, :, 0]
        pictures.append(parts.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, high * PATCH, wide * PATCH))
    return pictures
