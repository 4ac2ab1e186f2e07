"""Picture models: load, memory and seconds a picture in each way that an entry can choose, beside bare diffusers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import settings
from bench.gpu import checkpoints
from bench.gpu.checkpoints import Pipeline
from bench.gpu.report import LeftOut
from bench.gpu.work import GB, Work
from bench.overhead import ROOT, seconds
from models.catalog import create_engine
from models.entry import ModelEntry
from models.tasks import ImageJob

CARD_GB: Final = 24.0
"""The card that serve_config.gpu.yaml is written for: `gpus` of an entry are shares of it."""
PROMPT = "a lighthouse on a cliff above the sea in the evening, painted in oil, with a small boat in the foreground"
_numbers = count(1)


@dataclass(frozen=True)
class Variant:
    """One way to load a model: `options.loading` of its entry. `package` is what it needs beside torch's own.

    `is_bare`: diffusers alone is timed in the same way. `on_cpu`: it can be tried without a GPU. `target`: seconds a
    picture at most.
    """

    name: str
    loading: Mapping[str, Any] | None
    is_bare: bool = False
    on_cpu: bool = False
    target: float | None = None
    package: str | None = None
    needs: float = 20


@dataclass(frozen=True)
class PictureModel:
    """A model to measure. `call` are arguments of its pipeline that a bare call needs."""

    write: Callable[[bool], Pipeline]
    variants: tuple[Variant, ...]
    call: Mapping[str, Any]
    image: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of an entry that serve_config.gpu.yaml does not have."""


def _eager(target: float | None = None) -> Variant:
    return Variant("eager", {}, is_bare=True, on_cpu=True, target=target)


def _compiled(target: float | None = None) -> Variant:
    return Variant("compiled", {"compile": True}, is_bare=True, target=target, needs=30)


_AS_CONFIGURED = Variant("as configured (nf4)", None, package="bitsandbytes")
_CUDNN = Variant("attention _native_cudnn", {"attention": "_native_cudnn"}, is_bare=True)
_NATIVE = Variant("attention native", {"attention": "native"}, is_bare=True, on_cpu=True)
_FLASH = Variant("attention flash", {"attention": "flash"}, is_bare=True, package="flash_attn")
_SAGE = Variant("attention sage", {"attention": "sage"}, is_bare=True, package="sageattention")
_FP8 = Variant("fp8", {"quantization": "fp8", "quantized": ["transformer"]}, on_cpu=True, package="torchao")
_OFFLOAD = Variant("offload model", {"offload": "model"})

MODELS: Final[Mapping[str, PictureModel]] = {
    "klein": PictureModel(
        checkpoints.klein,
        (_eager(), _AS_CONFIGURED, _compiled(0.45), _CUDNN, _NATIVE, _OFFLOAD, _FP8, _FLASH, _SAGE),
        {"guidance_scale": 1.0},
    ),
    "z-image": PictureModel(
        checkpoints.z_image, (_eager(), _compiled(1.0), _AS_CONFIGURED, _CUDNN), {"guidance_scale": 0.0}
    ),
    "dev": PictureModel(
        partial(checkpoints.flux, is_dev=True),
        (
            _eager(3.9),
            Variant("step cache 0.12", {"step_cache": 0.12}, is_bare=True, on_cpu=True, target=2.4),
            _AS_CONFIGURED,
            _compiled(3.9),
            _CUDNN,
        ),
        {"guidance_scale": 3.5},
    ),
    "schnell": PictureModel(
        partial(checkpoints.flux, is_dev=False),
        (_eager(0.6), _compiled(0.6), _AS_CONFIGURED),
        {"guidance_scale": 0.0, "max_sequence_length": 256},
    ),
    "qwen-image": PictureModel(
        checkpoints.qwen_image,
        (_eager(), Variant("step cache 0.12", {"step_cache": 0.12}, is_bare=True, on_cpu=True), _CUDNN),
        {"true_cfg_scale": 1.0},
        {"width": 1024, "height": 1024, "steps": 20, "guidance": 1.0},
    ),
}


def run(work: Work, name: str) -> None:
    """Measure one model."""
    model = MODELS[name]
    folder = work.folder / name
    entry = entry_of(name, folder, tiny=work.tiny)
    if work.drawn:
        _run_drawn(work, model, folder, entry)
        return
    if not write(work, name, folder):
        return
    _measure_all(work, model, entry, [each for each in model.variants if _is_possible(work, each)])


def _run_drawn(work: Work, model: PictureModel, folder: Path, entry: ModelEntry) -> None:
    """Each way to load the model in a turn of its own; those that change weights as they are read come not at all."""
    from diffusers import DiffusionPipeline

    pipeline = model.write(work.tiny)
    pipeline.outline(folder)
    with patch.object(DiffusionPipeline, "from_pretrained", lambda *_, **__: pipeline.made(work.device)):
        for variant in model.variants:
            if not variant.is_bare:
                work.say(LeftOut(f"{variant.name}: it reads a checkpoint"))
            elif variant is not _NATIVE and _is_possible(work, variant):  # which eager is too
                work.turn(variant.needs)
                compiles = "compile" in (variant.loading or {})  # there is time for it once
                _measure_all(work, model, entry, [replace(variant, is_bare=not compiles)])


def _measure_all(work: Work, model: PictureModel, entry: ModelEntry, variants: list[Variant]) -> None:
    bare = _time_bare(work, model, entry, [each for each in variants if each.is_bare])
    for variant in variants:
        work.attempt(variant.name, partial(_measure, work, entry, variant, bare.get(variant.name)), needs=variant.needs)


