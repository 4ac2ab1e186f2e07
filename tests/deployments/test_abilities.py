"""What a model cannot do is said before it is loaded, and before a stream begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.ingress.requests.pictures import Picture
from deployments.ingress.schemas.images import Drawing, Edit, Generation
from deployments.ingress.services.image_jobs import image_job
from models.entry import ModelEntry
from models.errors import InvalidInput

PICTURE = Picture(b"never looked at", 64, 64)
EDIT = Edit(prompt="a cat", image=["read before"])


def entry(folder: Path, pipeline: str) -> ModelEntry:
    """A model of which nothing but its name is there: loading it would fail."""
    (folder / "model_index.json").write_text(f'{{"_class_name": "{pipeline}"}}')
    return ModelEntry.model_validate({"engine": "diffusion", "checkpoint": str(folder)})


@pytest.mark.parametrize(
    ("pipeline", "body", "images", "mask", "param"),
    [
        ("QwenImageEditPlusPipeline", Generation(prompt="a cat"), [], None, "image"),
        ("QwenImageEditPlusPipeline", EDIT, [PICTURE], PICTURE, "mask"),
        ("Flux2Pipeline", EDIT.model_copy(update={"strength": 0.5}), [PICTURE], None, "strength"),
        ("FluxKontextPipeline", EDIT, [PICTURE, PICTURE], None, "image"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_without_loading_it(
    tmp_path: Path, pipeline: str, body: Drawing, images: list[Picture], mask: Picture | None, param: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        image_job(body, entry(tmp_path, pipeline), (64, 64), "a cat", images, mask)
    assert refused.value.param == param


async def test_what_it_can_do_is_planned_and_so_is_what_only_diffusers_knows(tmp_path: Path) -> None:
    for pipeline in ("Flux2KleinPipeline", "SomethingNewPipeline"):
        job = image_job(EDIT, entry(tmp_path, pipeline), (64, 64), "a cat", [PICTURE, PICTURE])
        assert len(job.images) == 2
