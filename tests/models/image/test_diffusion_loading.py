"""How a picture model comes into memory: quantised, from GGUF, cached, offloaded; and what cannot be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.errors import Cancelled, CheckpointError
from models.image.engine import Step
from models.image.engines.diffusion import DiffusionEngine
from models.image.loading import Loading
from models.pictures import encode
from models.quantizers import unused
from models.tasks import ImageJob
from tests import checkpoints
from tests.models.conftest import Shelf, entry_of, loaded, with_options

JOB = ImageJob("a red circle", width=64, height=64, steps=4, guidance=2.0, seed=7)


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
        (
            {"quantization": "nf4"},
            r"options.loading.quantization: 'nf4' of 'transformer' needs a CUDA device, and this is 'cpu'",
        ),
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
def test_what_cannot_be_is_reported_by_the_options_name(loading: dict[str, Any], wrong: str, shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match=wrong) as caught:
        flux(shelf, **loading)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loading", [{"quantization": "int8"}, {"gguf": "other.gguf"}])
def test_the_built_in_model_takes_no_other_weights(loading: dict[str, Any]) -> None:
    (option,) = loading
    with pytest.raises(CheckpointError, match=f"options.loading.{option}: not for the built-in model"):
        loaded(with_options(entry_of("diffusion", "builtin:image"), loading=loading))


def test_a_missing_extra_is_named(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)  # as if it were not installed
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


def test_the_step_cache_leaves_tasks_alone_that_cannot_use_it(shelf: Shelf) -> None:
    picture = encode(Image.new("RGB", (64, 64), "red"))
    job = replace(JOB, images=(picture,), strength=0.9)
    assert (drawn(flux(shelf, step_cache=1.0), job) == drawn(flux(shelf), job)).all()


@pytest.mark.parametrize("attention", ["native", "_native_math"])
def test_backends_of_attention_make_the_same_picture(attention: str, shelf: Shelf) -> None:
    assert np.abs(drawn(flux(shelf, attention=attention)) - drawn(flux(shelf))).max() <= 2


def test_a_picture_decoded_in_tiles_is_nearly_the_same(shelf: Shelf) -> None:
    change = np.abs(drawn(flux(shelf, vae_tiling=True)) - drawn(flux(shelf))).mean()
    assert 0 < change < 15


@pytest.mark.parametrize("quantization", ["int8", "fp8"])
def test_quantised_weights_take_less_and_make_nearly_the_same_picture(quantization: str, shelf: Shelf) -> None:
    whole, quantised = flux(shelf), flux(shelf, quantization=quantization)
    assert quantised.footprint < 0.8 * whole.footprint
    change = np.abs(drawn(quantised) - drawn(whole)).mean()
    assert 0 < change < 5


@pytest.mark.skipif(sys.platform != "linux", reason="bitsandbytes is installed on Linux only")
def test_a_text_encoder_in_nf4_works_on_a_cpu(tmp_path: Path) -> None:
    checkpoints.write_flux(tmp_path / "flux", reader_width=64)  # bitsandbytes packs 64 weights of a row at a time
    entry = entry_of("diffusion", tmp_path / "flux")
    whole = loaded(with_options(entry, call={"max_sequence_length": 48}))
    quantised = loaded(
        with_options(
            entry,
            call={"max_sequence_length": 48},
            loading={"quantization": "nf4", "quantized": ["text_encoder_2"]},
        )
    )
    weights = {type(weight).__name__ for weight in quantised._pipeline.text_encoder_2.parameters()}
    assert "Params4bit" in weights
    assert quantised.footprint < 0.8 * whole.footprint
    change = np.abs(drawn(quantised) - drawn(whole)).mean()
    assert 0 < change < 5


@pytest.mark.nightly
def test_packages_of_quantised_weights_are_left_out_where_nothing_is_quantised(shelf: Shelf) -> None:
    program = """
import sys
from models.catalog import create_engine
from models.entry import ModelEntry
engine = create_engine(ModelEntry(engine="diffusion", checkpoint=sys.argv[1], device="cpu", threads=1))
engine.load()
print([name for name in ("bitsandbytes", "gguf", "scipy", "torchao") if sys.modules.get(name)])
"""
    command = [sys.executable, "-c", program, shelf("flux").checkpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_packages_of_quantised_weights_are_there_where_a_checkpoint_or_its_entry_needs_them(
    shelf: Shelf, tmp_path: Path
) -> None:
    plain = shelf("flux").checkpoint
    assert unused([plain], Loading(quantization="int8").packages) == ("bitsandbytes", "gguf", "scipy")
    assert unused([plain], Loading(quantization="nf4", gguf="/a/file").packages) == ("torchao", "scipy")
    assert unused([plain, "someone/on-the-hub"], ()) == ()
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text('{"quantization_config": {"quant_method": "bitsandbytes"}}')
    assert unused([plain, str(tmp_path)], ()) == ()


@pytest.mark.parametrize("fields", ['"_class_name": "LMSDiscreteScheduler"', '"use_beta_sigmas": true'])
def test_scipy_is_there_where_a_scheduler_computes_with_it(tmp_path: Path, fields: str) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(f"{{{fields}}}")
    assert "scipy" not in unused([str(tmp_path)], ())


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
    import gguf

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
