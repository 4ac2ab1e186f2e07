"""Pictures made and changed by FLUX.2 klein on MLX: Apple silicon, and the CPU elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from cachetools import LRUCache, cachedmethod
from pydantic import Field

from models import checkpoints, devices
from models.engine import Options
from models.errors import CheckpointError, InvalidInput
from models.image.engine import ImageEngine, Step, StepCallback
from models.image.flux2_mlx import Flux2, Tokens, joined, latents_of, mask_of, noise, noise_levels, shown, tokens_of
from models.image.pipeline_tasks import PipelineTask, check_references, choose_task, expected_classes
from models.image.progress import previews
from models.image.sources import Sources, drawn_size
from models.mlx_weights import prepare_mlx
from models.tasks import ImageJob

if TYPE_CHECKING:
    import mlx.core as mx
    from PIL import Image

    from models.entry import ModelEntry

_KLEIN: Final = "Flux2KleinPipeline"
_CLASSES: Final = (_KLEIN, "Flux2KleinInpaintPipeline")
"""What a checkpoint may name. Those of the KV kind (Flux2KleinKVPipeline) see references otherwise."""
_EMPTY: Final = ""
"""The prompt that guidance leads away from."""


class MlxDiffusionOptions(Options):
    """What the catalogue entry of a picture model on MLX can say."""

    bits: Literal[4, 8] | None = Field(
        None,
        description="quantise the transformer and the text encoder to so many bits a number when they are loaded; one "
        "that is quantised already stays as it is",
    )
    native_pixels: int | None = Field(
        None,
        ge=4096,
        description="pixels of the pictures that the model was trained on, where it draws no others well: other sizes "
        "are drawn with about as many, in the same shape, and resized",
    )
    default_strength: float = Field(0.7, gt=0, le=1, description="how much a variation changes")
    prompt_cache: int = Field(32, ge=0, description="prompts whose embeddings are kept")
    vae_tiling: bool = Field(
        False, description="decode pictures of more than 512 pixels a side in tiles, for less memory"
    )


class MlxDiffusionEngine(ImageEngine):
    """A FLUX.2 klein in diffusers' layout: words, instructions about several pictures, strength and masks.

    Each task is done as diffusers' pipelines of this model do it, and picture i starts from the same noise of
    `seed + i` as theirs does in the same dtype, so that a seed means the same picture here and by the engine
    `diffusion`, but for rounding. Pictures are made one after the other. Distilled checkpoints ignore `guidance`; base
    ones use it above 1, which takes twice the time. There are no negative prompts and no LoRAs.
    """

    marker: ClassVar[str] = "model_index.json"
    Options: ClassVar[type[Options]] = MlxDiffusionOptions
    options: MlxDiffusionOptions

    def stream(self, job: ImageJob, on_step: StepCallback) -> Iterator[Image.Image]:
        """The pictures of the job, RGB, in order, each as it is finished.

        Raises:
            InvalidInput: what this model cannot do, named by the field that asks for it.
            OutOfMemory: a picture of this size does not fit.
        """
        task = _task_of(job)
        with devices.inference():
            drawn = drawn_size(job.width, job.height, self.options.native_pixels)
            sources = Sources(job, drawn, task, self.options.default_strength)
            if task == "edit":
                check_references(sources.references)
        if sources.strength == 0:
            yield from [sources.original] * job.n
            return
        with devices.inference():
            start = self._start(job, task, sources)
        for number in range(job.n):
            with devices.inference():
                steps = _Steps(on_step, self._flux2, start, number, job.n)
                picture = sources.finished(self._draw(start, job.seed + number, steps))
                devices.free_device_cache()  # MLX would keep the decoder's gigabytes for the next picture
            yield picture

    @classmethod
    def refuse(cls, entry: ModelEntry, job: ImageJob) -> None:  # noqa: ARG003 - all checkpoints can do the same
        """See `ImageEngine.refuse`."""
        _task_of(job)

    def _start(self, job: ImageJob, task: PipelineTask, sources: Sources) -> _Start:
        width, height = sources.drawn
        rows, columns = height // 16, width // 16
        original: mx.array | None = None
        references: list[Tokens] = []
        if task == "edit":
            encoded = [self._flux2.encode(shown(picture)) for picture in sources.references]
            references = [tokens_of(latents, i) for i, latents in enumerate(encoded)]
        elif task != "text2img":
            latents = self._flux2.encode(sources.picture)
            original, references = tokens_of(latents).values, [tokens_of(latents, 0)]
        return _Start(
            rows=rows,
            columns=columns,
            levels=noise_levels(rows * columns, sources.steps, sources.strength),
            prompt=self._read(job.prompt),
            empty=None if self._is_distilled or job.guidance <= 1 else self._read(_EMPTY),
            guidance=job.guidance,
            references=joined(references) if references else None,
            original=original,
            mask=mask_of(sources.mask, self._flux2.dtype) if task == "inpaint" else None,
        )

    @cachedmethod(lambda self: self._prompts)
    def _read(self, prompt: str) -> Tokens:
        """What the text encoder makes of a prompt, remembered: prompts come again with another seed."""
        return self._flux2.read(prompt)

    def _draw(self, start: _Start, seed: int, steps: _Steps) -> Image.Image:
        """One picture: Euler's method along the noise levels, as diffusers does it."""
        import mlx.core as mx

        dtype = self._flux2.dtype
        noisy = tokens_of(noise(seed, start.rows, start.columns, dtype))
        unchanged, places = noisy.values, noisy.places
        latents = start.at(start.levels[0], unchanged)
        for level, following in pairwise(start.levels):
            velocity = self._velocity(start, Tokens(latents, places), level)
            now = latents.astype(mx.float32)
            clean = start.kept((now - level * velocity).astype(dtype), start.original)
            latents = (now + (following - level) * velocity).astype(dtype)
            latents = start.kept(latents, start.at(following, unchanged))
            mx.eval(latents, clean)
            steps.took(clean)
        return self._flux2.decode(latents_of(latents, start.rows, start.columns), tiled=self.options.vae_tiling)

    def _velocity(self, start: _Start, latents: Tokens, level: float) -> mx.array:
        """Float32 [1, tokens, channels], guided where the model is."""
        import mlx.core as mx

        said = self._flux2.velocity(latents, start.references, start.prompt, level)
        if start.empty is not None:
            unsaid = self._flux2.velocity(latents, start.references, start.empty, level)
            said = unsaid + start.guidance * (said - unsaid)
        return said.astype(mx.float32)

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        name = config.get("_class_name")
        return None if name in _CLASSES else f"is a {name}, and this engine draws with a {_KLEIN} only"

    def _load(self) -> None:
        prepare_mlx(self.entry, "mlx-vlm")
        index_file = self._found([self.marker]) / self.marker
        if not index_file.is_file():
            raise CheckpointError(f"{self.entry.checkpoint!r} has no {self.marker}: it is not a diffusers checkpoint")
        index = json.loads(index_file.read_text("utf-8"))
        if wrong := self._mismatch(index):
            raise CheckpointError(f"{self.entry.checkpoint!r} {wrong}")

        from mlx_vlm.models.flux2.download import DOWNLOAD_PATTERNS

        self._is_distilled = bool(index.get("is_distilled", False))
        folder = self._found([*DOWNLOAD_PATTERNS, "scheduler/*.json"])
        self._flux2 = Flux2(folder, self._dtype(), self.options.bits)
        self._prompts: LRUCache[Any, Tokens] = LRUCache(self.options.prompt_cache)

    def _found(self, patterns: list[str]) -> Path:
        """The checkpoint's folder; of one on the hub, the files with these names are downloaded first."""
        if (folder := checkpoints.local_folder(self.entry.checkpoint)) is not None:
            return folder
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(self.entry.checkpoint, revision=self.entry.revision, allow_patterns=patterns))

    def _dtype(self) -> mx.Dtype:
        import mlx.core as mx

        wanted = self.entry.dtype
        if wanted == "auto":
            wanted = "float32" if mx.default_device() == mx.Device(mx.cpu) else "bfloat16"
        dtype: mx.Dtype = getattr(mx, wanted)
        return dtype

    @property
    def footprint(self) -> int:
        """Bytes of the parameters in memory; 0 when not loaded."""
        return sum(self._flux2.footprint.values()) if self.loaded else 0

    def _warm_up(self) -> None:
        side = min(self.entry.image.width, self.entry.image.height, 256)
        guidance = self.entry.image.guidance
        self.generate(ImageJob("a", side, side, steps=1, guidance=guidance, seed=0), lambda _step: None)


