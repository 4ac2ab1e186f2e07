"""Pictures by MLX: a tiny FLUX.2 klein, compared with diffusers, and changed copies of it.

mlx-vlm has one size of autoencoder, which takes MLX 16 s for 64x64 pixels on a CPU. So its constant is another one
here, but for one test.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import Cancelled, InferenceFailed
from models.image.engine import Step
from models.image.engines.diffusion import DiffusionEngine
from models.image.engines.diffusion_mlx import MlxDiffusionEngine
from models.image.flux2_mlx import noise, shown
from models.pictures import encode
from tests import checkpoints
from tests.models.conftest import entry_of, loaded, with_options
from tests.models.image.edits.jobs import picture_of
from tests.models.image.flux2_mlx.drawing import JOB, PICTURE, TASKS, Changed, difference, drawn, made, on_step

pytestmark = pytest.mark.nightly

ENGINES: tuple[str, ...] = ("diffusion_mlx", "diffusion")


EVERY_WAY = pytest.mark.parametrize("task", TASKS)


@EVERY_WAY
def test_each_way_gives_the_picture_of_diffusers(
    task: str, mlx: MlxDiffusionEngine, diffusers: DiffusionEngine
) -> None:
    job = replace(JOB, **TASKS[task])
    ours, theirs = drawn(mlx, job), drawn(diffusers, job)
    assert ours.shape == theirs.shape == (job.height, job.width, 3)
    assert np.abs(ours - theirs).max() <= 1
    assert difference(ours, theirs) < 0.02
    assert ours.std() > 30


def test_what_a_job_says_matters_more_than_the_library(mlx: MlxDiffusionEngine) -> None:
    jobs = {task: replace(JOB, **TASKS[task]) for task in ("text2img", "edit", "img2img", "inpaint")}
    jobs |= {"seed": replace(JOB, seed=8), "prompt": replace(JOB, prompt="three small blue stars")}
    jobs |= {"steps": replace(JOB, steps=3), "reference": replace(jobs["edit"], images=(encode(picture_of(2)),))}
    pictures = {name: drawn(mlx, job) for name, job in jobs.items()}
    for name, picture in pictures.items():
        assert all(difference(picture, other) > 0.2 for each, other in pictures.items() if each != name), name


def test_the_released_autoencoder_gives_the_picture_of_diffusers_too(
    _mlx_vlm: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    released = (128, 256, 512, 512)
    checkpoints.write_flux2_klein_for_mlx(tmp_path / "klein", channels=released)
    job = replace(JOB, width=32, height=32, steps=1)
    with _mlx_vlm.context() as patch:
        patch.setattr("mlx_vlm.models.flux2.weights.FULL_DECODER_CHANNELS", released)
        engine = loaded(entry_of("diffusion_mlx", tmp_path / "klein"))
        ours = drawn(engine, job)
    assert engine._flux2.footprint["vae"] == 4 * 84_046_371
    theirs = drawn(loaded(entry_of("diffusion", tmp_path / "klein")), job)
    assert np.abs(ours - theirs).max() <= 1


def test_in_bfloat16_it_is_nearly_the_picture_of_diffusers(klein: Path, mlx: MlxDiffusionEngine) -> None:
    entries = [entry_of(engine, klein) for engine in ENGINES]
    ours, theirs = (loaded(entry.model_copy(update={"dtype": "bfloat16"})) for entry in entries)
    assert ours.footprint == pytest.approx(mlx.footprint / 2, rel=0.001)
    for task in ("edit", "inpaint by strength"):
        job = replace(JOB, **TASKS[task])
        assert difference(drawn(ours, job), drawn(theirs, job)) < 3
    assert ours._flux2.read("a").values.dtype == ours._flux2.dtype


def test_the_eps_of_norms_is_the_one_of_the_checkpoint(changed: Changed, mlx: MlxDiffusionEngine) -> None:
    entry = changed("transformer/config.json", eps=0.3)
    ours, theirs = (drawn(loaded(entry.model_copy(update={"engine": name})), JOB) for name in ENGINES)
    assert np.abs(ours - theirs).max() <= 1
    assert difference(ours, drawn(mlx, JOB)) > 0.5


def test_a_base_model_is_guided_as_diffusers_guides_it(changed: Changed) -> None:
    entry = changed(is_distilled=False)
    base, theirs = loaded(entry), loaded(entry.model_copy(update={"engine": "diffusion"}))
    for task in ("text2img", "edit", "inpaint"):
        job = replace(JOB, **TASKS[task])
        assert np.abs(drawn(base, job) - drawn(theirs, job)).max() <= 1
    none, little, much = (drawn(base, replace(JOB, guidance=guidance)) for guidance in (1.0, 1.5, 6.0))
    assert difference(none, much) > difference(none, little) > 0.2
    assert np.array_equal(none, drawn(base, replace(JOB, guidance=0.0)))


def test_a_distilled_model_ignores_guidance(mlx: MlxDiffusionEngine) -> None:
    assert made(mlx, JOB) == made(mlx, replace(JOB, guidance=0.0))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_noise_is_drawn_as_torch_draws_it_in_that_dtype(dtype: str) -> None:
    import mlx.core as mx

    ours = np.array(noise(2**53 - 1, 4, 6, getattr(mx, dtype)).astype(mx.float32))
    generator = torch.Generator("cpu").manual_seed(2**53 - 1)
    theirs = torch.randn((1, 128, 4, 6), generator=generator, dtype=getattr(torch, dtype))
    assert np.array_equal(ours, theirs.float().numpy())


@pytest.mark.parametrize("size", [(2000, 1001), (1248, 832), (70, 1300), (1100, 1090)])
def test_references_are_shown_as_diffusers_shows_them(size: tuple[int, int]) -> None:
    from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor

    processor, picture = Flux2ImageProcessor(), picture_of(3, *size)
    fitted = processor._resize_if_exceeds_area(picture)
    width, height = (side // 16 * 16 for side in fitted.size)
    theirs = processor.preprocess(fitted, height=height, width=width, resize_mode="crop")
    ours = np.asarray(shown(picture), np.float32).transpose(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-6)


def test_picture_i_of_n_is_what_its_seed_alone_gives(mlx: MlxDiffusionEngine) -> None:
    for task in ("text2img", "img2img"):
        job = replace(JOB, **TASKS[task], width=32, height=32)
        alone = [made(mlx, replace(job, seed=7 + i))[0] for i in range(3)]
        assert made(mlx, replace(job, n=3)) == alone
        assert len(set(alone)) == 3


def test_steps_are_reported_in_order_and_counted_over_all_pictures(mlx: MlxDiffusionEngine) -> None:
    steps: list[tuple[int, int, float]] = []
    mlx.generate(replace(JOB, n=2), lambda step: steps.append((step.done, step.total, step.share)))
    assert steps == [(1, 4, 0.5), (2, 4, 1.0), (3, 4, 0.5), (4, 4, 1.0)]


def test_strength_leaves_steps_out(mlx: MlxDiffusionEngine) -> None:
    steps: list[tuple[int, int]] = []
    job = replace(JOB, images=(PICTURE,), strength=0.4, steps=5)
    mlx.generate(job, lambda step: steps.append((step.done, step.total)))
    assert steps == [(1, 2), (2, 2)]


def test_pictures_come_as_they_are_finished(mlx: MlxDiffusionEngine) -> None:
    steps: list[int] = []
    coming = mlx.stream(replace(JOB, n=2), lambda step: steps.append(step.done))
    assert steps == []
    next(coming)
    assert steps == [1, 2]
    assert len(list(coming)) == 1
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize("error", [Cancelled(), KeyboardInterrupt()])
def test_what_a_step_callback_raises_ends_the_work_and_the_next_job_is_whole(
    error: BaseException, mlx: MlxDiffusionEngine
) -> None:
    expected, seen = made(mlx, JOB), list[int]()

    def ending(step: Step) -> None:
        seen.append(step.done)
        if step.done == 3:
            raise error

    with pytest.raises(type(error)):
        mlx.generate(replace(JOB, n=3), ending)
    assert seen == [1, 2, 3]
    assert made(mlx, JOB) == expected


def test_a_failure_inside_is_reported_and_the_next_job_works(mlx: MlxDiffusionEngine) -> None:
    def broken(_step: Step) -> None:
        raise RuntimeError("broken inside")

    with pytest.raises(InferenceFailed, match="broken inside"):
        mlx.generate(JOB, broken)
    assert len(made(mlx, JOB)) == 1


@pytest.mark.parametrize("task", ["text2img", "inpaint by strength"])
def test_a_preview_after_each_step_comes_nearer_to_the_picture(task: str, mlx: MlxDiffusionEngine) -> None:
    seen: list[tuple[int, Image.Image]] = []
    job = replace(JOB, **TASKS[task], n=2) if task == "text2img" else replace(JOB, **TASKS[task])
    pictures = mlx.generate(job, lambda step: seen.extend(step.peek()))
    steps = len(seen) // job.n
    assert [number for number, _ in seen] == [i for i in range(job.n) for _ in range(steps)]
    last = np.asarray(seen[-1][1], int)
    box = (16, 16, 32, 32) if job.mask else (0, 0, job.width, job.height)
    cut = [
        np.asarray(Image.fromarray(p.astype(np.uint8)).crop(box), int) for p in (last, np.asarray(pictures[-1], int))
    ]
    assert difference(*cut) < 1  # after the last step there is no noise left
    assert len({preview.tobytes() for _, preview in seen}) == len(seen)


def test_a_preview_has_at_most_512_pixels_a_side(mlx: MlxDiffusionEngine) -> None:
    latents = noise(1, 2, 40, mlx._flux2.dtype)
    assert mlx._flux2.preview(latents).size == (512, 25 // 8 * 8)


def test_a_large_picture_can_be_decoded_in_tiles(mlx: MlxDiffusionEngine) -> None:
    flux2 = mlx._flux2
    small, large = noise(1, 1, 2, flux2.dtype), noise(1, 1, 34, flux2.dtype)
    assert flux2.decode(small, tiled=True) == flux2.decode(small, tiled=False)
    assert flux2.decode(large, tiled=True).size == (544, 16)


def test_prompts_are_remembered_up_to_a_number(klein: Path, changed: Changed) -> None:
    base = changed(is_distilled=False)
    for entry, most, expected in ((entry_of("diffusion_mlx", klein), 2, "abca"), (base, 1, ["a", "", "a", ""])):
        engine = loaded(with_options(entry, prompt_cache=most))
        read = engine._flux2.read
        said: list[str] = []
        engine._flux2.read = lambda prompt, read=read, said=said: said.append(prompt) or read(prompt)
        for prompt in "abbca" if most == 2 else "aa":
            engine.generate(replace(JOB, width=16, height=16, steps=1, prompt=prompt), on_step)
            assert len(engine._prompts) <= most
        assert said == list(expected)


def test_strength_0_gives_the_picture_back_and_a_mask_keeps_what_it_does_not_repaint(mlx: MlxDiffusionEngine) -> None:
    assert np.array_equal(drawn(mlx, replace(JOB, images=(PICTURE,), strength=0.0)), np.asarray(picture_of(1), int))
    changed = np.abs(drawn(mlx, replace(JOB, **TASKS["inpaint"])) - np.asarray(picture_of(1), int)).max(axis=2) > 0
    assert changed[16:32, 16:32].mean() > 0.9
    assert changed.sum() == changed[16:32, 16:32].sum()


def test_another_size_than_the_native_one_is_drawn_near_it_and_resized(klein: Path) -> None:
    engine = loaded(with_options(entry_of("diffusion_mlx", klein), native_pixels=4096))
    (picture,) = engine.generate(replace(JOB, width=256, height=128), on_step)
    assert (picture.mode, picture.size) == ("RGB", (256, 128))


def test_it_is_loaded_and_warmed_up_in_a_thread_of_its_own_as_a_replica_does(
    klein: Path, mlx: MlxDiffusionEngine
) -> None:
    def loaded_and_asked() -> list[bytes]:
        engine: MlxDiffusionEngine = loaded(entry_of("diffusion_mlx", klein))
        engine.warm_up()
        return made(engine, JOB)

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(loaded_and_asked).result() == made(mlx, JOB)
