"""Pictures from text: seeds, steps, guidance, errors; on a tiny FLUX, Z-Image and SDXL."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from models.catalog import create_engine
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError, InvalidInput, OutOfMemory
from models.image.engine import Step, StepCallback
from models.image.engines.diffusion import DiffusionEngine
from models.image.sources import drawn_size
from models.tasks import ImageJob
from tests import checkpoints
from tests.models.conftest import Shelf, entry_of, loaded, with_options

JOB = ImageJob("a red circle", width=64, height=64, steps=2, guidance=2.0, seed=7)


def on_step(_step: Step) -> None:
    """Do nothing."""


def raising(error: Exception, times: int = 1) -> StepCallback:
    """A step callback that raises at its first steps, then nothing more."""
    left: Iterator[None] = iter([None] * times)

    def callback(_step: Step) -> None:
        for _ in left:
            raise error

    return callback


def made(engine: DiffusionEngine, job: ImageJob) -> list[bytes]:
    return [picture.tobytes() for picture in engine.generate(job, on_step)]


@pytest.fixture(scope="module")
def z_image(shelf: Shelf) -> DiffusionEngine:
    engine: DiffusionEngine = loaded(with_options(shelf("z_image"), call={"max_sequence_length": 48}))
    return engine


@pytest.fixture(scope="module")
def sdxl(shelf: Shelf) -> DiffusionEngine:
    engine: DiffusionEngine = loaded(shelf("sdxl"))
    return engine


@pytest.fixture(scope="module", params=["flux", "z_image", "sdxl"])
def any_pipeline(request: pytest.FixtureRequest) -> DiffusionEngine:
    engine: DiffusionEngine = request.getfixturevalue(request.param)
    return engine


def test_pictures_have_the_size_that_was_asked_for(any_pipeline: DiffusionEngine) -> None:
    (picture,) = any_pipeline.generate(replace(JOB, width=96, height=64), on_step)
    assert (picture.mode, picture.size) == ("RGB", (96, 64))


def test_the_same_seed_gives_the_same_bytes(any_pipeline: DiffusionEngine) -> None:
    assert made(any_pipeline, JOB) == made(any_pipeline, JOB)


def test_seed_prompt_steps_and_guidance_all_matter(any_pipeline: DiffusionEngine) -> None:
    jobs = [
        JOB,
        replace(JOB, seed=8),
        replace(JOB, prompt="three small blue stars"),
        replace(JOB, steps=3),
        replace(JOB, guidance=6.0),
    ]
    assert len({made(any_pipeline, job)[0] for job in jobs}) == len(jobs)


def test_the_largest_seed_is_taken(flux: DiffusionEngine) -> None:
    assert len(made(flux, replace(JOB, seed=2**53 - 1, n=2))) == 2


def test_picture_i_of_n_is_what_its_seed_alone_gives(any_pipeline: DiffusionEngine) -> None:
    assert made(any_pipeline, replace(JOB, n=3)) == [made(any_pipeline, replace(JOB, seed=7 + i))[0] for i in range(3)]


def test_a_batch_gives_the_very_pictures_that_are_made_alone(shelf: Shelf) -> None:
    batches = loaded(with_options(shelf("flux"), call={"max_sequence_length": 48}, max_batch=3))
    alone = [made(batches, replace(JOB, seed=7 + i))[0] for i in range(5)]
    assert made(batches, replace(JOB, n=5)) == alone


def test_as_many_pictures_are_made_at_once_as_have_four_megapixels_or_as_the_entry_says(shelf: Shelf) -> None:
    engine = loaded(shelf("flux"))
    sides = {side: engine._batch_size(engine._pipeline, (side, side)) for side in (2048, 1456, 1024, 512)}
    assert sides == {2048: 1, 1456: 1, 1024: 4, 512: 16}
    engine = loaded(with_options(shelf("flux"), max_batch=3))
    assert {engine._batch_size(engine._pipeline, (side, side)) for side in (2048, 64)} == {3}


def test_pictures_come_as_they_are_finished(shelf: Shelf) -> None:
    steps: list[int] = []
    engine = loaded(with_options(shelf("flux"), call={"max_sequence_length": 48}, max_batch=1))
    coming = engine.stream(replace(JOB, n=2), lambda step: steps.append(step.done))
    assert steps == []
    next(coming)
    assert steps == [1, 2]
    next(coming)
    assert steps == [1, 2, 3, 4]
    assert list(coming) == []


def test_every_step_of_every_picture_is_reported(any_pipeline: DiffusionEngine) -> None:
    steps: list[tuple[int, int]] = []
    any_pipeline.generate(replace(JOB, steps=3, n=2), lambda step: steps.append((step.done, step.total)))
    assert steps == [(2, 6), (4, 6), (6, 6)]  # both pictures at once


@pytest.mark.parametrize("error", [Cancelled(), KeyboardInterrupt()])
def test_what_a_step_callback_raises_ends_the_work_and_the_next_job_is_whole(
    any_pipeline: DiffusionEngine, error: Exception
) -> None:
    expected = made(any_pipeline, JOB)
    with pytest.raises(type(error)):
        any_pipeline.generate(replace(JOB, steps=4), raising(error))
    assert made(any_pipeline, JOB) == expected


def test_out_of_memory_is_reported_and_the_next_job_works(flux: DiffusionEngine) -> None:
    with pytest.raises(OutOfMemory):
        flux.generate(JOB, raising(torch.OutOfMemoryError("CUDA out of memory")))
    assert len(made(flux, JOB)) == 1


def test_a_batch_that_does_not_fit_is_made_in_smaller_ones(shelf: Shelf) -> None:
    batches = loaded(with_options(shelf("flux"), call={"max_sequence_length": 48}, max_batch=4))
    pictures = batches.generate(replace(JOB, n=4), raising(torch.OutOfMemoryError("CUDA out of memory"), times=2))
    assert len({p.tobytes() for p in pictures}) == 4


def test_a_negative_prompt_acts_where_guidance_does(any_pipeline: DiffusionEngine) -> None:
    assert made(any_pipeline, replace(JOB, negative_prompt="a blue star")) != made(any_pipeline, JOB)


def test_a_negative_prompt_that_could_not_act_is_refused(shelf: Shelf) -> None:
    engine = loaded(shelf("flux"))
    with pytest.raises(InvalidInput) as caught:
        engine.generate(replace(JOB, negative_prompt="a blue star"), on_step)
    assert caught.value.param == "negative_prompt"


def test_an_empty_negative_prompt_is_none(any_pipeline: DiffusionEngine, shelf: Shelf) -> None:
    for engine in (any_pipeline, loaded(shelf("flux"))):
        for guidance in (0.0, 1.0, 2.0):
            job = replace(JOB, guidance=guidance)
            assert made(engine, replace(job, negative_prompt="")) == made(engine, job)


@pytest.mark.parametrize(
    ("name", "guidance", "least"), [("flux", 1.0, 1), ("sdxl", 1.0, 1), ("sdxl", 0.0, 1), ("z_image", 0.0, 0)]
)
def test_a_negative_prompt_without_guidance_is_refused(
    name: str, guidance: float, least: int, request: pytest.FixtureRequest
) -> None:
    engine: DiffusionEngine = request.getfixturevalue(name)
    job = replace(JOB, guidance=guidance, negative_prompt="a blue star")
    with pytest.raises(InvalidInput, match=f"only with guidance above {least}, and it is {guidance:g}") as caught:
        engine.generate(job, on_step)
    assert caught.value.param == "negative_prompt"
    job = replace(job, guidance=least + 0.5)
    assert made(engine, job) != made(engine, replace(job, negative_prompt=None))


def test_guidance_that_the_entry_fixes_lets_a_negative_prompt_act(shelf: Shelf) -> None:
    engine = loaded(with_options(shelf("flux"), call={"max_sequence_length": 48, "true_cfg_scale": 3.0}))
    job = replace(JOB, guidance=0.0)
    assert made(engine, replace(job, negative_prompt="a blue star")) != made(engine, job)


def test_guidance_can_be_kept_from_the_pipeline(shelf: Shelf) -> None:
    engine = loaded(with_options(shelf("flux"), guidance_argument="none"))
    assert made(engine, JOB) == made(engine, replace(JOB, guidance=9.0))


def test_guidance_feeds_a_guidance_distilled_transformer(tmp_path: Path) -> None:
    checkpoints.write_flux(tmp_path / "dev", guidance_embeds=True)
    engine = loaded(entry_of("diffusion", tmp_path / "dev"))
    assert made(engine, JOB) != made(engine, replace(JOB, guidance=9.0))


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"call": {"max_tokens": 3}}, "no argument 'max_tokens'; it has: .*max_sequence_length"),
        ({"call": {"prompt": "x"}}, "'prompt' is set by each request"),
    ],
)
def test_call_arguments_that_cannot_be_are_refused(options: dict[str, object], wrong: str, shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match=wrong):
        loaded(with_options(shelf("flux"), **options))


def test_a_guidance_argument_that_the_pipeline_lacks_is_refused(shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match="no argument 'true_cfg_scale'"):
        loaded(with_options(shelf("z_image"), guidance_argument="true_cfg_scale"))


def relabelled(entry: ModelEntry, folder: Path, name: str) -> ModelEntry:
    """The same checkpoint, its index naming another pipeline."""
    shutil.copytree(entry.checkpoint, folder)
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": name}))
    return entry.model_copy(update={"checkpoint": str(folder)})


def test_a_pipeline_that_diffusers_does_not_know_is_named(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no pipeline 'Flux9Pipeline'"):
        loaded(relabelled(shelf("flux"), tmp_path / "flux9", "Flux9Pipeline"))


def test_an_image_to_image_checkpoint_is_loaded_as_its_text_to_image_sibling(shelf: Shelf, tmp_path: Path) -> None:
    engine = loaded(relabelled(shelf("flux"), tmp_path / "img2img", "FluxImg2ImgPipeline"))
    (picture,) = engine.generate(JOB, on_step)
    assert isinstance(picture, Image.Image)


def test_a_model_that_is_not_loaded_has_no_footprint(shelf: Shelf) -> None:
    assert create_engine(shelf("flux")).footprint == 0


def test_a_model_that_draws_one_size_only_draws_near_it_and_the_picture_is_resized() -> None:
    assert drawn_size(64, 64, 4096) == (64, 64)
    assert drawn_size(1024, 1024, 4096) == (64, 64)
    assert drawn_size(1024, 512, 4096) == (96, 48)
    assert drawn_size(64, 2048, 4096) == (16, 368)
    assert drawn_size(640, 480, None) == (640, 480)
