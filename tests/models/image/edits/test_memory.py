"""What the four ways share, what they remember, and what they show meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from tests.models.conftest import Shelf, loaded, with_options
from tests.models.image.edits.jobs import (
    EVERY_FAMILY,
    FAMILIES,
    JOB,
    SHORT,
    SLOW,
    Engines,
    difference,
    job_of,
    made,
    short,
    those,
)


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
