"""How a diffusers checkpoint comes into memory: quantised, offloaded, compiled, as the catalogue entry says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.devices import first_line
from models.errors import CheckpointError
from models.image.diffusers_internals import has_repeated_blocks, separates_passes

Quantization = Literal["none", "nf4", "int8", "fp8"]

_PACKAGES = {"nf4": "bitsandbytes", "int8": "torchao", "fp8": "torchao", "gguf": "gguf"}
_DENOISERS = ("transformer", "unet")
_UNCACHED = frozenset({"Flux2Transformer2DModel"})
"""Transformers with which diffusers' first-block cache fails (0.42: "Tensor - list" at the first step)."""
_PAINTER = "models.image.painter"
"""Where the classes of the built-in checkpoint's own components are, with that of the autoencoder."""
_ROWS = 16
"""From so many rows on, a product of float32 on a CPU sums each row as in any larger one."""


class Loading(BaseModel):
    """`options.loading` of a diffusion model. The defaults change nothing about the model's pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: str | None = Field(None, description="weight files to take, e.g. fp16")
    quantization: Quantization = Field(
        "none",
        description="nf4 (bitsandbytes; on a CPU text encoders only), int8 or fp8 (torchao) for the components below",
    )
    quantized: tuple[str, ...] = Field(
        ("transformer", "text_encoder_2"), description="components that are quantised, where the checkpoint has them"
    )
    gguf: str | None = Field(None, description="GGUF file of the transformer, in place of the checkpoint's own")
    offload: Literal["none", "model", "sequential"] = Field(
        "none", description="keep weights in main memory and move each model, or each layer, to the GPU when it is used"
    )
    vae_tiling: bool = Field(False, description="decode large pictures in tiles, for less memory")
    attention: str | None = Field(
        None, description="diffusers' attention backend, e.g. flash or sage; absent = torch's"
    )
    step_cache: float | None = Field(
        None,
        gt=0,
        le=1,
        description="reuse a step's result while its first block changes less than this (0.08-0.15), in the tasks "
        "whose pipelines can",
    )
    compile: bool = Field(
        False, description="torch.compile the transformer's blocks: a slow first picture, then faster"
    )

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages of quantised weights that these settings need."""
        kinds = (self.quantization, "none" if self.gguf is None else "gguf")
        return tuple(_PACKAGES[kind] for kind in kinds if kind != "none")


def load(
    main: Any, source: Path | str, index: Mapping[str, Any], loading: Loading, device: str, chosen: Mapping[str, Any]
) -> Any:
    """The pipeline of class `main`, on its device. `chosen` are further arguments of `from_pretrained`.

    Raises:
        CheckpointError: a package that the settings need is missing, or the device cannot do what they say.
    """
    is_painter = any(part[0] == _PAINTER for part in index.values() if isinstance(part, list))
    if is_painter and loading.packages:
        option = "gguf" if loading.gguf else "quantization"
        raise CheckpointError(f"options.loading.{option}: not for the built-in model, which has 8 bits a weight")
    parts = [name for name in loading.quantized if name in index and not (name == "transformer" and loading.gguf)]
    _check_device(loading, parts, device)
    arguments: dict[str, Any] = {**chosen, "variant": loading.variant}
    if loading.quantization != "none":
        arguments["quantization_config"] = _quantization(loading.quantization, parts, chosen["dtype"])
    if loading.gguf is not None:
        arguments["transformer"] = _from_gguf(index, source, loading.gguf, chosen["dtype"])
    if is_painter:
        import_module(_PAINTER)  # diffusers takes classes that an index names from modules that were imported
    pipeline = main.from_pretrained(source, **arguments)
    if loading.offload == "none":
        return pipeline.to(device)
    offload = {"model": "enable_model_cpu_offload", "sequential": "enable_sequential_cpu_offload"}[loading.offload]
    getattr(pipeline, offload)(device=device)
    return pipeline


def tune(pipeline: Any, loading: Loading) -> None:
    """Apply what changes speed and memory once the weights are there.

    Raises:
        CheckpointError: the model has no such thing.
    """
    if loading.vae_tiling:
        pipeline.vae.enable_tiling()
    if loading.attention is None and loading.step_cache is None and not loading.compile:
        return
    denoiser = _denoiser(pipeline)
    if loading.attention is not None:
        try:
            denoiser.set_attention_backend(loading.attention)
        except (AttributeError, ValueError, RuntimeError, ImportError) as error:
            raise CheckpointError(f"options.loading.attention: {loading.attention!r}: {first_line(error)}") from error
    if loading.step_cache is not None:
        if not separates_passes(pipeline) or type(denoiser).__name__ in _UNCACHED:
            raise CheckpointError(f"options.loading.step_cache: a {type(pipeline).__name__} has no such cache")
        if loading.compile:  # the cache's hooks come and go with each run, and a block would be compiled again
            raise CheckpointError("options.loading: step_cache and compile cannot be used together; choose one")
    if loading.compile:
        if not has_repeated_blocks(denoiser):
            raise CheckpointError("options.loading.compile: this model's transformer cannot be compiled by blocks")
        denoiser.compile_repeated_blocks()


