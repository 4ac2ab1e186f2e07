"""Variations through Redux, which looks at a picture instead of words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.errors import CheckpointError
from models.image.engines.diffusion import DiffusionEngine
from tests import checkpoints
from tests.models.conftest import Shelf, loaded, with_options
from tests.models.image.edits.jobs import OTHER, SHORT, Engines, difference, job_of, made, on_step


@pytest.fixture(scope="module")
def redux(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> DiffusionEngine:
    """A FLUX whose variations a Redux makes."""
    folder = tmp_path_factory.mktemp("redux")
    checkpoints.write_redux(folder)
    engine: DiffusionEngine = loaded(with_options(shelf("flux"), **SHORT, redux=str(folder), max_batch=2))
    return engine


def test_redux_makes_variations_from_what_it_sees(redux: DiffusionEngine) -> None:
    job = replace(job_of("edit"), is_variation=True, prompt="")
    jobs = [job, replace(job, images=(OTHER,)), replace(job, seed=8), replace(job, prompt="three small blue stars")]
    assert len({made(redux, job)[0] for job in jobs}) == len(jobs)
    assert made(redux, job) == made(redux, job)


def test_redux_makes_variations_in_batches(redux: DiffusionEngine) -> None:
    job = replace(job_of("edit"), is_variation=True, prompt="")
    together = redux.generate(replace(job, n=3), on_step)
    alone = [redux.generate(replace(job, seed=seed), on_step)[0] for seed in (7, 8, 9)]
    assert all(difference(one, other) < 0.5 for one, other in zip(together, alone, strict=True))


def test_a_variation_with_a_strength_starts_from_the_picture_all_the_same(
    redux: DiffusionEngine, engines: Engines
) -> None:
    job = replace(job_of("img2img"), is_variation=True)
    assert made(redux, job) == made(engines("flux"), job_of("img2img"))


def test_redux_counts_towards_the_footprint_and_its_text_encoders_do_not_count_twice(
    redux: DiffusionEngine, engines: Engines
) -> None:
    extra = redux.footprint - engines("flux").footprint
    own = [redux._redux.image_encoder, redux._redux.image_embedder]
    assert extra == pytest.approx(sum(p.numel() * 4 for part in own for p in part.parameters()), rel=0.01)


def test_redux_is_for_flux_only(redux: DiffusionEngine, shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match=r"redux: is for FLUX\.1 checkpoints, and this is a ZImagePipeline"):
        loaded(with_options(shelf("z_image"), redux=redux.options.redux))
