"""The built-in picture model's transformer, as `FluxPipeline` and `FluxKontextPipeline` use it.

What a prompt wishes for is told by `models.image.wish_encoder`. It begins each picture from a draft
(`models.image.draft`), and paints what is under the layer of what is known to the pixel (`models.image.upper_layer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from diffusers import FluxTransformer2DModel, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

import models.image.wish_encoder  # noqa: F401  # diffusers takes what an index names from modules that are there
from models.image.autoencoder import PackedAutoencoder, filled
from models.image.cut_outs import before_a_ground, resized, soft
from models.image.draft import CHANNELS, DRAFTED, Draft, Finder, WishTokens
from models.image.layers import BLOCK, LATENTS, as_latents, as_tokens, of_tokens, over
from models.image.upper_layer import Layers, Reference, kept
from models.image.variation import ground_of, varied
from models.image.wishes import CELLS, FIELDS, FIGURES, KINDS, SCALES, Conditioning

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAINTED: Final = 4 * CHANNELS
"""Numbers of a token's latents in the lower layer."""
_ALL_NOISE: Final = 0.999
"""A run that begins no later is of a picture from nothing; things are not laid over one that is there already."""
_EACH_GROUND: Final = 3
"""Every so many of the grounds are tried, to see what stands before one."""
_STANDS: Final = (0.1, 0.6)
"""How much a latent varies from ground to ground that is of a thing alone, and how much if it is of the ground."""
__all__ = [
    "ModelMixin",  # diffusers looks for the base class where the class is
    "PaintingTransformer",
]


_Told = tuple[torch.Tensor, Conditioning, torch.Tensor]
"""A prompt, what it tells, and where in the reference the thing is that it is about."""


@dataclass
class _Run:
    """What all steps of a run share.

    Attributes:
        grid: tokens high and wide.
        reference: the picture that is changed, if one is.
        repainted: of which pictures it is changed by painting: not of those for another ground, of which the things are
            laid over one that is painted from nothing, nor of those for a scene, which only has its ground. Bool
            [n, 1, 1].
        things: what the first prompt lays over the picture, [n, 4, 16 * high, 16 * wide].
        told: what each prompt [n, length, code] tells, and where that is [n, 3]; first those of prompts, then those of
            what guidance leads away from, which may be the same ones.
        upper: the upper layer's tokens of the latest step, and the noisy tokens that it is for.
    """

    grid: tuple[int, int]
    reference: Reference | None
    repainted: torch.Tensor
    things: torch.Tensor
    told: tuple[list[_Told], list[_Told]]
    upper: tuple[torch.Tensor, torch.Tensor] | None = None

    def is_led_away(self, hidden_states: torch.Tensor) -> bool:
        """Whether these were asked before: guidance compares two velocities of the same noisy pictures."""
        return self.upper is not None and self.upper[0] is hidden_states