def alike_in_any_batch(pipeline: Any) -> None:
    """Let a picture come out the same, bit for bit, alone or in a batch, on a CPU.

    Two things sum differently by batch there: products of very few rows, which take another kernel (the modulations,
    of one row a picture), and the autoencoder's convolutions. The first get more rows, the second a picture at a time.
    """
    from torch.nn import Linear

    for module in _denoiser(pipeline).modules():
        if type(module) is Linear:
            module.forward = partial(_with_rows, module.forward)  # type: ignore[method-assign]
    if hasattr(pipeline.vae, "enable_slicing"):
        pipeline.vae.enable_slicing()


def _with_rows(forward: Callable[[Any], Any], rows: Any) -> Any:
    from torch.nn.functional import pad

    if rows.numel() >= _ROWS * rows.shape[-1]:
        return forward(rows)
    flat = rows.reshape(-1, rows.shape[-1])
    return forward(pad(flat, (0, 0, 0, _ROWS - len(flat))))[: len(flat)].view(*rows.shape[:-1], -1)


@contextmanager
def step_cache(pipeline: Any, loading: Loading) -> Iterator[None]:
    """Around one run: the transformer skips steps as the entry says.

    Only for this run, so that what a cancelled one leaves behind never reaches the next, and only in pipelines that
    tell their guided and unguided passes apart; the others (FLUX.1's image-to-image, say) would mix them.
    """
    if loading.step_cache is None or not separates_passes(pipeline):
        yield
        return
    from diffusers import FirstBlockCacheConfig

    denoiser = _denoiser(pipeline)
    denoiser.enable_cache(FirstBlockCacheConfig(threshold=loading.step_cache))
    try:
        yield
    finally:
        denoiser.disable_cache()


def _denoiser(pipeline: Any) -> Any:
    return next(getattr(pipeline, name) for name in _DENOISERS if getattr(pipeline, name, None) is not None)


def _check_device(loading: Loading, parts: Sequence[str], device: str) -> None:
    if loading.offload == "sequential" and loading.quantization == "nf4":  # huggingface/diffusers#10800
        raise CheckpointError("options.loading.offload: 'sequential' does not go with nf4; use 'model'")
    if device.startswith("cuda"):
        return
    if loading.offload != "none":
        raise CheckpointError(
            f"options.loading.offload: {loading.offload!r} needs a CUDA device, and this is {device!r}"
        )
    # bitsandbytes works on a CPU and transformers lets it; diffusers asks for a GPU before it loads its own models
    others = [part for part in parts if device != "cpu" or not part.startswith("text_encoder")]
    if loading.quantization == "nf4" and others:
        raise CheckpointError(
            f"options.loading.quantization: 'nf4' of {others[0]!r} needs a CUDA device, and this is {device!r}"
        )


def _quantization(kind: Quantization, parts: Sequence[str], dtype: Any) -> Any:
    if not parts:
        raise CheckpointError("options.loading.quantized: the checkpoint has none of these components")
    _require("quantization", kind)
    from diffusers import PipelineQuantizationConfig

    if kind == "nf4":
        return PipelineQuantizationConfig(
            quant_backend="bitsandbytes_4bit",
            quant_kwargs={"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype},
            components_to_quantize=list(parts),
        )
    from diffusers import TorchAoConfig as ForDiffusers
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig
    from transformers import TorchAoConfig as ForTransformers

    config = Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
    return PipelineQuantizationConfig(
        quant_mapping={
            part: (ForTransformers if part.startswith("text_encoder") else ForDiffusers)(config) for part in parts
        }
    )


def _from_gguf(index: Mapping[str, Any], source: Path | str, file: str, dtype: Any) -> Any:
    if not Path(file).expanduser().is_file():
        raise CheckpointError(f"options.loading.gguf: no file at {file!r}")
    if "transformer" not in index:
        raise CheckpointError("options.loading.gguf: this checkpoint has no transformer that a file could replace")
    _require("gguf", "gguf")
    import diffusers

    cls = getattr(diffusers, index["transformer"][1])
    return cls.from_single_file(
        str(Path(file).expanduser()),
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
        config=str(source),
        subfolder="transformer",
        dtype=dtype,
    )


def _require(option: str, kind: str) -> None:
    package = _PACKAGES[kind]
    if find_spec(package) is None:
        raise CheckpointError(
            f"options.loading.{option}: {kind} needs the package {package}; install Atelier with the extra `gpu`"
        )
