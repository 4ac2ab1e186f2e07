"""What each family of picture models can do with pictures, masks, references and LoRAs; on tiny random checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.errors import CheckpointError, InferenceFailed, InvalidImage, InvalidInput
from models.image.engine import Step
from models.image.engines.diffusion import DiffusionEngine
from models.pictures import encode
from models.tasks import ImageJob, LoraUse
from tests import checkpoints
from tests.models.conftest import WRITERS, Shelf, entry_of, loaded, with_options

JOB = ImageJob("a red circle", width=64, height=64, steps=2, guidance=2.0, seed=7)
SHORT: dict[str, Any] = {"call": {"max_sequence_length": 48}}


def short(name: str) -> dict[str, Any]:
    """Options for short prompts, where the family has such a thing."""
    return {} if name == "sdxl" or name.startswith("qwen") else SHORT  # Qwen's count their template too


FAMILIES: dict[str, set[str]] = {
    "flux": {"text2img", "img2img", "inpaint"},
    "kontext": {"text2img", "edit", "img2img", "inpaint"},
    "flux2_klein": {"text2img", "edit", "img2img", "inpaint", "several"},
    "z_image": {"text2img", "img2img", "inpaint"},
    "qwen_image": {"text2img", "img2img", "inpaint"},
    "qwen_image_edit": {"edit", "img2img", "inpaint"},
    "qwen_image_edit_plus": {"edit", "several"},
    "sdxl": {"text2img", "img2img", "inpaint"},
}
SLOW = {"qwen_image_edit", "qwen_image_edit_plus"}
"""Work at a megapixel whatever is asked for: they are asked less."""

EVERY_FAMILY = pytest.mark.parametrize("name", FAMILIES)
EVERY_WAY = pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name, tasks in FAMILIES.items() for task in sorted(tasks) if name not in SLOW]
)


def those(task: str, *, slow: bool = True) -> pytest.MarkDecorator:
    """The families that can do something."""
    able = [name for name, tasks in FAMILIES.items() if task in tasks and (slow or name not in SLOW)]
    return pytest.mark.parametrize("name", able)


def picture_of(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """Soft blotches of colour."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


PICTURE = encode(picture_of(1))
OTHER = encode(picture_of(2))