class PaintingTransformer(FluxTransformer2DModel):  # type: ignore[misc]
    """FLUX's transformer, which sees a draft of the picture, and the picture that is to be changed, behind the noise.

    Both are further channels of the noisy latents, as in FLUX.1 Canny and Fill: what stays is copied from where it is,
    in a sequence of 64 + 19 for 128x128 pixels. Its weights may be packed in 8 bits on disk.

    Args:
        answers: how many values each of `FIELDS` has.
        code: numbers of each of a drawing's vectors.

    The other arguments are those of `FluxTransformer2DModel`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        patch_size: int = 1,
        in_channels: int = 4 * LATENTS,
        out_channels: int | None = None,
        num_layers: int = 0,
        num_single_layers: int = 8,
        attention_head_dim: int = 32,
        num_attention_heads: int = 5,
        joint_attention_dim: int = 128,
        pooled_projection_dim: int = 16,
        guidance_embeds: bool = False,
        axes_dims_rope: tuple[int, int, int] = (8, 12, 12),
        answers: Sequence[int] = (2,) * len(FIELDS),
        code: int = 128,
    ) -> None:
        if in_channels != 4 * LATENTS:
            raise ValueError(f"in_channels is {4 * LATENTS}, latents of {LATENTS} channels 2x2, not {in_channels}")
        super().__init__(
            patch_size=patch_size,
            in_channels=_PAINTED,
            out_channels=out_channels,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            pooled_projection_dim=pooled_projection_dim,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=axes_dims_rope,
        )
        values = dict(zip(FIELDS, answers, strict=True))
        self.register_to_config(in_channels=in_channels)  # which the constructor of FLUX's has put its own to
        self.x_embedder = nn.Linear(2 * _PAINTED + 1 + DRAFTED, self.inner_dim)
        self.draft = Draft(values, code)
        self.words = WishTokens(values, code, joint_attention_dim)
        self.finder = Finder(values, code)
        self._layers: Layers | None = None
        # A pipeline makes a run's positions when it is called: as long as they are there, the run is.
        self._runs: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def see_through(self, autoencoder: PackedAutoencoder) -> Self:
        """Give it the autoencoder, without layers, that it needs to draw upper layers: no pipeline draws without."""
        self._layers = Layers(autoencoder)
        return self

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        img_ids: torch.Tensor,
        return_dict: bool = True,
        **given: Any,
    ) -> Any:
        """As FLUX's: tokens [n, length, 1056] at `img_ids` [length, 3], those of a reference behind the noisy ones.

        Returns the velocities of the noisy ones alone: painted ones of the lower layer, while the upper one goes
        straight to what it shall be.
        """
        given |= {"timestep": timestep, "return_dict": False}
        of_noise = img_ids[:, 0] == 0
        if img_ids not in self._runs:
            self._runs[img_ids] = self._begin(encoder_hidden_states, hidden_states, img_ids, **given)
        run: _Run = self._runs[img_ids]
        told, found = self._told(run, encoder_hidden_states, is_led_away=run.is_led_away(hidden_states))
        noisy, time = hidden_states[:, of_noise], timestep.view(-1, 1, 1).to(hidden_states.dtype)
        reference = None if run.reference is None else as_tokens(run.reference.latents)
        velocity = self.paint(noisy[..., :_PAINTED], told, found, reference, *run.grid, run.repainted, **given)[0]
        clean = of_tokens(noisy[..., :_PAINTED] - time * velocity, *run.grid)
        upper = (noisy[..., _PAINTED:] - _upper(run, hidden_states, clean)) / time
        velocity = torch.cat([velocity, upper], 2)
        return Transformer2DModelOutput(sample=velocity) if return_dict else (velocity,)

    def _begin(self, prompt: torch.Tensor, hidden_states: torch.Tensor, img_ids: torch.Tensor, **given: Any) -> _Run:
        if self._layers is None:
            raise RuntimeError("a PaintingTransformer draws with an autoencoder: call see_through")
        of_noise = img_ids[:, 0] == 0
        grid, told, reference = _grid(img_ids[of_noise]), Conditioning.of(prompt), None
        if not of_noise.all():
            reference = self._layers.reference(hidden_states[:, ~of_noise], _grid(img_ids[~of_noise]), grid)
            told = told.as_changes()
        found = self._found(told, reference, grid)
        things = torch.zeros(len(prompt), 4, *(2 * BLOCK * side for side in grid), device=prompt.device)
        by = hidden_states[:, 0, _PAINTED : _PAINTED + 4]
        if reference is not None:
            has_its_ground = told.is_a("scene") & (told.field("ground") == 0)
            is_looked_at = told.is_a("ground", "add") | told.resizes_it() | has_its_ground
            stands = self._standing(as_tokens(reference.latents), is_looked_at, grid, **given)
            told = told.beside(stands)
        new_ground, is_variation = told.is_a("ground"), told.says_nothing()
        if float(given["timestep"].max()) > _ALL_NOISE:
            told = told.shaken(by, *grid)
            things = self._layers.of_things(self.draft, told, found, reference, *grid)
        told = told.on_its_ground()
        if reference is not None:
            if new_ground.any():
                things[new_ground] = before_a_ground(reference.pixels[new_ground], stands[new_ground])
            for number in (told.resizes_it() & ~(things[:, 3] > 0).flatten(1).any(1)).nonzero()[:, 0].tolist():
                one = slice(number, number + 1)
                thing = before_a_ground(reference.pixels[one], stands[one])
                things[one] = resized(thing, SCALES[int(told.field("size 1")[number])])
            for number in has_its_ground.nonzero()[:, 0].tolist():
                ground = ground_of(reference.latents[number], stands[number], self.draft.latents_of_grounds())
                told = told.with_ground(number, ground)
                if is_variation[number]:
                    pixels = reference.pixels[number]
                    things[number] = varied(pixels, stands[number], by[number], is_familiar=ground > 0)
        repainted = ~(new_ground | told.is_a("scene"))[:, None, None]
        return _Run(grid, reference, repainted, things, ([(prompt, told, found)], []))

    def _told(self, run: _Run, prompt: torch.Tensor, *, is_led_away: bool) -> tuple[Conditioning, torch.Tensor]:
        """What a prompt of a run tells, and where in its reference the things are that it is about."""
        for asked, told, found in run.told[is_led_away]:
            if torch.equal(asked, prompt):
                return told, found
        told = Conditioning.of(prompt)
        if run.reference is not None:
            told = told.as_changes()
        found = self._found(told, run.reference, run.grid)
        run.told[is_led_away].append((prompt, told.on_its_ground(), found))
        return run.told[is_led_away][-1][1:]

    def _found(self, told: Conditioning, reference: Reference | None, grid: tuple[int, int]) -> torch.Tensor:
        """Where in the reference the things are that wishes are about, as in `drawn_where`: [n, 3]."""
        if reference is None or self._layers is None:
            return told.where.new_zeros(len(told.where), 3)
        found = self.finder.find(told, as_tokens(reference.latents), *grid)
        return self._layers.matched(self.draft, told, found, reference)

    @torch.no_grad()
    def _standing(
        self, reference: torch.Tensor, which: torch.Tensor, grid: tuple[int, int], **given: Any
    ) -> torch.Tensor:
        """How much of each latent of references stands before the ground: [n, 1, 2 * high, 2 * wide], 0-1.

        It is what comes out alike whichever ground is asked for, in one step from no noise at all. Asked are those
        references that `which` says, bool [n], one by one; of the others it is 0.
        """
        grounds = torch.arange(1, self.draft.grounds.num_embeddings, _EACH_GROUND, device=reference.device)
        count, code = len(grounds), self.draft.basis.shape[0]
        fields = torch.zeros(count, len(FIELDS), dtype=torch.int64, device=reference.device)
        fields[:, FIELDS.index("kind")] = KINDS.index("ground")
        fields[:, FIELDS.index("ground")] = grounds
        nowhere = torch.zeros(count, FIGURES, 3, device=reference.device)
        asked = Conditioning(fields, reference.new_zeros(count, FIGURES, CELLS, code), nowhere)
        given |= {
            "timestep": given["timestep"].new_ones(count),
            "pooled_projections": given["pooled_projections"][:1].expand(count, -1),
        }
        stands = torch.zeros(len(reference), 1, *(2 * side for side in grid), device=reference.device)
        for number in which.nonzero()[:, 0].tolist():
            seen = reference[number].expand(count, -1, -1)
            velocity = self.paint(torch.zeros_like(seen), asked, nowhere[:, 0], seen, *grid, **given)[0]
            varies = of_tokens(velocity.float(), *grid).var(0).mean(0)
            stands[number, 0] = 1 - soft(varies, _STANDS)
        return stands

    def paint(
        self,
        noisy: torch.Tensor,
        told: Conditioning,
        found: torch.Tensor,
        reference: torch.Tensor | None,
        height: int,
        width: int,
        repainted: torch.Tensor | None = None,
        **given: Any,
    ) -> Any:
        """The velocities of noisy tokens [n, height * width, 32]; the reference, if there is one, has as many.

        `found` [n, 3] is where in it the thing is that a change is about, as in `drawn_where`; `repainted` [n, 1, 1]
        says which pictures come of it, all unless it is given.
        """
        drafted = self.draft(told, found, height, width).to(noisy.dtype)
        behind, is_there = torch.zeros_like(noisy), torch.zeros_like(noisy[..., :1])
        if reference is not None:
            is_there = torch.ones_like(is_there) if repainted is None else repainted.to(noisy.dtype) + is_there
            behind = reference * is_there
        words = self.words(told)
        return super().forward(
            hidden_states=torch.cat([noisy, behind, is_there, drafted], 2),
            encoder_hidden_states=words,
            img_ids=_positions(height, width, noisy.device),
            **given | {"txt_ids": torch.zeros(words.shape[1], 3, device=noisy.device)},
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path, **asked: Any) -> Self:
        """From its folder in a pipeline's, beside which `vae` is, in the `torch_dtype` or `dtype` that is asked for."""
        transformer: Self = filled(cls.from_config(cls.load_config(folder)), folder, asked)
        return transformer.see_through(PackedAutoencoder.from_pretrained(Path(folder).with_name("vae"), **asked))


def _upper(run: _Run, hidden_states: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """The tokens of the upper layer, of a step that would come out at these latents.

    Guidance compares two velocities of the same noisy pictures, with the prompt and then with another. Both get the
    layer of the first, so that it makes no difference to it.
    """
    if run.upper is not None and run.is_led_away(hidden_states):
        return run.upper[1]
    layer = run.things
    if run.reference is not None:
        layer = over(layer, kept(run.reference, clean) * run.repainted[..., None])
    tokens = as_tokens(as_latents(layer)).to(hidden_states.dtype)
    run.upper = (hidden_states, tokens)
    return tokens


def _positions(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Float32 [tokens, 3], as `FluxPipeline` gives them: 0, row, column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).view(-1, 3).float().to(device)


def _grid(ids: torch.Tensor) -> tuple[int, int]:
    """Rows and columns of a picture's tokens, from their positions."""
    rows, columns = (ids[:, 1:].amax(0) - ids[:, 1:].amin(0) + 1).long().tolist()
    return rows, columns
