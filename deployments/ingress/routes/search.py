"""Image search: two trees of routes over one index (docs/http-api.md, "Image search")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from deployments.ingress.calls.search_calls import SearchCalls
from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.errors import ApiError, from_exception, invalid
from deployments.ingress.openapi import accepts, parameter, query
from deployments.ingress.policy import policy
from deployments.ingress.requests import body
from deployments.ingress.requests.pictures import base64_room, check_picture, read_url
from deployments.ingress.schemas.search import (
    GcRequest,
    ImageUpload,
    ListQuery,
    RestoreRequest,
    SearchBody,
    ThumbnailQuery,
)
from deployments.search_answers import Strays
from models.errors import InvalidImage
from stores.backup import Backup
from stores.index.records import DEFAULT_PROJECT, PROJECT_NAME, ImageFilter, ImageRecord, Page, Project

router = APIRouter(tags=["image search"])

_URL_SECONDS = 3600
_YEAR_SECONDS = 365 * 86400
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CURSOR = re.compile(r"[0-9]{1,18}")


class _ImageId(StringConvertor):
    """A part of a path that may be an image's id: any but the names of other routes, whose 405 would be lost."""

    regex = r"(?!(?:search|generations|generate|edits|variations)(?:/|$))[^/]+"


register_url_convertor("image_id", _ImageId())

Route = Callable[..., Any]


_PROJECT = parameter("project_id", "the project", {"type": "string", "pattern": f"^{PROJECT_NAME.pattern}$"})
_IMAGE = parameter("image_id", "the image's id", {"type": "string", "format": "uuid"})


_LIST_QUERY = query(ListQuery)
_THUMBNAIL_QUERY = query(ThumbnailQuery)


def _in_both_trees(
    method: str,
    path: str,
    summary: str,
    parameters: list[dict[str, Any]] | None = None,
    request_body: dict[str, Any] | None = None,
    status: int = 200,
) -> Callable[[Route], Route]:
    """Register a route under `/v1/images`, the default project, and under `/v1/projects/{project_id}/images`."""

    def register(route: Route) -> Route:
        for tree, project in (("/v1/images", []), ("/v1/projects/{project_id}/images", [_PROJECT])):
            router.add_api_route(
                tree + path,
                route,
                methods=[method],
                summary=summary,
                status_code=status,
                response_model=None,
                openapi_extra={"parameters": project + (parameters or []), **(request_body or {})},
            )
        return route

    return register


