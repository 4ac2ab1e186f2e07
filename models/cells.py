"""What an EfficientNet that ImageNet taught makes of pictures, cell by cell: the network as its wheel brings it.

A picture is cut into cells of 32 pixels a side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import timm
import torch
from torch import Tensor
from torch.nn import functional

from models.packed import efficientnet

CELL: Final = 32
"""Pixels a side of what is looked at together."""
CLASSES: Final = 1000
WIDTH: Final = 1280
"""Numbers of a cell at the end of the network, before they are averaged."""
FINE: Final = 40 * 16 + 112 * 4
"""Numbers of a cell at two earlier stages together."""
STROKES: Final = 24 * 4 + 40
"""Numbers of a quarter of a cell's side at two of the earliest stages together."""
_FINE_STAGES: Final = (2, 4)
"""Blocks whose results are read too: of 8 and of 16 pixels a side."""
_STROKE_STAGES: Final = (1, 2)
"""Blocks whose results letters are read from: of 4 and of 8 pixels a side."""


def load_trunk() -> Any:
    """EfficientNet-Lite0 with its classifier, as its wheel brings it.

    Raises:
        ModuleNotFoundError: the wheel is not installed.
    """
    trunk: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    trunk.load_state_dict(efficientnet(list(trunk.state_dict())))
    # On a CPU this layout is a third faster.
    return trunk.eval().requires_grad_(False).to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Cells:
    """What the network made of n pictures.

    Attributes:
        coarse: float [n, rows, columns, 1280], the last stage of each cell.
        fine: float [n, rows, columns, 1088], two earlier ones of it.
        strokes: float [n, 136, 4 * rows, 4 * columns], the earliest, of quarters of a cell's side.
    """

    coarse: Tensor
    fine: Tensor
    strokes: Tensor


def cells_of(trunk: Any, pixels: Tensor) -> Cells:
    """Of pictures of one size, float [n, 3, height, width] in -1..1, sides multiples of 32."""
    stages = list(_stages(trunk, pixels))
    fine = [functional.pixel_unshuffle(stages[i], stages[i].shape[-1] * CELL // pixels.shape[-1]) for i in _FINE_STAGES]
    coarse = trunk.bn2(trunk.conv_head(stages[-1]))
    return Cells(coarse.permute(0, 2, 3, 1), torch.cat(fine, 1).permute(0, 2, 3, 1), _strokes(stages))


def strokes_of(trunk: Any, pixels: Tensor) -> Tensor:
    """`strokes` of `cells_of` alone, which takes less time."""
    return _strokes(list(islice(_stages(trunk, pixels), 1 + max(_STROKE_STAGES))))


def _stages(trunk: Any, pixels: Tensor) -> Iterator[Tensor]:
    seen = trunk.bn1(trunk.conv_stem(pixels))
    for block in trunk.blocks:
        seen = block(seen)
        yield seen


def _strokes(stages: Sequence[Tensor]) -> Tensor:
    finer, coarser = (stages[i] for i in _STROKE_STAGES)
    return torch.cat([functional.pixel_unshuffle(finer, 2), coarser], 1)


def glance(trunk: Any, pixels: Tensor) -> Tensor:
    """The mean over its cells of each picture, float [n, 1280], which is seen at half its size.

    It takes a third of the time of `cells_of`, and is enough to tell of which kind a picture is.
    """
    seen: Tensor = trunk.forward_features(functional.avg_pool2d(pixels, 2))
    return seen.mean((2, 3))
