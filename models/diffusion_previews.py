"""What a picture in work looks like: the clean picture that its latents point to, decoded small.

Between two steps latents move along a straight line towards the clean picture, for rectified flow as for Euler's
method on noise levels: x0 = x - sigma * (x - x_before) / (sigma - sigma_before). So the last two latents are enough,
whatever the model. They are shrunk before decoding, so that a preview costs little beside a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from PIL import Image

_SIDE: Final = 64
"""Latents are shrunk to this many a side at most: 512 pixels with the usual autoencoders."""


class Previewer:
    """Remembers a run's latents from step to step; `size` is the drawn width and height in pixels."""

    def __init__(self, pipeline: Any, size: tuple[int, int]) -> None:
        self._pipeline = pipeline
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
            side = max(latents.shape[-2:])
            if side > _SIDE:
                latents = torch.nn.functional.interpolate(latents, scale_factor=_SIDE / side, mode="area")
            decoded = self._decoded(latents)
            pictures: list[Image.Image] = self._pipeline.image_processor.postprocess(decoded.float(), output_type="pil")
        return pictures

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
            if hasattr(self._pipeline, "_unpatchify_latents"):
                return self._unpatched(latents, self._height // side, self._width // side)
            if not hasattr(self._pipeline, "_unpack_latents"):
                return None
            latents = self._pipeline._unpack_latents(
                latents, self._height, self._width, self._pipeline.vae_scale_factor
            )
        if latents.ndim == 5 and latents.shape[2] == 1:  # of an autoencoder for videos
            latents = latents[:, :, 0]
        return latents if latents.ndim == 4 else None

    def _unpatched(self, latents: Any, height: int, width: int) -> Any:
        """FLUX.2's latents, which a batch norm keeps at unit size while they are packed."""
        norm = self._pipeline.vae.bn
        scale = (norm.running_var + self._pipeline.vae.config.batch_norm_eps).sqrt()
        latents = (latents * scale + norm.running_mean).transpose(1, 2)
        return self._pipeline._unpatchify_latents(latents.reshape(*latents.shape[:2], height, width))

    def _decoded(self, latents: Any) -> Any:
        """Pixels [n, 3, height, width], -1 … 1."""
        import torch

        vae = self._pipeline.vae
        if "latents_mean" in vae.config and "z_dim" in vae.config:
            mean, spread = (
                torch.tensor(vae.config[name], device=latents.device).view(1, -1, 1, 1)
                for name in ("latents_mean", "latents_std")
            )
            clip = (latents * spread + mean).unsqueeze(2).to(vae.dtype)
            return vae.decode(clip, return_dict=False)[0][:, :, 0]
        shift, scale = vae.config.get("shift_factor") or 0.0, vae.config.get("scaling_factor") or 1.0
        return vae.decode((latents / scale + shift).to(vae.dtype), return_dict=False)[0]
