"""Which size a picture gets."""

from __future__ import annotations

import pytest

from deployments.ingress.errors import ApiError
from deployments.ingress.requests.pictures import Picture
from deployments.ingress.schemas.images import Edit
from deployments.ingress.services.image_jobs import image_job, size_of
from models.entry import ModelEntry
from models.tasks import ImageJob

DEFAULTS = (64, 128)


def test_what_is_not_said_is_the_models_own() -> None:
    assert size_of("auto", None, None, DEFAULTS) == (64, 128)
    assert size_of("auto", 256, None, DEFAULTS) == (256, 128)
    assert size_of("96x80", 96, None, DEFAULTS) == (96, 80)


@pytest.mark.parametrize(
    ("size", "width", "height", "param"),
    [("64x64", 0, None, "size"), ("64x64", None, 80, "size"), ("auto", 0, None, "width"), ("auto", None, 65, "height")],
)
def test_zero_is_a_value_and_two_spellings_must_agree(
    size: str, width: int | None, height: int | None, param: str
) -> None:
    with pytest.raises(ApiError) as refused:
        size_of(size, width, height, DEFAULTS)
    assert (refused.value.status, refused.value.param) == (400, param)


async def test_a_masked_photograph_may_be_larger_than_what_is_drawn_of_it() -> None:
    entry = ModelEntry.model_validate(
        {"engine": "diffusion", "checkpoint": "builtin:image", "image": {"max_pixels": 4_194_304}}
    )
    photograph = Picture(b"", 4032, 3024)

    def job(n: int) -> ImageJob:
        body = Edit(prompt="a cat", image=["read before"], n=n)
        return image_job(body, entry, (4032, 3024), "a cat", [photograph], photograph)

    assert job(1).width == 4032
    with pytest.raises(ApiError) as refused:
        job(2)
    assert (refused.value.status, refused.value.param) == (400, "n")
