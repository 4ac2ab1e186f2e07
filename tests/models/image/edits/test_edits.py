"""What each family of picture models can do with pictures, masks, references and LoRAs; on tiny random checkpoints."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from models.errors import CheckpointError, InvalidImage
from models.image.engine import Step
from models.pictures import encode
from tests.models.conftest import Shelf, entry_of, loaded, with_options
from tests.models.image.edits.jobs import (
    EVERY_FAMILY,
    FAMILIES,
    OTHER,
    PICTURE,
    SHORT,
    SLOW,
    Engines,
    difference,
    job_of,
    made,
    mask_of,
    on_step,
    picture_of,
    refused,
    short,
    those,
)

EVERY_WAY = pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name, tasks in FAMILIES.items() for task in sorted(tasks) if name not in SLOW]
)


@EVERY_FAMILY
def test_each_family_does_what_it_can_and_refuses_the_rest_by_the_field_that_asks_for_it(
    name: str, engines: Engines
) -> None:
    engine, able = engines(name), FAMILIES[name]
    for task, param in {"text2img": "image", "img2img": "strength", "inpaint": "mask", "several": "image"}.items():
        job = replace(job_of(task), steps=1)
        if task in able:
            (picture,) = engine.generate(job, on_step)
            assert (picture.mode, picture.size) == ("RGB", (64, 64))
        else:
            assert refused(engine, job) == param


@those("edit")
def test_an_instruction_edit_looks_at_the_picture_and_at_the_words(name: str, engines: Engines) -> None:
    engine, job = engines(name), replace(job_of("edit"), steps=1)
    jobs = [job, replace(job, images=(OTHER,)), replace(job, prompt="three small blue stars"), replace(job, seed=8)]
    assert len({made(engine, job)[0] for job in jobs}) == len(jobs)


@those("several")
def test_every_reference_picture_is_looked_at_in_order(name: str, engines: Engines) -> None:
    engine, job = engines(name), replace(job_of("several"), steps=1)
    orders = [(PICTURE, OTHER), (OTHER, PICTURE), (PICTURE,), (PICTURE, PICTURE)]
    assert len({made(engine, replace(job, images=images))[0] for images in orders}) == len(orders)


@pytest.mark.parametrize("name", ["flux", "z_image", "qwen_image", "sdxl"])
def test_a_model_that_follows_no_instructions_starts_from_the_picture(name: str, engines: Engines) -> None:
    job = job_of("edit")
    assert made(engines(name), job) == made(engines(name), replace(job, strength=0.7))
    assert made(engines(name), job) == made(engines(name), replace(job, is_variation=True))


def test_a_model_that_only_follows_instructions_makes_variations_so(engines: Engines) -> None:
    job = replace(job_of("edit"), steps=1, guidance=1.0)
    engine = engines("qwen_image_edit_plus")
    assert made(engine, replace(job, is_variation=True)) == made(engine, job)


def test_a_model_makes_variations_by_an_empty_instruction_where_it_is_configured_so(
    shelf: Shelf, engines: Engines
) -> None:
    engine = loaded(with_options(shelf("kontext"), **SHORT, variations="edit"))
    job = replace(job_of("edit"), prompt="", steps=2)
    varied = made(engine, replace(job, is_variation=True))
    assert varied == made(engines("kontext"), job)
    assert varied != made(engines("kontext"), replace(job, is_variation=True))
    by_strength = replace(job, strength=0.5)
    assert made(engine, replace(by_strength, is_variation=True)) == made(engine, by_strength)


def test_the_default_strength_is_the_entrys(shelf: Shelf, engines: Engines) -> None:
    engine = loaded(with_options(shelf("flux"), **SHORT, default_strength=0.5))
    assert made(engine, job_of("edit")) == made(engines("flux"), replace(job_of("edit"), strength=0.5))


@those("img2img")
def test_strength_0_gives_the_original_back(name: str, engines: Engines) -> None:
    job = replace(job_of("img2img"), strength=0.0, n=2)
    assert made(engines(name), job) == [picture_of(1).tobytes()] * 2


def test_strength_0_with_a_mask_gives_the_original_back(engines: Engines) -> None:
    assert made(engines("flux"), replace(job_of("inpaint"), strength=0.0)) == [picture_of(1).tobytes()]


@those("img2img", slow=False)
def test_a_larger_strength_changes_more(name: str, engines: Engines) -> None:
    engine, job = engines(name), replace(job_of("img2img"), steps=8, guidance=1.0)

    def away(strength: float) -> float:
        """How far pictures of two seeds are from each other: what of the original is left is in both."""
        several = [engine.generate(replace(job, strength=strength, seed=seed), on_step)[0] for seed in range(4)]
        return sum(difference(one, other) for one in several for other in several)

    changes = [away(strength) for strength in (0.05, 0.3, 0.6, 1.0)]
    # random weights: what is left after 0.6 may be as good as nothing
    assert all(later > 0.98 * earlier for earlier, later in pairwise(changes))
    assert changes[-1] > 1.5 * changes[0]


@pytest.mark.parametrize("strength", [1e-9, 0.01, 1 / 49, 0.29, 0.999])
@pytest.mark.parametrize("name", ["flux", "sdxl", "flux2_klein"])
def test_any_strength_does_at_least_one_step(name: str, strength: float, engines: Engines) -> None:
    steps: list[Step] = []
    engines(name).generate(replace(job_of("img2img"), strength=strength), steps.append)
    assert 1 <= len(steps) <= 2
    assert [(step.done, step.total) for step in steps] == [(i + 1, len(steps)) for i in range(len(steps))]


SIZES = pytest.mark.parametrize(
    ("width", "height", "native"), [(64, 64, None), (96, 64, 4096), (70, 50, None)], ids=["plain", "native", "odd"]
)


def assert_only_the_hole_changed(result: Image.Image, width: int, height: int) -> None:
    before = np.asarray(picture_of(1, width, height))
    hole = np.asarray(mask_of(width, height).getchannel("A")) == 0
    after = np.asarray(result)
    assert (after[~hole] == before[~hole]).all()
    assert (after[hole] != before[hole]).any(axis=-1).mean() > 0.5


@SIZES
@those("inpaint", slow=False)
def test_only_what_the_mask_leaves_open_changes(
    name: str, width: int, height: int, native: int | None, engines: Engines, shelf: Shelf
) -> None:
    engine = engines(name)
    if native is not None:
        engine = loaded(with_options(shelf(name), **short(name), native_pixels=native))
    job = replace(
        job_of("inpaint"),
        images=(encode(picture_of(1, width, height)),),
        mask=encode(mask_of(width, height)),
        width=width,
        height=height,
    )
    (result,) = engine.generate(job, on_step)
    assert result.size == (width, height)
    assert_only_the_hole_changed(result, width, height)


@pytest.mark.nightly
def test_only_what_the_mask_leaves_open_changes_where_the_pipeline_draws_a_megapixel(engines: Engines) -> None:
    (result,) = engines("qwen_image_edit").generate(replace(job_of("inpaint"), steps=1), on_step)
    assert_only_the_hole_changed(result, 64, 64)


def test_a_mask_that_leaves_nothing_open_is_refused(engines: Engines) -> None:
    with pytest.raises(InvalidImage) as caught:
        engines("flux").generate(replace(job_of("inpaint"), mask=PICTURE), on_step)
    assert caught.value.param == "mask"


@EVERY_WAY
def test_picture_i_of_n_is_what_its_seed_alone_gives_in_every_way(name: str, task: str, engines: Engines) -> None:
    engine, job = engines(name), job_of(task)
    assert made(engine, replace(job, n=2)) == made(engine, job) + made(engine, replace(job, seed=8))


@pytest.mark.parametrize("name", sorted({name for name in FAMILIES if name not in SLOW}))
def test_batches_are_nearly_the_single_pictures_in_every_way(name: str, engines: Engines, shelf: Shelf) -> None:
    batches = loaded(with_options(shelf(name), **short(name), max_batch=2))
    for task in FAMILIES[name]:
        together = batches.generate(replace(job_of(task), n=2), on_step)
        alone = [engines(name).generate(replace(job_of(task), seed=seed), on_step)[0] for seed in (7, 8)]
        assert [difference(*pair) < 0.5 for pair in zip(together, alone, strict=True)] == [True, True], task


@pytest.mark.nightly
def test_batches_of_models_that_work_at_a_megapixel(shelf: Shelf) -> None:
    batches = loaded(with_options(shelf("qwen_image_edit"), max_batch=2))
    for task in ("edit", "inpaint"):
        assert len(set(made(batches, replace(job_of(task), n=2, steps=1, guidance=1.0)))) == 2


@EVERY_FAMILY
def test_a_negative_prompt_acts_or_is_refused(name: str, engines: Engines) -> None:
    engine = engines(name)
    acts = name in {"z_image", "qwen_image", "qwen_image_edit", "qwen_image_edit_plus", "sdxl"}
    for task in FAMILIES[name] - {"several"} if name not in SLOW else {"edit"}:
        job = replace(job_of(task), steps=1)
        if acts:
            assert made(engine, replace(job, negative_prompt="three small blue stars")) != made(engine, job), task
        else:
            assert refused(engine, replace(job, negative_prompt="three small blue stars")) == "negative_prompt"


def test_the_built_in_model_works_in_all_four_ways() -> None:
    options = {"guidance_argument": "true_cfg_scale", "call": {"max_sequence_length": 40}, "native_pixels": 16384}
    entry = with_options(entry_of("diffusion", "builtin:image"), **options, pipelines={"edit": "FluxKontextPipeline"})
    engine = loaded(entry)
    assert set(engine._classes) == {"text2img", "edit", "img2img", "inpaint"}
    for task in engine._classes:
        (picture,) = engine.generate(replace(job_of(task), width=128, height=96), on_step)
        assert picture.size == (128, 96)


def test_a_pipeline_class_that_diffusers_lacks_is_named(shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match=r"options.pipelines.edit: diffusers .* has no 'FluxKontekstPipeline'"):
        loaded(with_options(shelf("flux"), pipelines={"edit": "FluxKontekstPipeline"}))


def test_a_damaged_picture_is_named_by_its_place(engines: Engines) -> None:
    job = replace(job_of("several"), images=(PICTURE, OTHER[:200]))
    assert refused(engines("flux2_klein"), job) == "image[1]"
