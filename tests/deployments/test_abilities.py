"""What a model cannot do is said before it is loaded, and before a stream begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.ingress.requests.pictures import Picture
from deployments.ingress.services.image_jobs import ImageRequest, plan
from models.entry import ModelEntry
from models.errors import InvalidInput

PICTURE = Picture(b"never looked at", 64, 64)


def entry(folder: Path, pipeline: str) -> ModelEntry:
    """A model of which nothing but its name is there: whoever tries to load it fails otherwise."""
    (folder / "model_index.json").write_text(f'{{"_class_name": "{pipeline}"}}')
    return ModelEntry.model_validate({"engine": "diffusion", "checkpoint": str(folder)})


@pytest.mark.parametrize(
    ("pipeline", "image_request", "param"),
    [
        ("QwenImageEditPlusPipeline", ImageRequest("a cat", 64, 64), "image"),
        ("QwenImageEditPlusPipeline", ImageRequest("a cat", 64, 64, images=[PICTURE], mask=PICTURE), "mask"),
        ("Flux2Pipeline", ImageRequest("a cat", 64, 64, images=[PICTURE], strength=0.5), "strength"),
        ("FluxKontextPipeline", ImageRequest("a cat", 64, 64, images=[PICTURE, PICTURE]), "image"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_without_loading_it(
    tmp_path: Path, pipeline: str, image_request: ImageRequest, param: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan(image_request, entry(tmp_path, pipeline))
    assert refused.value.param == param


async def test_what_it_can_do_is_planned_and_so_is_what_only_diffusers_knows(tmp_path: Path) -> None:
    for pipeline in ("Flux2KleinPipeline", "SomethingNewPipeline"):
        job = plan(ImageRequest("a cat", 64, 64, images=[PICTURE, PICTURE]), entry(tmp_path, pipeline))
        assert len(job.images) == 2