@dataclass(frozen=True)
class _Start:
    """What all pictures of a job begin with.

    `levels` are noise levels from the first to 0. `empty` is there where the model is guided away from it. `original`
    are the latents, as tokens, of the picture whose strength or mask the job says, and `mask` (0-1) what is repainted.
    """

    rows: int
    columns: int
    levels: list[float]
    prompt: Tokens = field(repr=False)
    empty: Tokens | None = field(repr=False)
    guidance: float
    references: Tokens | None = field(repr=False)
    original: mx.array | None = field(repr=False)
    mask: mx.array | None = field(repr=False)

    def at(self, level: float, unchanged: mx.array) -> mx.array:
        """The original under this much of the noise; the noise itself where there is no original."""
        import mlx.core as mx

        if self.original is None:
            return unchanged
        share = mx.array(level, dtype=unchanged.dtype)
        return share * unchanged + (1 - share) * self.original

    def kept(self, latents: mx.array, original: mx.array | None) -> mx.array:
        """The latents where the mask repaints, and `original` elsewhere."""
        if self.mask is None or original is None:
            return latents
        return (1 - self.mask) * original + self.mask * latents


class _Steps:
    """Tells the steps of picture `number` of `pictures`, counted over all of them."""

    def __init__(self, on_step: StepCallback, flux2: Flux2, start: _Start, number: int, pictures: int) -> None:
        self._on_step, self._flux2, self._start = on_step, flux2, start
        self._number, self._pictures, self._taken = number, pictures, 0

    def took(self, clean: mx.array) -> None:
        """After a step; `clean` is what its latents point to. What the callback raises passes."""
        steps = len(self._start.levels) - 1
        self._taken += 1
        done, total = self._number * steps + self._taken, steps * self._pictures
        self._on_step(Step(done, total, self._taken / steps, lambda: self._peek(clean)))

    def _peek(self, clean: mx.array) -> list[tuple[int, Image.Image]]:
        rows, columns = self._start.rows, self._start.columns
        return previews(lambda: [(self._number, self._flux2.preview(latents_of(clean, rows, columns)))])


def _task_of(job: ImageJob) -> PipelineTask:
    """The task that a job asks for.

    Raises:
        InvalidInput: this model cannot do what it asks for, named by the field.
    """
    classes = expected_classes({"_class_name": _KLEIN}, {})
    assert classes is not None
    task = choose_task(job, classes)
    if job.negative_prompt:
        raise InvalidInput("this model takes no negative prompt", "negative_prompt", "unsupported_parameter")
    if job.loras:
        raise InvalidInput("this model takes no LoRAs", "loras", "unsupported_parameter")
    return task
