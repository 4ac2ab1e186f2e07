"""What a picture in work looks like: the clean picture that its latents point to, decoded small.

Between two steps latents move along a straight line towards the clean picture, for rectified flow as for Euler's
method on noise levels: x0 = x - sigma * (x - x_before) / (sigma - sigma_before). So the last two latents are enough,
whatever the model. They are shrunk before the autoencoder decodes them, so that a preview costs little beside a step;
where it may not be used, or they cannot be shrunk (too large, or with a layer of pixels), a matrix makes one pixel of
each latent instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.image.diffusers_internals import (
    computing_device,
    is_offloaded,
    pack_into_channels,
    packs_into_channels,
    unpack_from_channels,
    unpack_tokens,
)

if TYPE_CHECKING:
    from PIL import Image

_SIDE: Final = 64
"""Latents are shrunk to this many a side before they are decoded: 512 pixels with the usual autoencoders."""
_LARGE: Final = 2 * _SIDE
"""From more latents a side on, more would be lost by shrinking than by the matrix."""
_FITTED: Final = 16
"""Smooth pictures, of 16x16 latents, that the matrix is fitted to."""


class LatentColours:
    """The matrix from a model's latents to colours, fitted by least squares to what its own autoencoder makes of them.

    Fitted once, when first used or by `fit`, which runs the autoencoder on a few smooth, random latents. Colours of the
    built-in model's pictures come out at a correlation of 0.96 to 0.97, a little pale; no matrix does better than 0.98.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._matrix: Any = None

    def fit(self) -> None:
        """Find the matrix, where that has not been done."""
        import torch

        if self._matrix is not None:
            return
        with torch.inference_mode():
            latents = self._smooth().to(computing_device(self._pipeline))
            colours = _decoded(self._pipeline, latents).float().clamp(-1, 1)
            colours = torch.nn.functional.adaptive_avg_pool2d(colours, latents.shape[-2:])
            latents, _ = _apart(self._pipeline, latents)
            seen, made = (grid.movedim(1, -1).flatten(0, -2).float().cpu() for grid in (latents, colours))
            self._matrix = torch.linalg.lstsq(torch.nn.functional.pad(seen, (0, 1), value=1.0), made).solution

    def __call__(self, latents: Any) -> Any:
        """Pixels [n, 3, height, width], about -1 … 1, one for each of the latents [n, channels, height, width]."""
        import torch

        self.fit()
        matrix = self._matrix.to(latents.device)
        latents, layer = _apart(self._pipeline, latents)
        colours = torch.einsum("nchw,ck->nkhw", latents.float(), matrix[:-1]) + matrix[-1].view(1, -1, 1, 1)
        if layer is None:
            return colours
        from models.image.layers import over

        return over(torch.nn.functional.adaptive_avg_pool2d(layer.float(), latents.shape[-2:]), colours)

    def _smooth(self) -> Any:
        """Latents [n, channels, 16, 16] as a pipeline has them, about 0 and of about unit size, in soft blotches."""
        import torch

        vae = self._pipeline.vae
        channels = vae.config.get("z_dim") or vae.config.latent_channels
        corners = torch.randn(_FITTED, channels, 2, 2, generator=torch.Generator().manual_seed(0))
        latents = torch.nn.functional.interpolate(corners, size=(16, 16), mode="bicubic")
        if packs_into_channels(self._pipeline):
            packed = pack_into_channels(self._pipeline, latents).flatten(2).transpose(1, 2)
            latents = _unpatched(self._pipeline, packed, 8, 8)
        painted = _apart(self._pipeline, latents)[0].shape[1]
        latents[:, painted:] = 0
        return latents


