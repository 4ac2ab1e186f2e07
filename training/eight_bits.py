"""Weights in 8 bits, as `models.packed` reads them."""

from __future__ import annotations

from typing import Final

import torch

_SMALLEST: Final = 4096
"""Numbers of a matrix that is kept in 8 bits."""


def packed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each matrix as int8 with a scale for each row (`NAME.scale`, float16), the rest as float16."""
    kept: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if weight.ndim != 2 or weight.numel() < _SMALLEST:
            kept[name] = weight.half().contiguous()
            continue
        scales = (weight.float().abs().amax(1) / 127).clamp(min=1e-7).half()
        kept[name] = (weight.float() / scales.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        kept[f"{name}.scale"] = scales
    return kept