def write(work: Work, name: str, folder: Path) -> bool:
    """Write the checkpoint of a model; whether that went well."""
    device = work.device
    took = work.attempt("write", lambda: seconds(lambda: MODELS[name].write(work.tiny).write(folder, device)))
    if took is None:
        return False
    work.figure("checkpoint on disk", checkpoints.size_of(folder) / GB, "GB")
    work.figure("its writing", took, "s")
    return True


def entry_of(name: str, folder: Path, *, tiny: bool) -> ModelEntry:
    """The entry of serve_config.gpu.yaml with the checkpoint in `folder`, or one of its own."""
    configured = settings.load(ROOT / "serve_config.gpu.yaml", {}).models
    known = {"engine": "diffusion", "checkpoint": "builtin:image", "image": dict(MODELS[name].image)}
    said: dict[str, Any] = configured[name].model_dump() if name in configured else known
    options = {key: value for key, value in said.get("options", {}).items() if key != "redux"}
    changed: dict[str, Any] = {"checkpoint": str(folder), "options": options}
    if tiny:
        # the steps stay, so that the same code is run as often
        small = {**said["image"], "width": 64, "height": 64}
        changed |= {"device": "cpu", "threads": 1, "image": small, "options": {**options, "loading": {}}}
    return ModelEntry.model_validate(said | changed)


def _is_possible(work: Work, variant: Variant) -> bool:
    """Whether this machine can be expected to do it. Packages of the extra `gpu` are, others may be there or not."""
    if work.tiny:
        return variant.on_cpu
    if variant in (_FLASH, _SAGE) and variant.package and find_spec(variant.package) is None:
        work.say(LeftOut(f"{variant.name}: the package {variant.package} is not installed"))
        return False
    return True


def _time_bare(work: Work, model: PictureModel, entry: ModelEntry, variants: list[Variant]) -> dict[str, float]:
    """Seconds a picture by diffusers alone, by the variant's name; what compiles comes last, since it stays."""
    found: dict[str, float] = {}

    def loaded() -> Any:
        import diffusers
        import torch

        dtype = torch.float32 if work.tiny else torch.bfloat16
        pipeline = diffusers.DiffusionPipeline.from_pretrained(entry.checkpoint, dtype=dtype)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(work.device)

    pipelines: list[Any] = []
    took = work.attempt("load, bare", lambda: seconds(lambda: pipelines.append(loaded())), needs=15)
    if took is None:
        return found
    if not work.drawn:
        work.figure("load, bare", took, "s")
    size = {"width": entry.image.width, "height": entry.image.height, "num_inference_steps": entry.image.steps}

    def timed(variant: Variant) -> float:
        with _set(pipelines[0], variant.loading or {}):
            return work.seconds(lambda: pipelines[0](prompt=_new_prompt(), **size, **model.call))

    for variant in sorted(variants, key=lambda each: "compile" in (each.loading or {})):
        what = f"{variant.name}, bare"
        value = work.attempt(what, partial(timed, variant), needs=variant.needs)
        if value is not None:
            found[variant.name] = value
            work.figure(f"picture, {what}", value, "s")
    return found


@contextmanager
def _set(pipeline: Any, loading: Mapping[str, Any]) -> Iterator[None]:
    """The bare pipeline with the settings that an entry would ask for."""
    from diffusers import FirstBlockCacheConfig, attention_backend

    transformer = pipeline.transformer
    if "compile" in loading:
        transformer.compile_repeated_blocks()
    if "attention" in loading:
        transformer.set_attention_backend(loading["attention"])
    if "step_cache" in loading:
        transformer.enable_cache(FirstBlockCacheConfig(threshold=loading["step_cache"]))
    try:
        with attention_backend(loading.get("attention", "native")):  # which setting it leaves behind for other models
            yield
    finally:
        if "attention" in loading:
            transformer.reset_attention_backend()
        if "step_cache" in loading:
            transformer.disable_cache()


def _measure(work: Work, entry: ModelEntry, variant: Variant, bare: float | None) -> None:
    """An engine as the server has it, from its loading to a picture."""
    options = dict(entry.options)
    promise = None
    if variant.loading is None:
        promise = entry.gpus * CARD_GB
    else:
        options["loading"] = dict(variant.loading)
    engine: Any = create_engine(ModelEntry.model_validate(entry.model_dump() | {"options": options}))
    work.forget_peak()
    with _own_attention():
        _time(work, engine, variant, bare, promise)


@contextmanager
def _own_attention() -> Iterator[None]:
    """Around an engine: an attention backend that it sets is taken by every later model of the process too."""
    from diffusers import attention_backend

    with attention_backend("native"):
        yield


def _time(work: Work, engine: Any, variant: Variant, bare: float | None, promise: float | None) -> None:
    if work.load(variant.name, engine) is None:
        return
    image = engine.entry.image
    try:
        # a new prompt each time: the engine remembers what it has read
        took = work.seconds(
            lambda: engine.generate(
                ImageJob(_new_prompt(), image.width, image.height, image.steps, image.guidance, seed=1),
                lambda _step: None,
            )
        )
        work.figure(f"picture, {variant.name}", took, "s", beside=bare, target=variant.target)
        work.say_peak(variant.name, promise)
    finally:
        engine.unload()


def _new_prompt() -> str:
    return f"{PROMPT}, number {next(_numbers)}"
