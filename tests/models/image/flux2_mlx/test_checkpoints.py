"""Which checkpoints are loaded, in how many bits, and what is refused by its field."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.catalog import create_engine, refuse_impossible
from models.errors import CheckpointError, InvalidImage, InvalidInput
from models.image.engines.diffusion import DiffusionEngine
from models.image.engines.diffusion_mlx import MlxDiffusionEngine
from models.pictures import encode
from models.tasks import LoraUse
from tests.models.conftest import entry_of, loaded, with_options
from tests.models.image.flux2_mlx.drawing import (
    JOB,
    MASK,
    PICTURE,
    TASKS,
    WIDE,
    Changed,
    difference,
    drawn,
    made,
    on_step,
)

pytestmark = pytest.mark.nightly


def test_it_counts_its_parameters_without_the_layers_that_are_not_read_and_gives_them_back(klein: Path) -> None:
    engine = create_engine(entry_of("diffusion_mlx", klein))
    assert engine.footprint == 0
    engine.load()
    assert isinstance(engine, MlxDiffusionEngine)
    pipeline = loaded(entry_of("diffusion", klein))._pipeline
    layers = [f"model.layers.{i}." for i in range(27)]
    text = sum(
        each.numel()
        for name, each in pipeline.text_encoder.named_parameters()
        if name.startswith((*layers, "model.embed_tokens", "model.norm"))
    )
    others = {part: sum(p.numel() for p in getattr(pipeline, part).parameters()) for part in ("transformer", "vae")}
    others["vae"] += 2 * 128  # of the batch norm
    expected = {"text_encoder": 4 * (text + 16 // 2), **{part: 4 * count for part, count in others.items()}}
    assert engine._flux2.footprint == expected
    assert engine.footprint == sum(expected.values())
    engine.unload()
    assert engine.footprint == 0


@pytest.fixture(scope="module")
def four_bits(klein: Path) -> MlxDiffusionEngine:
    engine: MlxDiffusionEngine = loaded(with_options(entry_of("diffusion_mlx", klein), bits=4))
    return engine


def test_with_4_bits_it_takes_less_than_half_and_draws_nearly_the_same(
    mlx: MlxDiffusionEngine, four_bits: MlxDiffusionEngine
) -> None:
    whole, small = mlx._flux2.footprint, four_bits._flux2.footprint
    assert small["vae"] == whole["vae"]
    assert all(small[part] < whole[part] / 2 for part in ("transformer", "text_encoder"))
    assert 0 < difference(drawn(four_bits, JOB), drawn(mlx, JOB)) < 20
    assert difference(drawn(four_bits, JOB), drawn(mlx, replace(JOB, seed=8))) > 40


def test_a_checkpoint_that_was_quantised_for_mlx_stays_as_it_is(
    changed: Changed, four_bits: MlxDiffusionEngine
) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten

    entry = changed()
    for part in ("transformer", "text_encoder", "vae"):  # the last one in MLX's layout of kernels
        folder = Path(entry.checkpoint) / part
        for file in folder.glob("*.safetensors"):
            file.unlink()
        weights = dict(tree_flatten(four_bits._flux2._networks[part].parameters()))
        weights.pop("rotary_emb.inv_freq", None)
        mx.save_safetensors(str(folder / "model.safetensors"), weights)
    config = Path(entry.checkpoint) / "text_encoder" / "config.json"
    text = config.read_text()
    config.unlink()
    config.write_text(text.replace('"num_hidden_layers": 28', '"num_hidden_layers": 27'))
    engine = loaded(with_options(entry, bits=8))
    assert engine._flux2.footprint == four_bits._flux2.footprint
    job = replace(JOB, **TASKS["edit"])
    assert made(engine, job) == made(four_bits, job)


def test_missing_weights_are_refused_and_not_made_up(changed: Changed) -> None:
    entry = changed()
    (file,) = (Path(entry.checkpoint) / "text_encoder").glob("*.safetensors")
    file.rename(file.with_suffix(".elsewhere"))
    import mlx.core as mx

    weights: Any = mx.load(str(file.with_suffix(".elsewhere")), format="safetensors")
    mx.save_safetensors(str(file), {name: each for name, each in weights.items() if ".layers.5." not in name})
    with pytest.raises(CheckpointError, match=r"text_encoder' lacks 11 weights, layers\.5\.\S+ the first of them$"):
        loaded(entry)


@pytest.mark.parametrize("name", ["FluxPipeline", "Flux2Pipeline", "Flux2KleinKVPipeline"])
def test_checkpoints_of_another_class_are_refused_by_its_name(name: str, changed: Changed) -> None:
    entry = changed(_class_name=name)
    with pytest.raises(CheckpointError, match=f"is a {name}, and this engine draws with a Flux2KleinPipeline only"):
        loaded(entry)
    with pytest.raises(CheckpointError, match=f"is a {name}"):
        MlxDiffusionEngine.check(entry)


def test_a_checkpoint_that_names_the_sibling_for_masks_is_loaded(changed: Changed, mlx: MlxDiffusionEngine) -> None:
    assert made(loaded(changed(_class_name="Flux2KleinInpaintPipeline")), JOB) == made(mlx, JOB)


@pytest.mark.parametrize(
    ("name", "fields", "wrong"),
    [
        ("vae/config.json", {"block_out_channels": [96, 192, 384, 384]}, "has another autoencoder"),
        ("vae/config.json", {"decoder_block_out_channels": [96, 192, 384, 384]}, "has another autoencoder"),
        ("scheduler/scheduler_config.json", {"use_dynamic_shifting": False}, "has other noise levels"),
    ],
)
def test_what_mlx_vlm_takes_for_given_is_checked(
    name: str, fields: dict[str, object], wrong: str, changed: Changed
) -> None:
    with pytest.raises(CheckpointError, match=wrong):
        loaded(changed(name, **fields))


def test_without_mlx_the_extra_is_named(klein: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlx", None)
    with pytest.raises(CheckpointError, match="the engine diffusion_mlx needs the extra `mac`: pip install mlx-vlm"):
        loaded(entry_of("diffusion_mlx", klein))


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"negative_prompt": "a blue star"}, "negative_prompt", "unsupported_parameter"),
        ({"loras": (LoraUse("style"),)}, "loras", "unsupported_parameter"),
        ({"images": (PICTURE, WIDE), "strength": 0.5}, "image", "unsupported_parameter"),
        ({"images": (PICTURE, WIDE), "mask": MASK}, "image", "unsupported_parameter"),
    ],
)
def test_what_it_cannot_do_is_refused_by_field_before_it_is_loaded(
    asked: dict[str, Any], param: str, code: str, mlx: MlxDiffusionEngine
) -> None:
    job = replace(JOB, **asked)
    for refused in (lambda: refuse_impossible(mlx.entry, job), lambda: mlx.generate(job, on_step)):
        with pytest.raises(InvalidInput) as caught:
            refused()
        assert (caught.value.param, caught.value.code) == (param, code)


def test_an_empty_negative_prompt_is_none(mlx: MlxDiffusionEngine) -> None:
    assert made(mlx, replace(JOB, negative_prompt="")) == made(mlx, JOB)


def test_a_damaged_picture_is_named_by_its_place(mlx: MlxDiffusionEngine) -> None:
    with pytest.raises(InvalidImage) as caught:
        mlx.generate(replace(JOB, images=(PICTURE, b"none")), on_step)
    assert caught.value.param == "image[1]"


@pytest.mark.parametrize("size", [(400, 20), (900, 100)])
def test_a_reference_that_is_too_small_or_long_is_refused_by_both_engines(
    size: tuple[int, int], mlx: MlxDiffusionEngine, diffusers: DiffusionEngine
) -> None:
    slip = encode(Image.new("RGB", size, "red"))
    for engine in (mlx, diffusers):
        with pytest.raises(InvalidInput, match=r"picture 0 is .* it reads none with less than 64") as caught:
            engine.generate(replace(JOB, images=(slip,)), on_step)
        assert caught.value.param == "image"
