"""LoRAs by name and weight, alone and together, in every way to a picture."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import CheckpointError, InferenceFailed
from models.image.engines.diffusion import DiffusionEngine
from models.tasks import ImageJob, LoraUse
from tests import checkpoints
from tests.models.conftest import WRITERS, Shelf, loaded, with_options
from tests.models.image.edits.jobs import FAMILIES, JOB, SHORT, Engines, job_of, made, on_step, refused, short


@pytest.fixture(scope="module")
def lora_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three LoRAs for FLUX, one that is cut off, and one for something else."""
    folder = tmp_path_factory.mktemp("loras")
    files = {
        f"ink.v{seed}": checkpoints.write_lora(folder / str(seed), checkpoints.write_flux, seed) for seed in (1, 2, 3)
    }
    files["cut"] = folder / "cut.safetensors"
    files["cut"].write_bytes(files["ink.v1"].read_bytes()[:2000])
    files["foreign"] = folder / "foreign.safetensors"
    vae = folder / "1" / "of" / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copy(vae, files["foreign"])
    return {name: str(path) for name, path in files.items()}


@pytest.fixture
def inked(shelf: Shelf, lora_files: dict[str, str]) -> DiffusionEngine:
    """A FLUX with LoRAs, none loaded yet."""
    sources = {name: {"checkpoint": file} for name, file in lora_files.items()}
    engine: DiffusionEngine = loaded(with_options(shelf("flux"), **SHORT, loras=sources, max_loras=2))
    return engine


def with_loras(*loras: tuple[str, float]) -> ImageJob:
    return replace(JOB, loras=tuple(LoraUse(name, weight) for name, weight in loras))


def test_loras_act_by_name_and_weight_alone_and_together(inked: DiffusionEngine) -> None:
    jobs = [
        JOB,
        with_loras(("ink.v1", 1.0)),
        with_loras(("ink.v1", 0.5)),
        with_loras(("ink.v2", 1.0)),
        with_loras(("ink.v1", 1.0), ("ink.v2", 1.0)),
    ]
    first = [made(inked, job)[0] for job in jobs]
    assert len(set(first)) == len(jobs)
    assert [made(inked, job)[0] for job in reversed(jobs)] == first[::-1]


def test_a_lora_acts_in_every_way(inked: DiffusionEngine) -> None:
    for task in FAMILIES["flux"]:
        job = job_of(task)
        assert made(inked, replace(job, loras=(LoraUse("ink.v1"),))) != made(inked, job), task


@pytest.mark.parametrize("name", ["flux", "kontext", "flux2_klein", "z_image", "qwen_image", "sdxl"])
def test_a_lora_of_each_family_changes_its_own_pictures_only_and_with_weight_0_none(
    name: str, shelf: Shelf, tmp_path: Path
) -> None:
    _, write = WRITERS[name]
    sources = {"ink": {"checkpoint": str(checkpoints.write_lora(tmp_path, write))}}
    engine = loaded(with_options(shelf(name), **short(name), loras=sources))
    before = made(engine, JOB)
    inked, half = made(engine, with_loras(("ink", 1.0))), made(engine, with_loras(("ink", 0.5)))
    assert len({*before, *inked, *half}) == 3
    assert made(engine, JOB) == before
    assert made(engine, with_loras(("ink", 0.0))) == before
    assert made(engine, with_loras(("ink", 1.0))) == inked


def test_a_lora_of_sdxl_acts_on_every_part_that_it_is_for(shelf: Shelf, tmp_path: Path) -> None:
    sources = {"ink": {"checkpoint": str(checkpoints.write_lora(tmp_path, checkpoints.write_sdxl))}}
    engine = loaded(with_options(shelf("sdxl"), loras=sources))
    made(engine, with_loras(("ink", 1.0)))
    assert set(engine._pipeline.get_list_adapters()) == {"unet", "text_encoder", "text_encoder_2"}


def test_what_follows_several_loras_is_as_before(inked: DiffusionEngine) -> None:
    before = made(inked, JOB)
    made(inked, with_loras(("ink.v1", 1.0), ("ink.v2", 1.0)))
    assert made(inked, JOB) == before


def test_the_least_recently_used_lora_leaves(inked: DiffusionEngine) -> None:
    def present() -> set[str]:
        return set(inked._pipeline.get_list_adapters()["transformer"])

    with_first = made(inked, with_loras(("ink.v1", 1.0)))
    made(inked, with_loras(("ink.v2", 1.0)))
    made(inked, with_loras(("ink.v1", 1.0)))
    made(inked, with_loras(("ink.v3", 1.0)))
    assert present() == {"lora_0", "lora_2"}
    made(inked, with_loras(("ink.v2", 1.0)))
    assert present() == {"lora_1", "lora_2"}
    assert made(inked, with_loras(("ink.v1", 1.0))) == with_first


def test_a_request_may_use_more_loras_than_stay(inked: DiffusionEngine) -> None:
    every = with_loras(("ink.v1", 1.0), ("ink.v2", 1.0), ("ink.v3", 1.0))
    assert made(inked, every) == made(inked, every)
    assert len(inked._pipeline.get_list_adapters()["transformer"]) == 3


@pytest.mark.parametrize(
    ("loras", "param"),
    [((("sepia", 1.0),), "loras[0].name"), ((("ink.v1", 1.0), ("ink.v1", 0.5)), "loras[1].name")],
)
def test_loras_that_cannot_be_are_refused_by_name(
    loras: tuple[tuple[str, float], ...], param: str, inked: DiffusionEngine
) -> None:
    assert refused(inked, with_loras(*loras)) == param


@pytest.mark.parametrize("broken", ["cut", "foreign"])
def test_a_broken_lora_fails_its_request_by_name_and_leaves_the_model_as_it_was(
    broken: str, inked: DiffusionEngine
) -> None:
    before, with_first = made(inked, JOB), made(inked, with_loras(("ink.v1", 1.0)))
    for loras in ([(broken, 1.0)], [("ink.v2", 1.0), (broken, 1.0)]):
        with pytest.raises(InferenceFailed, match=f"the LoRA '{broken}' could not be loaded: .") as caught:
            inked.generate(with_loras(*loras), on_step)
        assert "\n" not in str(caught.value)
        assert made(inked, JOB) == before
        assert made(inked, with_loras(("ink.v1", 1.0))) == with_first


def test_a_broken_lora_as_the_first_one_leaves_the_model_as_it_was(inked: DiffusionEngine, engines: Engines) -> None:
    for loras in ([("foreign", 1.0)], [("ink.v2", 1.0), ("cut", 1.0)]):
        with pytest.raises(InferenceFailed):
            inked.generate(with_loras(*loras), on_step)
        assert made(inked, JOB) == made(engines("flux"), JOB)


def test_a_lora_that_is_not_there_is_reported_when_the_model_is_loaded(shelf: Shelf, tmp_path: Path) -> None:
    source = {"ink": {"checkpoint": str(tmp_path / "ink.safetensors")}}
    with pytest.raises(CheckpointError, match=r"options.loras.ink: no file or folder at '.*ink.safetensors'"):
        loaded(with_options(shelf("flux"), loras=source))
