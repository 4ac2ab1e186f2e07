"""Fields of the image search routes (docs/http-api.md, "Image search")."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from deployments.ingress.requests.body import Fields, Upload
from models.picture_files import ACCEPTED
from models.pictures import THUMBNAIL_SIDE


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _media_types(values: list[str]) -> list[str]:
    for value in values:
        if value not in ACCEPTED.values():
            raise ValueError(f"{value[:60]!r} is none of {', '.join(ACCEPTED.values())}")
    return values


def _moment(value: str) -> str:
    """The moment as records say it: UTC, milliseconds, `Z`."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("a time as ISO 8601, such as 2026-11-25T08:00:00Z or 2026-11-25, is needed") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time of the years 1 to 9999, in UTC too, is needed") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[str, Field(max_length=40), AfterValidator(_moment)]


class ImageUpload(Fields):
    """`POST …/images`."""

    file: Upload = Field(description="JPEG, PNG, WebP, GIF or BMP")


class ListQuery(Fields):
    """`GET …/images`."""

    limit: int = Field(1000, ge=1, le=1000, description="records a page; without it all, up to 1000")
    after: str | None = Field(None, max_length=64, description="`next` of the page before, or an image's id")


class SearchBody(Fields):
    """`POST …/images/search`: exactly one of `query`, `image` and `image_id`."""

    query: str | None = Field(None, min_length=1, max_length=2000, examples=["a red circle on a blue background"])
    image: str | None = Field(None, description="data URL of a picture to compare with")
    image_id: str | None = Field(None, description="id of a stored image to compare with")
    limit: int = Field(5, ge=1, le=100)
    min_score: float | None = Field(None, ge=-1, le=1, description="leave out results below this cosine")
    content_type: (
        Annotated[
            list[str],
            BeforeValidator(_as_list),
            AfterValidator(_media_types),
            Field(min_length=1, max_length=len(ACCEPTED)),
        ]
        | None
    ) = Field(None, description="only images of this media type, or of these", examples=["image/jpeg"])
    created_after: Moment | None = Field(
        None, description="only images added at this time or later; ISO 8601, UTC where no offset is given"
    )
    created_before: Moment | None = Field(None, description="only images added earlier")


class ThumbnailQuery(Fields):
    """`GET …/images/{id}/thumbnail`."""

    size: int = Field(256, ge=16, le=THUMBNAIL_SIDE, description="pixels of the longer side, at most")


class GcRequest(Fields):
    """`POST /api/admin/search/gc`."""

    delete: bool = Field(False, description="delete the objects that no record has; else they are only listed")
    forget_set_aside: bool = Field(
        False,
        description="with `delete`: remove the indexes that restores have set aside first, and their objects with them",
    )


class RestoreRequest(Fields):
    """`POST /api/admin/search/restore`."""

    version: str | None = Field(None, min_length=1, max_length=1024, description="key of a backup; default the newest")