def mask_of(width: int = 64, height: int = 64) -> Image.Image:
    """The middle is to be repainted; half-transparent pixels beside it are not."""
    mask = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 1), (0, 0, width, height // 4))
    mask.paste((255, 255, 255, 0), (width // 4, height // 4, width // 2, height // 2))
    return mask


def job_of(task: str) -> ImageJob:
    """The plain job, done in one task."""
    changed: dict[str, dict[str, Any]] = {
        "text2img": {},
        "edit": {"images": (PICTURE,)},
        "img2img": {"images": (PICTURE,), "strength": 0.6},
        "inpaint": {"images": (PICTURE,), "mask": encode(mask_of())},
        "several": {"images": (PICTURE, OTHER)},
    }
    return replace(JOB, **changed[task])


def on_step(_step: Step) -> None:
    """Do nothing."""


def made(engine: DiffusionEngine, job: ImageJob) -> list[bytes]:
    return [picture.tobytes() for picture in engine.generate(job, on_step)]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference in levels of grey."""
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def refused(engine: DiffusionEngine, job: ImageJob) -> str | None:
    """The field for which the job is refused."""
    with pytest.raises(InvalidInput) as caught:
        engine.generate(job, on_step)
    return caught.value.param


Engines = Callable[[str], DiffusionEngine]


@pytest.fixture(scope="module")
def engines(shelf: Shelf) -> Engines:
    """A loaded engine of each family, by its name."""
    kept: dict[str, DiffusionEngine] = {}

    def engine(name: str) -> DiffusionEngine:
        if name not in kept:
            kept[name] = loaded(with_options(shelf(name), **short(name)))
        return kept[name]

    return engine


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


# Redux


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


# LoRAs


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


def test_a_lora_that_is_not_there_is_told_when_the_model_is_loaded(shelf: Shelf, tmp_path: Path) -> None:
    source = {"ink": {"checkpoint": str(tmp_path / "ink.safetensors")}}
    with pytest.raises(CheckpointError, match=r"options.loras.ink: no file or folder at '.*ink.safetensors'"):
        loaded(with_options(shelf("flux"), loras=source))


# Weights and embeddings


@those("inpaint")
def test_all_tasks_share_one_set_of_weights(name: str, shelf: Shelf) -> None:
    engine = loaded(with_options(shelf(name), **short(name)))
    before, own = engine.footprint, {id(p) for module in engine._modules() for p in module.parameters()}
    for task in ("text2img", "edit", "img2img", "inpaint"):
        if task in engine._classes:
            pipeline = engine._pipeline_for(task)
            used = {id(p) for part in pipeline.components.values() for p in getattr(part, "parameters", list)()}
            assert used == own, task
    assert engine.footprint == before


@pytest.mark.parametrize("name", ["flux", "kontext", "flux2_klein", "z_image", "qwen_image", "sdxl"])
def test_a_prompt_is_encoded_once(name: str, shelf: Shelf) -> None:
    engine = loaded(with_options(shelf(name), **short(name)))
    runs: list[int] = []
    engine._pipeline.text_encoder.register_forward_hook(lambda *_: runs.append(1))
    made(engine, JOB)
    once = len(runs)
    assert once >= 1
    made(engine, replace(JOB, seed=9, n=3, steps=1))
    assert len(runs) == once
    made(engine, replace(JOB, prompt="three small blue stars"))
    assert len(runs) > once


def test_remembered_prompts_are_bounded_and_the_oldest_goes(shelf: Shelf) -> None:
    engine = loaded(with_options(shelf("flux"), **SHORT, prompt_cache=2))
    runs: list[int] = []
    engine._pipeline.text_encoder.register_forward_hook(lambda *_: runs.append(1))
    for prompt in ("a", "b", "a", "c", "a", "b"):
        made(engine, replace(JOB, prompt=prompt, steps=1))
    assert len(runs) == 4  # a, b, c, and b once more
    assert len(engine._prompts) == 2


def test_nothing_is_remembered_where_the_cache_is_0(shelf: Shelf, engines: Engines) -> None:
    engine = loaded(with_options(shelf("flux"), **SHORT, prompt_cache=0))
    assert made(engine, replace(JOB, n=2)) == made(engines("flux"), replace(JOB, n=2))
    assert not engine._prompts


def test_the_picture_of_an_edit_is_never_taken_for_another(engines: Engines) -> None:
    engine, job = engines("qwen_image_edit_plus"), replace(job_of("edit"), steps=1, guidance=1.0)
    made(engine, job)
    assert not engine._prompts


# Previews


@EVERY_FAMILY
def test_previews_come_nearer_to_the_picture(name: str, engines: Engines) -> None:
    task = "text2img" if "text2img" in FAMILIES[name] else "edit"
    n = 2 if name not in SLOW else 1
    seen: list[list[tuple[int, Image.Image]]] = []
    pictures = engines(name).generate(
        replace(job_of(task), steps=5, n=n, guidance=1.0), lambda step: seen.append(step.peek())
    )
    for number, picture in enumerate(pictures):
        shown = [preview for peeked in seen for i, preview in peeked if i == number]
        assert [preview.mode for preview in shown] == ["RGB"] * 4
        away = [difference(preview.resize(picture.size), picture) for preview in shown]
        assert away[-1] < away[0]
        assert away[-1] < 3  # nothing is left to do after the last step


def test_previews_show_every_picture_of_a_batch(shelf: Shelf) -> None:
    engine = loaded(with_options(shelf("flux"), **SHORT, max_batch=2))
    seen: list[list[int]] = []
    engine.generate(replace(JOB, n=3), lambda step: seen.append([number for number, _ in step.peek()]))
    assert seen == [[], [0, 1], [], [2]]


def test_previews_are_small(shelf: Shelf, engines: Engines) -> None:
    seen: list[Image.Image] = []
    engines("flux").generate(
        replace(JOB, width=256, height=192), lambda step: seen.extend(picture for _, picture in step.peek())
    )
    assert [picture.size for picture in seen] == [(128, 96)]


def test_what_cannot_be_read_midway_has_no_previews(engines: Engines) -> None:
    seen: list[Any] = []
    job = replace(job_of("inpaint"), guidance=1.0)  # drawn at a megapixel, which is not the size asked for
    engines("qwen_image_edit").generate(job, lambda step: seen.append(step.peek()))
    assert seen == [[], []]


# The built-in checkpoint


def test_the_built_in_model_works_in_all_four_ways() -> None:
    options = {"guidance_argument": "true_cfg_scale", "call": {"max_sequence_length": 40}, "native_pixels": 4096}
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
