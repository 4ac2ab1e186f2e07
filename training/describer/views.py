"""What the frozen network makes of pictures, and how they are varied so that a design is learnt to be looked past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from models.cells import Cells, cells_of, load_trunk, strokes_of
from models.sight import SIDE
from training.loop import in_bfloat16

_EARLY: Final = 3
"""The styles of what one of so many first stages made are mixed."""
_HALF: Final = 0.5
_SOME: Final = 0.2
_CACHED: Final = 16
"""Pictures looked at together on a CPU: what the network makes of them fits its cache, which halves the time."""
_INKED: Final = 0.25
_BLACK: Final = -0.9
_Seen = TypeVar("_Seen", Cells, Tensor)


class Views:
    """The network, on one device."""

    def __init__(self, device: torch.device) -> None:
        self._trunk = load_trunk().to(device)
        self._device = device

    @torch.no_grad()
    def cells(self, pixels: Tensor, *, vary: bool) -> Cells:
        """What `models.sight.cells_of` gives, float32, for pictures, uint8 [n, 128, 128, 3], perhaps varied."""
        parts = [vars(self._cells(part, vary=vary)).values() for part in self._parts(pixels)]
        return Cells(*(torch.cat(part) for part in zip(*parts, strict=True)))

    @torch.no_grad()
    def strokes(self, pixels: Tensor, *, vary: bool) -> Tensor:
        """What `models.sight.strokes_of` gives, float32, for the same pictures; varied ones also slanted."""
        return torch.cat([self._strokes(part, vary=vary) for part in self._parts(pixels)])

    def _parts(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return torch.split(pixels, _CACHED if self._device.type == "cpu" else len(pixels))

    def _cells(self, pixels: Tensor, *, vary: bool) -> Cells:
        pictures = self._pictures(pixels)
        if not vary:
            return _exact(self._seen(cells_of, pictures))
        with self._early_styles():
            seen = _exact(self._seen(cells_of, varied(inked(pictures))))
        return Cells(_last_styles(seen.coarse), _last_styles(seen.fine), seen.strokes)

    def _strokes(self, pixels: Tensor, *, vary: bool) -> Tensor:
        pictures = self._pictures(pixels)
        if not vary:
            return self._seen(strokes_of, pictures).float()
        with self._early_styles():
            return in_other_styles(self._seen(strokes_of, varied(stretched(pictures))).float())

    def _pictures(self, pixels: Tensor) -> Tensor:
        return pixels.to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1

    @contextmanager
    def _early_styles(self) -> Iterator[None]:
        """Half of the time one of the first stages takes on other styles."""
        stage = int(torch.randint(2 * _EARLY, ()))
        if stage >= _EARLY:
            yield
            return
        handle = self._trunk.blocks[stage].register_forward_hook(lambda _block, _given, made: in_other_styles(made))
        try:
            yield
        finally:
            handle.remove()

    def _seen(self, look: Callable[[Any, Tensor], _Seen], pictures: Tensor) -> _Seen:
        large = functional.interpolate(pictures, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
        with in_bfloat16(self._device):
            return look(self._trunk, large)


def _exact(seen: Cells) -> Cells:
    return Cells(*(each.float() for each in vars(seen).values()))


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

    Half are lighter or darker, stronger or paler; some are soft, some have edges that are darker, some are grainy.
    """
    grey = pictures.mean(1, keepdim=True)
    seen = grey + (pictures - grey) * _amount(pictures, _HALF, 0.6, 1.3, 1.0)
    seen = seen * _amount(pictures, _HALF, 0.75, 1.2, 1.0) + _amount(pictures, _HALF, -0.15, 0.15, 0.0)
    seen = torch.lerp(seen, _softened(seen), _amount(pictures, _SOME, 0.0, 1.0, 0.0))
    edges = (functional.max_pool2d(seen, 3, 1, 1) + functional.max_pool2d(-seen, 3, 1, 1)).amax(1, keepdim=True)
    seen = seen - edges * _amount(pictures, _SOME, 0.0, 1.0, 0.0)
    seen = seen + torch.randn_like(seen) * _amount(pictures, _SOME, 0.0, 0.08, 0.0)
    return seen.clamp(-1, 1)


def inked(pictures: Tensor) -> Tensor:
    """Pictures, float [n, 3, height, width] in -1..1; a quarter of them in flat colours with black outlines.

    Some designs are drawn so throughout, and what is known of others helps little there.
    """
    levels = torch.randint(2, 5, (len(pictures), 1, 1, 1), device=pictures.device).float() / 2
    flat = ((_softened(pictures) * levels).round() / levels).clamp(-1, 1)
    steps = (functional.max_pool2d(pictures, 3, 1, 1) + functional.max_pool2d(-pictures, 3, 1, 1)).amax(1, keepdim=True)
    lines = steps > _amount(pictures, 1.0, 0.25, 0.8, 0.0)
    drawn = torch.where(lines, _BLACK, torch.lerp(pictures, flat, _amount(pictures, 1.0, 0.0, 1.0, 0.0)))
    return torch.where(_chosen(pictures, _INKED), drawn, pictures)


def stretched(pictures: Tensor) -> Tensor:
    """Pictures, float [n, 3, height, width], each a little narrower and lower, and slanted."""
    count = len(pictures)
    turn = torch.zeros(count, 2, 3, device=pictures.device)
    turn[:, 0, 0], turn[:, 1, 1] = (torch.rand(2, count, device=pictures.device) * 0.3 + 1).unbind()
    turn[:, 0, 1] = torch.rand(count, device=pictures.device) * 0.2 - 0.1
    turn[:, :, 2] = torch.rand(count, 2, device=pictures.device) * 0.1 - 0.05
    grid = functional.affine_grid(turn, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _softened(pictures: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _chosen(like: Tensor, share: float) -> Tensor:
    return torch.rand(len(like), 1, 1, 1, device=like.device) < share


def _amount(like: Tensor, share: float, low: float, high: float, usual: float) -> Tensor:
    drawn = torch.rand(len(like), 1, 1, 1, device=like.device) * (high - low) + low
    return torch.where(_chosen(like, share), drawn, usual)
