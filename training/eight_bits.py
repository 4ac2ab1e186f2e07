"""Weights in 8 bits, as `models.packed` reads them."""

from __future__ import annotations

from typing import Final

import torch

_SMALLEST: Final = 4096
"""Numbers of what is kept in 8 bits, at least."""


def packed(weights: dict[str, torch.Tensor], levels: int = 127) -> dict[str, torch.Tensor]:
    """Each matrix and kernel as int8 with a scale for each row (`NAME.scale`, float16), the rest as float16.

    Integers stay as they are. Fewer `levels` than 127 on each side of 0 are coarser, and compress better.
    """
    kept: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if not weight.is_floating_point():
            kept[name] = weight.clone()  # the file that it may be mapped from is written next
            continue
        if weight.ndim < 2 or weight.numel() < _SMALLEST:
            kept[name] = weight.half().contiguous()
            continue
        rows = weight.float().flatten(1)
        scales = (rows.abs().amax(1) / levels).clamp(min=1e-7).half()
        numbers = (rows / scales.float()[:, None]).round().clamp(-levels, levels).to(torch.int8)
        kept[name] = numbers.view_as(weight).contiguous()
        kept[f"{name}.scale"] = scales
    return kept
