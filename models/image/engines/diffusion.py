"""Pictures made and changed by any diffusers checkpoint (FLUX, Kontext, FLUX.2, Z-Image, Qwen-Image, SDXL …)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from cachetools import LRUCache
from pydantic import Field

from models import checkpoints, devices
from models.checkpoints import HubSource
from models.engine import Options
from models.entry import ModelEntry
from models.errors import OutOfMemory
from models.image.call_arguments import CallArguments, GuidanceArgument, check_calls
from models.image.engine import ImageEngine, StepCallback
from models.image.loading import Loading, alike_in_any_batch, load, step_cache, tune
from models.image.loras import Loras, LoraSource, lora_sources
from models.image.model_index import index_on_disk, read_index
from models.image.pipeline_tasks import (
    ONE_BY_ONE,
    REFUSES_SMALL_REFERENCES,
    PipelineTask,
    VariesBy,
    check_references,
    choose_task,
    expected_classes,
    main_class,
    pipeline_classes,
    sibling,
)
from models.image.previews import LatentColours, Previewer
from models.image.progress import BatchProgress
from models.image.prompt_cache import remember_prompts
from models.image.redux import load_redux, uses_redux
from models.image.sources import Sources, drawn_size
from models.tasks import ImageJob

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

_MAX_BATCH_PIXELS = 4_194_304
"""Of the pictures of a batch together, where the entry says nothing."""


class DiffusionOptions(Options):
    """What the catalogue entry of a diffusion model can say."""

    guidance_argument: GuidanceArgument | None = Field(
        None, description="which argument of the pipeline the request's guidance feeds; absent = by the pipeline's kind"
    )
    call: dict[str, Any] = Field(
        default_factory=dict, description="fixed extra arguments of every call, e.g. max_sequence_length: 256"
    )
    max_batch: int | None = Field(
        None,
        ge=1,
        le=10,
        description="pictures of one request made at once; absent = as many as have 4 million pixels together",
    )
    native_pixels: int | None = Field(
        None,
        ge=4096,
        description="pixels of the pictures that the model was trained on, where it draws no others well: other sizes "
        "are drawn with about as many, in the same shape, and resized",
    )
    default_strength: float = Field(
        0.7,
        gt=0,
        le=1,
        description="how much a variation changes, and an edit by a model that follows no instructions",
    )
    pipelines: dict[PipelineTask, str] = Field(
        default_factory=dict,
        description="diffusers classes for text2img, edit, img2img or inpaint where the checkpoint's own class says "
        "too little, e.g. edit: FluxKontextPipeline",
    )
    variations: VariesBy = Field(
        "img2img",
        description="what makes variations: img2img, from the noisy picture, or edit, which is given the picture and "
        "an empty instruction",
    )
    redux: str | None = Field(None, description="checkpoint of a FluxPriorReduxPipeline, which then makes variations")
    loras: dict[str, LoraSource] = Field(default_factory=dict, description="name: an adapter that requests may use")
    max_loras: int = Field(4, ge=1, description="adapters that stay loaded")
    prompt_cache: int = Field(32, ge=0, description="prompts whose embeddings are kept")
    loading: Loading = Field(default_factory=lambda: Loading.model_validate({}))


class DiffusionEngine(ImageEngine):
    """A diffusers checkpoint with one set of weights for all its pipelines.

    Randomness: picture i of a job starts from the noise of `seed + i`, drawn on the CPU on every device. With
    `max_batch` 1 its bytes are those of a job for that seed alone. In larger batches too where the device sums alike
    whatever the batch, which is seen to on a CPU (`alike_in_any_batch`); elsewhere the same job still gives the same
    bytes each time, but picture i may differ from the one made alone by a level of grey here and there (more in
    bfloat16).
    """

    marker: ClassVar[str] = "model_index.json"
    Options: ClassVar[type[Options]] = DiffusionOptions
    options: DiffusionOptions

    @classmethod
    def hub_sources(cls, entry: ModelEntry) -> list[HubSource]:
        """The checkpoint without what a GGUF file takes the place of, Redux, and the adapters."""
        options = DiffusionOptions.model_validate(entry.options)
        replaced = ("transformer",) if options.loading.gguf else ()
        sources = [
            replace(source, variant=options.loading.variant, replaced=replaced) for source in super().hub_sources(entry)
        ]
        if options.redux and (name := checkpoints.hub_id(options.redux)):
            sources.append(HubSource(name))
        return [*sources, *lora_sources(options.loras.values())]

    def stream(self, job: ImageJob, on_step: StepCallback) -> Iterator[Image.Image]:
        """The pictures of the job, RGB, in order; those of a batch come together.

        Raises:
            InvalidInput: what this model cannot do, named by the field that asks for it.
            OutOfMemory: not even one picture of this size fits.
        """
        redux = uses_redux(job, self.options.redux)
        names = {task: cls.__name__ for task, cls in self._classes.items()}
        task = choose_task(job, names, uses_redux=redux, varies_by=self.options.variations)
        drawn = drawn_size(job.width, job.height, self.options.native_pixels)
        pipeline = self._pipeline_for(task)
        with devices.inference():
            sources = Sources(job, drawn, task, self.options.default_strength)
            if task == "edit" and type(pipeline).__name__ in REFUSES_SMALL_REFERENCES:
                check_references(sources.references)
        arguments = self._calls.of_job(pipeline, task, job, sources)
        with devices.inference():
            self._loras.use(job.loras)
        if sources.strength == 0:
            yield from [sources.original] * job.n
            return
        embeddings = self._redux_embeddings(job, sources.original) if redux else {}
        made, size = 0, self._batch_size(pipeline, drawn)
        while made < job.n:
            seeds = [job.seed + i for i in range(made, min(made + size, job.n))]
            progress = BatchProgress(on_step, Previewer(pipeline, drawn, self._colours), made, len(seeds), job.n)
            try:
                with self._at_work():
                    batch = arguments | self._calls.of_batch(pipeline, task, sources, embeddings, len(seeds))
                    pictures = [sources.finished(drawing) for drawing in self._run(pipeline, batch, seeds, progress)]
            except OutOfMemory:
                if len(seeds) == 1:
                    raise
                size = len(seeds) // 2
                continue
            made += len(pictures)
            yield from pictures

    @classmethod
    def refuse(cls, entry: ModelEntry, job: ImageJob) -> None:
        """See `ImageEngine.refuse`. Says nothing of checkpoints that are not on this machine yet."""
        index = index_on_disk(entry)
        options = DiffusionOptions.model_validate(entry.options)
        if index is not None and (classes := expected_classes(index, options.pipelines)) is not None:
            redux = uses_redux(job, options.redux)
            choose_task(job, classes, uses_redux=redux, varies_by=options.variations)

    def _batch_size(self, pipeline: Any, drawn: tuple[int, int]) -> int:
        """How many pictures are begun at once; when they do not fit, fewer are tried."""
        if type(pipeline).__name__ in ONE_BY_ONE:
            return 1
        return self.options.max_batch or max(1, _MAX_BATCH_PIXELS // (drawn[0] * drawn[1]))

    def _pipeline_for(self, task: PipelineTask) -> Any:
        """The pipeline of a task, made when it is first needed; they share all weights."""
        cls = self._classes[task]
        if cls not in self._pipelines:
            made = sibling(self._pipeline, cls)
            remember_prompts(made, self._prompts, lambda: self._loras.acting)
            self._pipelines[cls] = made
        return self._pipelines[cls]

    def _run(
        self, pipeline: Any, arguments: Mapping[str, Any], seeds: Sequence[int], progress: BatchProgress
    ) -> list[Image.Image]:
        import torch

        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        with step_cache(pipeline, self.options.loading):
            made: list[Image.Image] = pipeline(
                **arguments,
                generator=generators,
                callback_on_step_end=progress,
                output_type="pil",
            ).images
        return made

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Around a run of any of the pipelines: `devices.inference`, and under offload the device is left empty.

        A pipeline empties it only at the end of a whole run, and only where the offloading hooks are its own; they
        belong to the pipeline that was loaded.
        """
        with devices.inference():
            try:
                yield
            finally:
                self._pipeline.maybe_free_model_hooks()

    def _redux_embeddings(self, job: ImageJob, picture: Image.Image) -> dict[str, Any]:
        """Embeddings of a picture and a prompt, [1, tokens, channels] and [1, channels], in place of a prompt's."""
        with self._at_work():
            described = self._redux(image=picture, prompt=job.prompt)
        return {"prompt_embeds": described.prompt_embeds, "pooled_prompt_embeds": described.pooled_prompt_embeds}

    def _load(self) -> None:
        options, loading = self.options, self.options.loading
        device, dtype = devices.prepare_torch(
            self.entry, loading.packages, [] if options.redux is None else [options.redux]
        )
        index = read_index(self.entry)

        import diffusers
        from transformers.utils import logging as transformers_logging

        # what matters is raised; the rest (adjusted sizes, ignored arguments) would be said again at each request
        diffusers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        main = main_class(index)
        self._classes = pipeline_classes(main, options.pipelines)
        guidance = [] if options.guidance_argument in (None, "none") else [options.guidance_argument]
        check_calls([main, *self._classes.values()], [*options.call, *guidance], self.entry.checkpoint)
        chosen: dict[str, Any] = {"dtype": dtype, "revision": self.entry.revision}
        if "safety_checker" in index:
            chosen |= {"safety_checker": None, "requires_safety_checker": False}
        source = checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint
        pipeline = load(main, source, index, loading, device, chosen)
        tune(pipeline, loading)
        if device == "cpu" and not loading.compile:
            alike_in_any_batch(pipeline)
        pipeline.set_progress_bar_config(disable=True)
        self._calls = CallArguments(pipeline, options.call, options.guidance_argument)
        self._pipeline = pipeline
        self._pipelines: dict[type, Any] = {}
        self._prompts: LRUCache[Any, Any] = LRUCache(options.prompt_cache)
        self._colours = self._latent_colours(pipeline)
        self._loras = Loras(pipeline, options.loras, options.max_loras)
        self._redux: Any = None
        if options.redux is not None:
            self._redux = load_redux(options.redux, pipeline, dtype, device)

    def _latent_colours(self, pipeline: Any) -> LatentColours:
        colours = LatentColours(pipeline)
        if self.options.loading.offload != "none":  # later, it would need the device in the middle of a run
            try:
                colours.fit()
            except Exception:  # an autoencoder of a kind that is not known here: the model itself works
                logger.warning("%s will have no previews", self.entry.checkpoint, exc_info=True)
            pipeline.maybe_free_model_hooks()
        return colours

    def _modules(self) -> Sequence[Any]:
        import torch

        pipelines = [self._pipeline] if self._redux is None else [self._pipeline, self._redux]
        parts = {id(part): part for pipeline in pipelines for part in pipeline.components.values()}
        return [part for part in parts.values() if isinstance(part, torch.nn.Module)]

    def _warm_up(self) -> None:
        if "text2img" not in self._classes:
            return
        side = min(self.entry.image.width, self.entry.image.height, 256)
        guidance = self.entry.image.guidance
        self.generate(ImageJob("a", side, side, steps=1, guidance=guidance, seed=0), lambda _step: None)
