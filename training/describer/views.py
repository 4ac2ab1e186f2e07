"""What the frozen network makes of pictures, and how they are varied so that a design is learnt to be looked past."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from models.sight import SIDE, cells_of, load_trunk

_EARLY: Final = 3
"""The styles of what one of so many first stages made are mixed."""
_HALF: Final = 0.5
_SOME: Final = 0.2


class Views:
    """The network, on one device."""

    def __init__(self, device: torch.device) -> None:
        self._trunk = load_trunk().to(device)
        self._device = device

    @torch.no_grad()
    def cells(self, pixels: Tensor, *, vary: bool) -> tuple[Tensor, Tensor]:
        """What `models.sight.cells_of` gives, float32, for pictures, uint8 [n, 128, 128, 3], perhaps varied."""
        pictures = pixels.to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1
        if not vary:
            return self._seen(pictures)
        stage = int(torch.randint(2 * _EARLY, ()))
        if stage >= _EARLY:
            coarse, fine = self._seen(varied(pictures))
        else:
            handle = self._trunk.blocks[stage].register_forward_hook(lambda _block, _given, made: in_other_styles(made))
            try:
                coarse, fine = self._seen(varied(pictures))
            finally:
                handle.remove()
        return _last_styles(coarse), _last_styles(fine)

    def _seen(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        large = functional.interpolate(pictures, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
        with torch.autocast(self._device.type, torch.bfloat16):
            coarse, fine = cells_of(self._trunk, large)
        return coarse.float(), fine.float()


def _last_styles(cells: Tensor) -> Tensor:
    return in_other_styles(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def in_other_styles(seen: Tensor) -> Tensor:
    """Pictures [n, channels, rows, columns] with the style of half of them moved towards that of others.

    A design shows in the mean and spread that each channel has over a picture. Mixed between pictures they make designs
    that there are not (MixStyle, Zhou et al. 2021), and the network learns to look past them.
    """
    count = len(seen)
    given = seen.float()
    middle, spread = given.mean((2, 3), keepdim=True), given.std((2, 3), keepdim=True) + 1e-4
    other = torch.randperm(count, device=seen.device)
    kept = torch.distributions.Beta(0.3, 0.3).sample((count, 1, 1, 1)).to(seen.device)
    kept = torch.where(_chosen(given, _HALF), kept, 1.0)
    mixed: Tensor = (given - middle) / spread * (kept * spread + (1 - kept) * spread[other])
    return (mixed + kept * middle + (1 - kept) * middle[other]).to(seen.dtype)


def varied(pictures: Tensor) -> Tensor:
    """Pictures, float [n, 3, height, width] in -1..1, drawn otherwise; colours are meant to keep their names.

    Half are lighter or darker, stronger or paler; some are soft, some have dark outlines, some are grainy.
    """
    grey = pictures.mean(1, keepdim=True)
    seen = grey + (pictures - grey) * _amount(pictures, _HALF, 0.6, 1.3, 1.0)
    seen = seen * _amount(pictures, _HALF, 0.75, 1.2, 1.0) + _amount(pictures, _HALF, -0.15, 0.15, 0.0)
    soft = functional.avg_pool2d(functional.pad(seen, (1, 1, 1, 1), mode="replicate"), 3, 1)
    seen = torch.lerp(seen, soft, _amount(pictures, _SOME, 0.0, 1.0, 0.0))
    edges = (functional.max_pool2d(seen, 3, 1, 1) + functional.max_pool2d(-seen, 3, 1, 1)).amax(1, keepdim=True)
    seen = seen - edges * _amount(pictures, _SOME, 0.0, 1.0, 0.0)
    seen = seen + torch.randn_like(seen) * _amount(pictures, _SOME, 0.0, 0.08, 0.0)
    return seen.clamp(-1, 1)


def _chosen(like: Tensor, share: float) -> Tensor:
    return torch.rand(len(like), 1, 1, 1, device=like.device) < share


def _amount(like: Tensor, share: float, low: float, high: float, usual: float) -> Tensor:
    drawn = torch.rand(len(like), 1, 1, 1, device=like.device) * (high - low) + low
    return torch.where(_chosen(like, share), drawn, usual)
