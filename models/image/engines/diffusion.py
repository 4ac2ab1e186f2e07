"""Pictures made and changed by any diffusers checkpoint (FLUX, Kontext, FLUX.2, Z-Image, Qwen-Image, SDXL …)."""

from __future__ import annotations

import inspect
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from models import checkpoints, devices
from models.engine import Options
from models.errors import CheckpointError, InvalidInput, OutOfMemory
from models.image.engine import ImageEngine, Step, StepCallback
from models.image.loading import Loading, alike_in_any_batch, load, step_cache, tune
from models.image.loras import Loras, LoraSource
from models.image.pipeline_tasks import (
    GUIDED_ABOVE_0,
    ONE_BY_ONE,
    READS_NO_SLIPS,
    Way,
    check_references,
    choose,
    expected_ways,
    main_class,
    sibling,
    ways_of,
)
from models.image.previews import LatentColours, Previewer
from models.image.sources import Sources, drawn_size

if TYPE_CHECKING:
    from PIL import Image

    from models.entry import ModelEntry
    from models.tasks import ImageJob, LoraUse

logger = logging.getLogger(__name__)

GuidanceArgument = Literal["guidance_scale", "true_cfg_scale", "none"]

_OURS = frozenset(
    {
        "prompt", "negative_prompt", "width", "height", "num_inference_steps", "generator", "num_images_per_prompt",
        "callback_on_step_end", "output_type", "return_dict", "image", "mask_image", "strength",
    }
)  # fmt: skip
"""Call arguments that come from the job, so that `call` may not set them."""
_NEEDED = frozenset({"prompt", "num_inference_steps", "generator", "num_images_per_prompt", "callback_on_step_end"})
"""Call arguments without which a pipeline cannot do what a job says."""
_MOST_AT_ONCE = 4_194_304
"""Pixels of a batch, where the entry says nothing."""
_WITHOUT_WORDS: dict[str, Any] = {"prompt": None, "prompt_2": None}


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
    pipelines: dict[Way, str] = Field(
        default_factory=dict,
        description="diffusers classes for text, edit, image or inpaint where the checkpoint's own class says too "
        "little, e.g. edit: FluxKontextPipeline",
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

    def stream(self, job: ImageJob, on_step: StepCallback) -> Iterator[Image.Image]:
        """The pictures of the job, RGB, in order; those of a batch come together.

        Raises:
            InvalidInput: what this model cannot do, named by the field that asks for it.
            OutOfMemory: not even one picture of this size fits.
        """
        by_likeness = _by_likeness(job, self.options)
        way = choose(job, {way: cls.__name__ for way, cls in self._ways.items()}, by_likeness=by_likeness)
        drawn = drawn_size(job.width, job.height, self.options.native_pixels)
        pipeline = self._pipeline_for(way)
        with devices.inference():
            sources = Sources(job, drawn, way, self.options.default_strength)
            if way == "edit" and type(pipeline).__name__ in READS_NO_SLIPS:
                check_references(sources.references)
        arguments = self._arguments(pipeline, way, job, sources)
        with devices.inference():
            self._loras.use(job.loras)
        if sources.strength == 0:
            yield from [sources.original] * job.n
            return
        likeness = self._likeness(job, sources.original) if by_likeness else {}
        made = 0
        size = self._batch_size(pipeline, drawn)
        while made < job.n:
            seeds = [job.seed + i for i in range(made, min(made + size, job.n))]
            progress = _Progress(on_step, Previewer(pipeline, drawn, self._colours), made, len(seeds), job)
            try:
                with self._at_work():
                    batch = arguments | _given(pipeline, way, sources, len(seeds)) | _repeated(likeness, len(seeds))
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
        index = _index_on_disk(entry)
        options = DiffusionOptions.model_validate(entry.options)
        if index is not None and (ways := expected_ways(index, options.pipelines)) is not None:
            choose(job, ways, by_likeness=_by_likeness(job, options))

    def _batch_size(self, pipeline: Any, drawn: tuple[int, int]) -> int:
        """How many pictures are begun at once; when they do not fit, fewer are tried."""
        if type(pipeline).__name__ in ONE_BY_ONE:
            return 1
        return self.options.max_batch or max(1, _MOST_AT_ONCE // (drawn[0] * drawn[1]))

    def _pipeline_for(self, way: Way) -> Any:
        """The pipeline of a way, made when first asked for; they share all weights."""
        cls = self._ways[way]
        if cls not in self._pipelines:
            made = sibling(self._pipeline, cls)
            _keep_embeddings(made, self._embeddings, self.options.prompt_cache, lambda: self._loras.acting)
            self._pipelines[cls] = made
        return self._pipelines[cls]

    def _run(
        self, pipeline: Any, arguments: Mapping[str, Any], seeds: Sequence[int], progress: _Progress
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

    def _arguments(self, pipeline: Any, way: Way, job: ImageJob, sources: Sources) -> dict[str, Any]:
        parameters = inspect.signature(type(pipeline).__call__).parameters
        width, height = sources.drawn
        arguments: dict[str, Any] = {name: value for name, value in self.options.call.items() if name in parameters}
        arguments |= {"prompt": job.prompt, "num_inference_steps": sources.steps}
        fitting = {"width": width, "height": height, "max_area": width * height, "_auto_resize": False}
        arguments |= {name: value for name, value in fitting.items() if name in parameters}
        if way in ("image", "inpaint"):
            arguments["strength"] = sources.strength
        if self._guidance_argument in parameters:
            arguments[self._guidance_argument] = job.guidance
        negative_prompt = job.negative_prompt or None
        if not self._takes_negative_prompt or "negative_prompt" not in parameters:
            if negative_prompt is not None:
                raise InvalidInput("this model takes no negative prompt", "negative_prompt", "unsupported_parameter")
            return arguments
        if negative_prompt is not None:
            _check_guidance(pipeline, arguments)
        elif arguments.get("true_cfg_scale", 0) > 1:
            negative_prompt = ""  # without one, these pipelines leave true guidance out
        if negative_prompt is not None:
            arguments["negative_prompt"] = negative_prompt
        return arguments

    def _likeness(self, job: ImageJob, picture: Image.Image) -> dict[str, Any]:
        """Redux's embeddings of a picture and a prompt, in place of a prompt's."""
        with self._at_work():
            described = self._redux(image=picture, prompt=job.prompt)
        return {"prompt_embeds": described.prompt_embeds, "pooled_prompt_embeds": described.pooled_prompt_embeds}

    def _load(self) -> None:
        loading, more = self.options.loading, [] if self.options.redux is None else [self.options.redux]
        device, dtype = devices.prepare_torch(self.entry, loading.packages, more)
        source = checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint
        index = self._read_index(source)

        import diffusers
        from transformers.utils import logging as transformers_logging

        # what matters is raised; the rest (adjusted sizes, ignored arguments) would be said again at each request
        diffusers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        main = main_class(index)
        self._ways = ways_of(main, self.options.pipelines)
        for cls in self._ways.values():
            if missing := _NEEDED - inspect.signature(cls.__call__).parameters.keys():
                raise CheckpointError(f"{cls.__name__} cannot be told {', '.join(sorted(missing))}")
        self._check_call(main)
        parameters = inspect.signature(main.__call__).parameters
        chosen: dict[str, Any] = {"dtype": dtype, "revision": self.entry.revision}
        if "safety_checker" in index:
            chosen |= {"safety_checker": None, "requires_safety_checker": False}
        pipeline = load(main, source, index, loading, device, chosen)
        tune(pipeline, loading)
        if device == "cpu" and not loading.compile:
            alike_in_any_batch(pipeline)
        pipeline.set_progress_bar_config(disable=True)
        self._guidance_argument = self.options.guidance_argument or _guidance_argument(pipeline, parameters)
        self._takes_negative_prompt = "negative_prompt" in parameters and (
            # with a true_cfg_scale that stays at 1, a pipeline ignores the negative prompt
            "true_cfg_scale" not in parameters
            or self._guidance_argument == "true_cfg_scale"
            or self.options.call.get("true_cfg_scale", 1) > 1
        )
        self._pipeline = pipeline
        self._pipelines: dict[type, Any] = {}
        self._embeddings: OrderedDict[object, Any] = OrderedDict()
        self._colours = LatentColours(pipeline)
        if loading.offload != "none":  # later, it would need the device in the middle of a run
            try:
                self._colours.fit()
            except Exception:  # an autoencoder of a kind that is not known here: the model itself works
                logger.warning("%s will have no previews", self.entry.checkpoint, exc_info=True)
            pipeline.maybe_free_model_hooks()
        self._loras = Loras(pipeline, self.options.loras, self.options.max_loras)
        self._redux: Any = None
        if self.options.redux is not None:
            self._redux = _redux(self.options.redux, pipeline, dtype, device)

    def _read_index(self, source: Path | str) -> dict[str, Any]:
        """The checkpoint's model_index.json; raises CheckpointError when it has none."""
        name = "model_index.json"
        if isinstance(source, Path):
            path = source / name
        else:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

            try:
                path = Path(hf_hub_download(source, name, revision=self.entry.revision))
            except LocalEntryNotFoundError:  # an EntryNotFoundError too, but it means that the hub is out of reach
                raise
            except EntryNotFoundError:
                path = Path(name)
        if not path.is_file():
            raise CheckpointError(f"{self.entry.checkpoint!r} has no {name}: it is not a diffusers checkpoint")
        index: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return index

    def _check_call(self, main: Any) -> None:
        known = {name for cls in (main, *self._ways.values()) for name in inspect.signature(cls.__call__).parameters}
        for name in (*self.options.call, self.options.guidance_argument or "none"):
            if name in _OURS:
                raise CheckpointError(f"options.call: {name!r} is set by each request")
            if name != "none" and name not in known:
                others = ", ".join(sorted(known - _OURS - {"self"}))
                raise CheckpointError(
                    f"options: the pipeline of {self.entry.checkpoint!r} has no argument {name!r}; it has: {others}"
                )

    def _modules(self) -> Sequence[Any]:
        import torch

        pipelines = [self._pipeline] if self._redux is None else [self._pipeline, self._redux]
        parts = {id(part): part for pipeline in pipelines for part in pipeline.components.values()}
        return [part for part in parts.values() if isinstance(part, torch.nn.Module)]

    def _warm_up(self) -> None:
        from models.tasks import ImageJob

        if "text" not in self._ways:
            return
        side = min(self.entry.image.width, self.entry.image.height, 256)
        guidance = self.entry.image.guidance
        self.generate(ImageJob("a", side, side, steps=1, guidance=guidance, seed=0), lambda _step: None)


class _Progress:
    """The pipeline's step callback: counts the steps of all pictures of a job as one work."""

    def __init__(self, on_step: StepCallback, previewer: Previewer, made: int, batch: int, job: ImageJob) -> None:
        self._on_step, self._previewer = on_step, previewer
        self._made, self._batch, self._pictures = made, batch, job.n

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        steps = pipeline.num_timesteps
        self._previewer.saw(tensors["latents"])
        done = self._made * steps + (step + 1) * self._batch
        self._on_step(Step(done, steps * self._pictures, (step + 1) / steps, self._peek))
        return tensors

    def _peek(self) -> list[tuple[int, Image.Image]]:
        try:
            return list(enumerate(self._previewer.pictures(), start=self._made))
        except Exception:  # out of memory, say: a preview is not worth the picture
            logger.warning("a preview could not be made", exc_info=True)
            devices.free_device_cache()
            return []


def _by_likeness(job: ImageJob, options: DiffusionOptions) -> bool:
    return job.is_variation and job.strength is None and options.redux is not None


def _index_on_disk(entry: ModelEntry) -> dict[str, Any] | None:
    """A checkpoint's model_index.json, where it is in a folder or was downloaded before; loading says what is wrong."""
    try:
        folder = checkpoints.local_folder(entry.checkpoint)
        if folder is None:
            from huggingface_hub import try_to_load_from_cache

            found = try_to_load_from_cache(entry.checkpoint, "model_index.json", revision=entry.revision)
            if not isinstance(found, str):
                return None
            folder = Path(found).parent
        return _index_in(folder)
    except (CheckpointError, OSError, ValueError):
        return None


@cache
def _index_in(folder: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((folder / "model_index.json").read_bytes())
    return index


def _redux(checkpoint: str, pipeline: Any, dtype: Any, device: str) -> Any:
    """A FluxPriorReduxPipeline that reads prompts with the text encoders of `pipeline`.

    Raises:
        CheckpointError: the pipeline is not of the FLUX.1 kind, whose embeddings Redux makes.
    """
    import diffusers

    if not isinstance(getattr(pipeline, "transformer", None), diffusers.FluxTransformer2DModel):
        raise CheckpointError(f"options.redux: is for FLUX.1 checkpoints, and this is a {type(pipeline).__name__}")
    source = checkpoints.local_folder(checkpoint) or checkpoint
    redux = diffusers.FluxPriorReduxPipeline.from_pretrained(source, dtype=dtype).to(device)
    readers = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    redux.register_modules(**{name: getattr(pipeline, name) for name in readers})
    redux.tokenizer_max_length = pipeline.tokenizer_max_length
    return redux


def _repeated(likeness: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The pipeline's arguments for a batch, with Redux's embeddings where there are any."""
    if not likeness:
        return {"num_images_per_prompt": count}
    # a pipeline repeats the embeddings of a prompt only
    repeated = {name: part.repeat_interleave(count, dim=0) for name, part in likeness.items()}
    return _WITHOUT_WORDS | {"num_images_per_prompt": 1} | repeated


def _given(pipeline: Any, way: Way, sources: Sources, count: int) -> dict[str, Any]:
    """The pictures among the pipeline's arguments. Each of a batch gets a copy, so that its own seed is used on it."""
    match way:
        case "edit":
            references = sources.references
            return {"image": references if len(references) > 1 else references[0]}
        case "image" | "inpaint":
            takes_mask = "mask_image" in inspect.signature(type(pipeline).__call__).parameters
            masks = {"mask_image": [sources.mask] * count} if takes_mask else {}
            return {"image": [sources.picture] * count, **masks}
        case _:
            return {}


def _check_guidance(pipeline: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse a negative prompt that the pipeline would not even read.

    Raises:
        InvalidInput: `negative_prompt`.
    """
    parameters = inspect.signature(type(pipeline).__call__).parameters
    name = "true_cfg_scale" if "true_cfg_scale" in parameters else "guidance_scale"
    if name not in parameters:
        return
    least = 0 if type(pipeline).__name__ in GUIDED_ABOVE_0 else 1
    guidance = arguments.get(name, parameters[name].default)
    if guidance is not None and guidance <= least:
        raise InvalidInput(
            f"this model hears a negative prompt only with guidance above {least}, and it is {guidance:g}",
            "negative_prompt",
        )


def _keep_embeddings(
    pipeline: Any, kept: OrderedDict[object, Any], most: int, acting: Callable[[], tuple[LoraUse, ...]]
) -> None:
    """Let a pipeline remember what its text encoders made of a prompt; `kept` is shared by all pipelines of a model.

    Prompts come again: with another seed, as the empty negative prompt, for the next batch. They are kept for one
    picture, however large the batch. LoRAs that are `acting` may change what an encoder makes of them.
    """
    encode: Callable[..., Any] = pipeline.encode_prompt
    signature = inspect.signature(encode)
    name = f"{type(pipeline).__name__}.encode_prompt"

    def remembered(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        if most == 0 or not _is_plain(list(given.arguments.values())):
            return encode(*args, **kwargs)
        count = 1
        if "num_images_per_prompt" in given.arguments and isinstance(given.arguments.get("prompt"), str):
            count, given.arguments["num_images_per_prompt"] = given.arguments["num_images_per_prompt"], 1
        key = (name, repr(sorted(given.arguments.items())), acting())
        if key not in kept:
            kept[key] = encode(*given.args, **given.kwargs)
        kept.move_to_end(key)
        while len(kept) > most:
            kept.popitem(last=False)
        return kept[key] if count == 1 else tuple(_for_each(part, count) for part in kept[key])

    pipeline.encode_prompt = remembered


def _for_each(embeddings: Any, count: int) -> Any:
    """The embeddings of one prompt for each picture of a batch; what has no row for the prompt is for all of them."""
    import torch

    one_row = isinstance(embeddings, torch.Tensor) and embeddings.shape[0] == 1
    return embeddings.repeat_interleave(count, dim=0) if one_row else embeddings


def _is_plain(value: object) -> bool:
    """Whether `repr` tells the value from every other one: no pictures, no tensors."""
    import torch

    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, (str, int, float, torch.device, torch.dtype))


def _guidance_argument(pipeline: Any, parameters: Mapping[str, inspect.Parameter]) -> GuidanceArgument:
    """What a request's guidance feeds by default: the argument that acts in this pipeline."""
    true_cfg = parameters.get("true_cfg_scale")
    # Qwen-Image guides by true_cfg_scale and keeps guidance_scale for distilled checkpoints to come; Flux the reverse
    if true_cfg is not None and true_cfg.default > 1:
        distilled = getattr(getattr(pipeline, "transformer", None), "config", {}).get("guidance_embeds", False)
        return "guidance_scale" if distilled else "true_cfg_scale"
    return "guidance_scale" if "guidance_scale" in parameters else "none"
