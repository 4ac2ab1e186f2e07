"""Image captioning (docs/http-api.md, "Captions")."""

from __future__ import annotations

import sys
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.openapi import accepts, query
from deployments.ingress.policy import policy
from deployments.ingress.requests import body
from deployments.ingress.requests.pictures import check_picture
from models.errors import InvalidImage
from models.picture_files import read_header
from settings import Settings

router = APIRouter(prefix="/api", tags=["captions"])

_MAX_IMAGES = 32
_TYPES = ("JPEG", "PNG", "WEBP")


class CaptionQuery(body.Fields):
    """Query of the caption routes; what it does not say, the model's entry does."""

    model: str | None = Field(None, description="alias of a captioner or a chat model")
    caption_prompt: str | None = Field(None, max_length=4000)
    flag_caption_prompt: str | None = Field(None, max_length=4000)


class CaptionFiles(body.Fields):
    """Body of the caption routes."""

    images: list[body.Upload] = Field(min_length=1, max_length=_MAX_IMAGES, description="JPEG, PNG or WebP, repeated")


_ASKS = {"parameters": query(CaptionQuery), **accepts(CaptionFiles, json=False, forms=True)}


@router.post("/caption-images", summary="Caption pictures", openapi_extra=_ASKS)
async def caption_images(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """A caption, its keywords and a yes/no for each picture, in input order."""
    params, files = await _asked(request, atelier.settings)
    alias = atelier.models.resolve(params.model or None, ["captioner", "vlm"])
    images = await _pictures(files, atelier.settings)
    captions = await atelier.caption_writer.each(alias, params.caption_prompt, params.flag_caption_prompt, images)
    return {
        "results": [
            {"filename": file.filename, **each.caption.model_dump(), "cache": each.is_cached}
            for file, each in zip(files, captions, strict=True)
        ]
    }


@router.post("/caption-collective-images", summary="Caption pictures together", openapi_extra=_ASKS)
async def caption_collective_images(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """One caption of all pictures, which a chat model sees in one conversation in input order."""
    params, files = await _asked(request, atelier.settings)
    alias = atelier.models.resolve(params.model or None, ["vlm"])
    images = await _pictures(files, atelier.settings)
    collective = await atelier.caption_writer.together(alias, params.caption_prompt, params.flag_caption_prompt, images)
    caption = collective.caption
    return {
        "collective_caption": caption.caption,
        "count": len(images),
        "tags": caption.tags,
        "flagged": caption.flagged,
    }


@router.post("/admin/reset-cache", summary="Forget all captions")
@policy(audience="admins", is_repeatable=False)
async def reset_cache(atelier: AtelierDep) -> dict[str, str]:
    """Deletes the captions that are remembered, and nothing else that a shared Redis may have."""
    await atelier.cache.clear()
    return {"message": "Redis cache cleared"}  # wherever it was: clients of the older server compare these words


async def _asked(request: Request, settings: Settings) -> tuple[CaptionQuery, list[body.Upload]]:
    params = body.query(request, CaptionQuery)
    room = _MAX_IMAGES * settings.image_max_bytes
    return params, (await body.read(request, CaptionFiles, max_bytes=room)).images


async def _pictures(files: list[body.Upload], settings: Settings) -> list[bytes]:
    """All pictures, each checked before anything is made of any."""
    return [await _checked(i, file, settings) for i, file in enumerate(files)]


async def _checked(index: int, file: body.Upload, settings: Settings) -> bytes:
    param = f"images[{index}]"
    if not file.data:
        raise invalid(param, f"{param}: the file is empty", "invalid_image")
    try:
        name = read_header(file.data, param, sys.maxsize).name  # too many pixels are another fault than a wrong type
    except InvalidImage:
        name = None
    if name not in _TYPES:
        raise ApiError(415, f"{param}: not a JPEG, PNG or WebP image", code="unsupported_media_type", param=param)
    return await check_picture(file.data, settings, param)
