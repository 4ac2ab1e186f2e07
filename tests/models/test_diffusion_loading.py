"""How a picture model comes into memory: quantised, from GGUF, cached, offloaded; and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.diffusion import DiffusionEngine
from models.engine import Step
from models.errors import Cancelled, CheckpointError
from models.pictures import encode
from models.tasks import ImageJob
from tests.models.conftest import Shelf, loaded, with_options

JOB = ImageJob("a red circle", width=64, height=64, steps=4, guidance=2.0, seed=7)

# The extra `gpu` is not part of an ordinary install: diffusers would import it at every start, for seconds.
needs_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="the extra `gpu` (torchao) is not installed")
needs_gguf = pytest.mark.skipif(find_spec("gguf") is None, reason="the extra `gpu` (gguf) is not installed")


def on_step(_step: Step) -> None:
    """Do nothing."""


def flux(shelf: Shelf, name: str = "flux", **loading: Any) -> DiffusionEngine:
    engine: DiffusionEngine = loaded(with_options(shelf(name), call={"max_sequence_length": 48}, loading=loading))
    return engine


def drawn(engine: DiffusionEngine, job: ImageJob = JOB) -> np.ndarray:
    return np.asarray(engine.generate(job, on_step)[0], int)


@pytest.mark.parametrize(
    ("loading", "wrong"),
    [
        ({"quantization": "nf4"}, r"options.loading.quantization: 'nf4' needs a CUDA device, and this is 'cpu'"),
        (
            {"offload": "sequential", "quantization": "nf4"},
            r"options.loading.offload: 'sequential' does not go with nf4",
        ),
        ({"offload": "model"}, r"options.loading.offload: 'model' needs a CUDA device, and this is 'cpu'"),
        ({"quantization": "int8", "quantized": ["brain"]}, r"options.loading.quantized: the checkpoint has none"),
        ({"gguf": "/nothing/here.gguf"}, r"options.loading.gguf: no file at '/nothing/here.gguf'"),
        ({"attention": "telepathy"}, r"options.loading.attention: 'telepathy': .*must be one of .*native"),
        ({"attention": "flash_varlen"}, r"options.loading.attention: 'flash_varlen': "),
        ({"step_cache": 0.1, "compile": True}, r"step_cache and compile cannot be used together"),
        ({"variant": "fp16"}, r"could not be loaded as diffusion: .*variant=fp16"),
    ],
)
def test_what_cannot_be_is_told_by_the_options_name(loading: dict[str, Any], wrong: str, shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match=wrong) as caught:
        flux(shelf, **loading)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(find_spec("torchao") is not None, reason="the extra `gpu` is installed")
def test_a_missing_extra_is_named(shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match="int8 needs the package torchao; install Atelier with the extra `gpu`"):
        flux(shelf, quantization="int8")


@pytest.mark.parametrize(
    ("name", "pipeline"), [("sdxl", "StableDiffusionXLPipeline"), ("flux2_klein", "Flux2KleinPipeline")]
)
def test_a_model_without_such_a_cache_says_so(name: str, pipeline: str, shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match=f"step_cache: a {pipeline} has no such cache"):
        loaded(with_options(shelf(name), loading={"step_cache": 0.1}))


def test_the_step_cache_skips_work_and_leaves_nothing_for_the_next_picture(shelf: Shelf) -> None:
    cached = flux(shelf, step_cache=1.0)
    runs: list[int] = []
    cached._pipeline.transformer.single_transformer_blocks[0].proj_out.register_forward_hook(lambda *_: runs.append(1))
    job = replace(JOB, guidance=1.0)
    first = drawn(cached, job)
    assert 1 <= len(runs) < job.steps

    def cancelling(step: Step) -> None:
        if step.done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        cached.generate(replace(job, seed=8, prompt="three small blue stars"), cancelling)
    assert (drawn(cached, job) == first).all()


def test_the_step_cache_leaves_ways_alone_that_cannot_use_it(shelf: Shelf) -> None:
    picture = encode(Image.new("RGB", (64, 64), "red"))
    job = replace(JOB, images=(picture,), strength=0.9)
    assert (drawn(flux(shelf, step_cache=1.0), job) == drawn(flux(shelf), job)).all()


@pytest.mark.parametrize("attention", ["native", "_native_math"])
def test_backends_of_attention_make_the_same_picture(attention: str, shelf: Shelf) -> None:
    assert np.abs(drawn(flux(shelf, attention=attention)) - drawn(flux(shelf))).max() <= 2


def test_a_picture_decoded_in_tiles_is_nearly_the_same(shelf: Shelf) -> None:
    change = np.abs(drawn(flux(shelf, vae_tiling=True)) - drawn(flux(shelf))).mean()
    assert 0 < change < 15


@needs_torchao
@pytest.mark.parametrize("quantization", ["int8", "fp8"])
def test_quantised_weights_take_less_and_make_nearly_the_same_picture(quantization: str, shelf: Shelf) -> None:
    whole, quantised = flux(shelf), flux(shelf, quantization=quantization)
    assert quantised.footprint < 0.8 * whole.footprint
    change = np.abs(drawn(quantised) - drawn(whole)).mean()
    assert 0 < change < 5


@needs_gguf
def test_a_gguf_file_stands_in_for_the_transformer(shelf: Shelf, tmp_path: Path) -> None:
    whole = flux(shelf)
    file = tmp_path / "flux.gguf"
    _write_gguf(file, whole._pipeline.transformer.state_dict())
    quantised = flux(shelf, gguf=str(file))
    assert quantised.footprint < whole.footprint
    change = np.abs(drawn(quantised) - drawn(whole)).mean()
    assert 0 < change < 5


def _write_gguf(file: Path, weights: dict[str, Any]) -> None:
    """Matrices in Q8_0 where their rows allow it, everything else whole."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(str(file), "flux")
    for name, weight in weights.items():
        array = weight.numpy()
        if array.ndim == 2 and array.shape[1] % 32 == 0:
            q8 = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, q8), raw_dtype=q8)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
