"""How the built-in describer reads a word: letters from the strokes that the first stages of a network see."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.cells import STROKES

COLUMNS: Final = 28
"""Of a picture of 224x224 pixels: each of 8."""


class Speller(nn.Module):
    """Letters from strokes: narrow columns from left to right, each of which says one letter or none.

    A letter may take several columns, and stands once for all that say it in a row (CTC, Graves et al. 2006).
    """

    def __init__(self, alphabet: int, width: int = 192, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.columns = nn.Sequential(
            nn.Conv2d(STROKES, width // 2, 1), nn.GroupNorm(8, width // 2), nn.GELU(),
            nn.Conv2d(width // 2, width * 2 // 3, 3, (2, 1), 1), nn.GroupNorm(8, width * 2 // 3), nn.GELU(),
            nn.Conv2d(width * 2 // 3, width, 3, (2, 1), 1), nn.GroupNorm(8, width), nn.GELU(),
        )  # fmt: skip
        self.rows = nn.Conv2d(width, 1, 1)
        self.places = nn.Embedding(COLUMNS, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.letters = nn.Linear(width, alphabet)

    def forward(self, strokes: Tensor) -> Tensor:
        """Scores before softmax, float [n, 28, alphabet], 0 for none, from `Cells.strokes` of 224x224 pixels."""
        columns = self.columns(strokes)
        line = (columns * self.rows(columns).softmax(2)).sum(2).transpose(1, 2)
        letters: Tensor = self.letters(self.blocks(line + self.places.weight))
        return letters


def spelt(letters: Tensor, longest: int) -> Tensor:
    """The likeliest words, int64 [n, longest], 0 after their ends, from what a `Speller` gives."""
    likeliest = letters.argmax(-1)
    before = functional.pad(likeliest, (1, 0))[:, :-1]
    stands = (likeliest != 0) & (likeliest != before)
    at = (stands.cumsum(1) - 1).clamp(max=longest)
    words = likeliest.new_zeros(len(letters), longest + 1)
    words.scatter_(1, torch.where(stands, at, longest), likeliest)
    return words[:, :longest]


def read_together(readings: Tensor, longest: int) -> Tensor:
    """The word that several readings of one picture make likeliest, int64 [1, longest].

    Args:
        readings: float [n, columns, alphabet], as a `Speller` gives them; what each spells is weighed by all.
        longest: letters of a word.
    """
    likely = readings.float().cpu().log_softmax(-1).transpose(0, 1)  # on the CPU: Metal has no CTC
    words = spelt(readings, longest).cpu()
    columns = torch.full((len(words),), len(likely))
    lengths = (words > 0).sum(1)
    loss = torch.stack(
        [
            functional.ctc_loss(likely, word.expand_as(words), columns, length.expand_as(lengths), reduction="sum")
            for word, length in zip(words, lengths, strict=True)
        ]
    )
    return words[loss.argmin()][None].to(readings.device)
