"""A file server for pictures: upload, fetch by name, and the newest upload (docs/http-api.md, "Files")."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from deployments.executors import FILES
from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import ApiError
from deployments.ingress.openapi import accepts
from deployments.ingress.policy import policy
from deployments.ingress.requests import body
from deployments.ingress.requests.body import Fields, Upload
from deployments.ingress.requests.pictures import check_picture
from deployments.ingress.routes.files import stored
from deployments.storage import PICTURE_SUFFIXES
from models.picture_files import read_header
from settings import time_zone
from stores.errors import KeyNotFound
from stores.uploads import Upload as Kept
from stores.uploads import Uploads

router = APIRouter(tags=["picture files"])

_FOREVER: Final = "public, max-age=31536000, immutable"


class PictureUpload(Fields):
    """`POST /upload`."""

    file: Upload = Field(description="JPEG, PNG, WebP, GIF or BMP")


@router.post("/upload", summary="Keep a picture", openapi_extra=accepts(PictureUpload, json=False, forms=True))
async def upload(request: Request, atelier: AtelierDep) -> dict[str, str]:
    """Keeps the bytes as they are under a name that cannot be guessed, and gives their URL on this server."""
    settings = atelier.settings
    given = (await body.read(request, PictureUpload, max_bytes=settings.image_max_bytes)).file
    data = await check_picture(given.data, settings, "file")
    kind = read_header(data, "file", settings.image_max_pixels).name
    return {"url": f"/i/{await atelier.publishing.keep_upload(data, PICTURE_SUFFIXES[kind])}"}


@router.head("/i/{fid:path}", include_in_schema=False)
@router.get("/i/{fid:path}", summary="A picture that was uploaded", response_class=Response)
@policy(audience="anyone")
async def picture(request: Request, atelier: AtelierDep, fid: str) -> Response:
    """The picture, for anybody who knows its name; browsers may keep it for good."""
    try:
        return await stored(request, atelier.files, Uploads.key(fid), cache=_FOREVER)
    except KeyNotFound as error:
        raise ApiError(404, "not found", code="NOT_FOUND") from error


@router.get("/latest", summary="Where the newest upload is")
@policy(audience="readers of /latest")
async def latest(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """Its URL, and when it was uploaded. To look at a picture changes nothing."""
    newest = await _newest(atelier.uploads)
    zone = time_zone(atelier.settings.timezone)
    return {
        "url": f"{atelier.publishing.base_url(request)}/i/{newest.name}",
        "updated_at": datetime.fromtimestamp(newest.at, zone).isoformat(timespec="seconds"),
    }


@router.head("/latest/raw", include_in_schema=False)
@router.get("/latest/raw", summary="The newest upload", response_class=Response)
@policy(audience="readers of /latest")
async def latest_raw(request: Request, atelier: AtelierDep) -> Response:
    """The newest upload's bytes."""
    newest = await _newest(atelier.uploads)
    try:
        return await stored(request, atelier.files, Uploads.key(newest.name), cache="no-store")
    except KeyNotFound as error:  # removed since
        raise _nothing() from error


async def _newest(uploads: Uploads) -> Kept:
    try:
        return await FILES.run(uploads.latest)
    except KeyNotFound as error:
        raise _nothing() from error


def _nothing() -> ApiError:
    return ApiError(404, "not found: nothing has been uploaded", code="NOT_FOUND")