@_in_both_trees("POST", "", "Add an image", request_body=accepts(ImageUpload, json=False, forms=True))
async def add(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """Stores the image and makes it searchable. The same bytes again give the same record and `duplicate`: true."""
    project = _project(request)
    settings = atelier.settings
    limit = settings.search.max_bytes
    try:
        upload = (await body.read(request, ImageUpload, max_bytes=limit)).file
    except ApiError as error:
        if error.status == 413:
            raise _too_large(limit) from error
        raise
    if not upload.data:
        raise ApiError(400, "file: the file is empty", code="EMPTY_FILE", param="file")
    if len(upload.data) > limit:
        raise _too_large(limit)
    with _image_refusals("file"):
        data = await check_picture(upload.data, settings, "file")
        record, is_duplicate = await _index(atelier).call("add", project, upload.filename, data, size=len(data))
    return {**record._asdict(), **({"duplicate": True} if is_duplicate else {})}


@_in_both_trees("GET", "", "List the images", _LIST_QUERY)
async def page(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """Records, oldest first. Going on with `after`=`next` repeats none and misses none that stays."""
    project = _project(request)
    params = body.query(request, ListQuery)
    after = params.after
    if after is not None and not _CURSOR.fullmatch(after):
        after = _uuid(after, "after")
    found: Page = await _index(atelier).call("page", project, params.limit, after)
    return {
        "images": [record._asdict() for record in found.images],
        "has_more": found.next is not None,
        "next": found.next,
    }


@_in_both_trees("POST", "/search", "Find images by words or by an image", request_body=accepts(SearchBody))
@policy(is_repeatable=False)
async def search(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """The best matches first; `score` is the cosine. An image's own record is among the matches of its `image_id`."""
    project = _project(request)
    settings = atelier.settings
    params = await body.read(request, SearchBody, max_bytes=base64_room(settings))
    given = [name for name in ("query", "image", "image_id") if getattr(params, name) is not None]
    if len(given) != 1:
        raise invalid(
            given[1] if given else "query",
            f"give exactly one of query, image and image_id, not {' and '.join(given) or 'none'}",
            "invalid_value" if given else "missing_required_parameter",
        )
    index = _index(atelier)
    only = ImageFilter(tuple(params.content_type or ()), params.created_after, params.created_before)
    how = (params.limit, params.min_score, only)
    if params.image_id is not None:
        hits = await index.call("search_id", project, _uuid(params.image_id, "image_id"), *how)
    elif params.image is not None:
        with _image_refusals("image"):
            image = await read_url(params.image, settings, "image")
            hits = await index.call("search_image", project, image, *how, size=len(image))
    else:
        hits = await index.call("search_text", project, params.query, *how)
    return {"results": [record._asdict() | {"score": score} for record, score in hits]}


@_in_both_trees("GET", "/{image_id:image_id}", "One image's record", [_IMAGE])
async def get(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """The image's record."""
    return {**(await _record(request, atelier))._asdict()}


@_in_both_trees("GET", "/{image_id:image_id}/file", "The image itself", [_IMAGE], status=307)
async def redirect_to_file(request: Request, atelier: AtelierDep) -> Response:
    """Leads to a URL that gives the image's bytes for an hour, without a key."""
    record = await _record(request, atelier)
    return RedirectResponse(atelier.publishing.signed_url(request, record.r2_key, _URL_SECONDS), status_code=307)


@_in_both_trees("GET", "/{image_id:image_id}/thumbnail", "The image, small", [_IMAGE, *_THUMBNAIL_QUERY])
async def small(request: Request, atelier: AtelierDep) -> Response:
    """A WebP of the image, upright, its longer side `size` pixels, or as large as the image where that is less."""
    size = body.query(request, ThumbnailQuery).size
    content = await _index(atelier).call("thumbnail", _project(request), _image_id(request), size)
    headers = {"Cache-Control": f"private, max-age={_YEAR_SECONDS}, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type="image/webp", headers=headers)


@_in_both_trees("DELETE", "/{image_id:image_id}", "Delete an image", [_IMAGE], status=204)
async def delete(request: Request, atelier: AtelierDep) -> Response:
    """Deletes record, vector and file."""
    await _index(atelier).call("delete", _project(request), _image_id(request))
    return Response(status_code=204)


@router.get("/v1/projects", summary="List the projects")
async def projects(atelier: AtelierDep) -> dict[str, Any]:
    """All projects by name, with their numbers of images."""
    found: list[Project] = await _index(atelier).call("projects")
    return {"projects": [asdict(project) for project in found]}


@router.delete(
    "/v1/projects/{project_id}",
    summary="Delete a project",
    status_code=204,
    response_model=None,
    openapi_extra={"parameters": [_PROJECT]},
)
@policy(audience="admins")
async def delete_project(request: Request, atelier: AtelierDep) -> Response:
    """Deletes the project with all its images (admin). The project `default` stays, empty."""
    await _index(atelier).call("delete_project", _project(request))
    return Response(status_code=204)


@router.post("/api/admin/search/gc", summary="Find files that no image has", openapi_extra=accepts(GcRequest))
@policy(audience="admins", errors="openai", is_repeatable=False)
async def collect_garbage(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """Lists the files of image search that no record has, and with `delete` deletes them; records are never deleted.

    `missing` are images whose file is gone: they are found and listed, but cannot be fetched. `set_aside` counts the
    files that an index names which a restore has set aside: they stay until `forget_set_aside` removes it.
    """
    params = await body.read(request, GcRequest)
    if params.forget_set_aside and not params.delete:
        raise ApiError(
            400, "forget_set_aside: it removes indexes for good, so it needs delete: true", param="forget_set_aside"
        )
    found: Strays = await _index(atelier).call("strays", params.delete, params.forget_set_aside)
    return {
        "orphans": found.orphans,
        "deleted": found.deleted,
        "set_aside": found.set_aside,
        "indexes_set_aside": found.indexes_set_aside,
        "missing": [{"project_id": project, "id": image_id} for project, image_id in found.missing],
    }


@router.get("/api/admin/search/backups", summary="List the backups of the index")
@policy(audience="admins", errors="openai", is_repeatable=False)
async def backups(atelier: AtelierDep) -> dict[str, Any]:
    """The verified backups that are kept, newest first, with their numbers of rows."""
    found: list[Backup] = await _index(atelier).call("backups")
    return {"backups": [asdict(backup) for backup in found]}


@router.post("/api/admin/search/backup", summary="Back the index up now")
@policy(audience="admins", errors="openai", is_repeatable=False)
async def back_up(atelier: AtelierDep) -> dict[str, Any]:
    """Makes and verifies a backup, whether anything has changed or not."""
    return asdict(await _index(atelier).call("back_up"))


@router.post("/api/admin/search/restore", summary="Go back to a backup", openapi_extra=accepts(RestoreRequest))
@policy(audience="admins", errors="openai", is_repeatable=False)
async def restore(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """Puts a verified backup in the place of the index, which is kept beside it; where it fails, nothing changes."""
    params = await body.read(request, RestoreRequest)
    return asdict(await _index(atelier).call("restore", params.version))


def _index(atelier: Atelier) -> SearchCalls:
    assert atelier.search is not None, "these routes are there only where image search is deployed"
    return atelier.search


async def _record(request: Request, atelier: Atelier) -> ImageRecord:
    record: ImageRecord = await _index(atelier).call("get", _project(request), _image_id(request))
    return record


def _project(request: Request) -> str:
    name: str = request.path_params.get("project_id", DEFAULT_PROJECT)
    if not PROJECT_NAME.fullmatch(name):
        raise ApiError(
            400,
            "project_id: 1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or digit",
            code="INVALID_PROJECT",
            param="project_id",
        )
    return name


def _image_id(request: Request) -> str:
    return _uuid(request.path_params["image_id"], "image_id")


def _uuid(value: str, param: str) -> str:
    if not _UUID.fullmatch(value):
        raise ApiError(400, f"{param}: {value[:60]!r} is not a UUID", code="INVALID_ID", param=param)
    return value.lower()


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"file: at most {limit} bytes are accepted", code="FILE_TOO_LARGE", param="file")


@contextmanager
def _image_refusals(param: str) -> Iterator[None]:
    """Give what is wrong with a picture this family's code."""
    try:
        yield
    except (ApiError, InvalidImage) as error:
        fault = from_exception(error)
        if fault.code == "invalid_image":
            raise ApiError(400, fault.message, code="INVALID_IMAGE", param=param) from error
        raise