class Previewer:
    """Remembers a run's latents from step to step; `size` is the drawn width and height in pixels."""

    def __init__(self, pipeline: Any, size: tuple[int, int], colours: LatentColours) -> None:
        self._pipeline, self._colours = pipeline, colours
        self._width, self._height = size
        self._before: Any = None
        self._now: Any = None

    def saw(self, latents: Any) -> None:
        """Take note of the latents after a step."""
        self._before, self._now = self._now, latents

    def pictures(self) -> list[Image.Image]:
        """One picture for each of the batch, RGB; empty where these latents cannot be read, and before two steps."""
        import torch

        if self._before is None:
            return []
        with torch.inference_mode():
            latents = self._grid(self._clean())
            if latents is None:
                return []
            pixels = self._pixels(latents).float()
            pictures: list[Image.Image] = self._pipeline.image_processor.postprocess(pixels, output_type="pil")
        return pictures

    def _pixels(self, latents: Any) -> Any:
        import torch

        side = max(latents.shape[-2:])
        has_layer = _apart(self._pipeline, latents)[1] is not None  # of pixels side by side, which cannot be shrunk
        # an offloaded autoencoder would take the transformer's place on the device in the middle of its run
        if side > (_SIDE if has_layer else _LARGE) or is_offloaded(self._pipeline.vae):
            return self._colours(latents)
        if side > _SIDE:
            latents = torch.nn.functional.interpolate(latents, scale_factor=_SIDE / side, mode="area")
        return _decoded(self._pipeline, latents)

    def _clean(self) -> Any:
        scheduler = self._pipeline.scheduler
        sigmas, step = getattr(scheduler, "sigmas", None), getattr(scheduler, "step_index", None)
        if sigmas is None or not step or step >= len(sigmas):
            return self._now
        now, before = float(sigmas[step]), float(sigmas[step - 1])
        return self._now - now * (self._now - self._before) / (now - before) if now != before else self._now

    def _grid(self, latents: Any) -> Any:
        """Latents [n, channels, height, width], or None where they are laid out in a way that is not known here."""
        if latents.ndim == 3:  # 2x2 of them packed into one token
            side = 2 * self._pipeline.vae_scale_factor
            if latents.shape[1] != (self._height // side) * (self._width // side):
                return None  # drawn in another size than the one asked for
            if packs_into_channels(self._pipeline):
                return _unpatched(self._pipeline, latents, self._height // side, self._width // side)
            latents = unpack_tokens(self._pipeline, latents, self._height, self._width)
            if latents is None:
                return None
        if latents.ndim == 5 and latents.shape[2] == 1:  # of an autoencoder for videos
            latents = latents[:, :, 0]
        return latents if latents.ndim == 4 else None


def _apart(pipeline: Any, latents: Any) -> tuple[Any, Any]:
    """Latents, and the layer of pixels above them that the built-in model's have; None of other models."""
    return pipeline.vae.apart(latents) if hasattr(pipeline.vae, "apart") else (latents, None)


def _unpatched(pipeline: Any, latents: Any, height: int, width: int) -> Any:
    """FLUX.2's latents, which a batch norm keeps at unit size while they are packed."""
    norm = pipeline.vae.bn
    mean, variance = norm.running_mean.to(latents.device), norm.running_var.to(latents.device)
    latents = latents * (variance + pipeline.vae.config.batch_norm_eps).sqrt() + mean
    latents = latents.transpose(1, 2)
    return unpack_from_channels(pipeline, latents.reshape(*latents.shape[:2], height, width))


def _decoded(pipeline: Any, latents: Any) -> Any:
    """Pixels [n, 3, height, width], -1 … 1."""
    import torch

    vae = pipeline.vae
    if "latents_mean" in vae.config and "z_dim" in vae.config:
        mean, spread = (
            torch.tensor(vae.config[name], device=latents.device).view(1, -1, 1, 1)
            for name in ("latents_mean", "latents_std")
        )
        clip = (latents * spread + mean).unsqueeze(2).to(vae.dtype)
        return vae.decode(clip, return_dict=False)[0][:, :, 0]
    shift, scale = vae.config.get("shift_factor") or 0.0, vae.config.get("scaling_factor") or 1.0
    return vae.decode((latents / scale + shift).to(vae.dtype), return_dict=False)[0]
