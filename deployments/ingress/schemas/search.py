"""Fields of the image search routes (API.md section 3D)."""

from __future__ import annotations

from pydantic import Field

from deployments.ingress.body import Fields, Upload


class Added(Fields):
    """`POST …/images`."""

    file: Upload


class Listed(Fields):
    """`GET …/images`."""

    limit: int = Field(1000, ge=1, le=1000, description="records a page; without it all, up to 1000")
    after: str | None = Field(None, max_length=64, description="`next` of the page before, or an image's id")


class Searched(Fields):
    """`POST …/images/search`: exactly one of `query`, `image` and `image_id`."""

    query: str | None = Field(None, min_length=1, max_length=2000, examples=["a red circle on a blue background"])
    image: str | None = Field(None, description="data URL of a picture to compare with")
    image_id: str | None = Field(None, description="id of a stored image to compare with")
    limit: int = Field(5, ge=1, le=100)
    min_score: float | None = Field(None, ge=-1, le=1, description="leave out results below this cosine")
